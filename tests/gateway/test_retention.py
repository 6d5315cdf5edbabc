"""Old responses go, again and again, also when the store was away meanwhile."""

import asyncio
import time

from fundament.errors import Unavailable
from fundament.gateway.retention import Retention

DAY_S = 86_400


class Sweeping:
    """A store that notes what it was asked to sweep, and is away the first time."""

    def __init__(self) -> None:
        self.before: list[float] = []

    async def sweep(self, before: float, limit: int) -> int:
        assert limit > 0
        self.before.append(before)
        if len(self.before) == 1:
            raise Unavailable("away", code="storage_unavailable")
        return 0


async def test_what_is_older_is_swept_again_and_again() -> None:
    store = Sweeping()
    running = asyncio.create_task(Retention(store, 30, every_s=0.001).run())
    for _ in range(1000):
        if len(store.before) >= 3:
            break
        await asyncio.sleep(0.001)
    running.cancel()
    assert len(store.before) >= 3
    assert abs(time.time() - 30 * DAY_S - store.before[0]) < 60


async def test_zero_days_keep_everything() -> None:
    store = Sweeping()
    await asyncio.wait_for(Retention(store, 0).run(), 5)
    assert store.before == []
