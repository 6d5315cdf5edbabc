"""Deletes what is older than it is to be kept. It knows time and a store that sweeps, not what is in it."""

import asyncio
import contextlib
import time
from typing import Protocol

from fundament.errors import Unavailable

SWEEP_EVERY_S = 600.0
ROWS_A_SWEEP = 1_000_000
_DAY_S = 86_400


class Swept(Protocol):
    async def sweep(self, before: float, limit: int) -> int:
        """Deletes at most `limit` of what is older than this time (Unix seconds); how many it deleted.

        Raises:
            Unavailable: the store is away.
        """
        ...


class Retention:
    """Keeps what is in `store` for `days`; for ever if that is 0. It goes in small steps, so that others can write."""

    def __init__(self, store: Swept, days: int, *, every_s: float = SWEEP_EVERY_S) -> None:
        self._store = store
        self._days = days
        self._every_s = every_s

    async def run(self) -> None:
        """Sweeps now and then, until cancelled; a store that is away is swept next time."""
        while self._days:
            with contextlib.suppress(Unavailable):
                await self._store.sweep(time.time() - self._days * _DAY_S, ROWS_A_SWEEP)
            await asyncio.sleep(self._every_s)
