"""When each key was used last: noted in memory, kept once a minute, so that no request waits for it.

It knows when to keep it; where is a `UseStore`'s knowledge. A worker that is killed forgets the last minute.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from fundament.errors import Unavailable

FLUSH_INTERVAL_S = 60.0
LAST_FLUSH_TIMEOUT_S = 2.0  # of a worker that stops


class UseStore(Protocol):
    async def used(self, times: Mapping[str, int]) -> None:
        """Keep when each of these keys, by id, was used last (Unix seconds), where it knows of no later time.

        Raises:
            Unavailable: nothing was kept.
        """
        ...


class LastUsed:
    """Notes keys as they are used; `run` keeps what was noted."""

    def __init__(self, store: UseStore) -> None:
        self._store = store
        self._times: dict[str, int] = {}
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)

    def note(self, key_id: str, now_s: float) -> None:
        """The key is used now (Unix seconds)."""
        self._times[key_id] = int(now_s)

    async def run(self) -> None:
        """Keep what was noted until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_INTERVAL_S)
                await self.flush()
        finally:
            try:
                async with asyncio.timeout(LAST_FLUSH_TIMEOUT_S):
                    await self.flush()
            except TimeoutError:
                self._log.warning("last_use_lost", keys=len(self._times))

    async def flush(self) -> None:
        """Keep what was noted and not kept yet; while the store is down, it stays noted."""
        times = dict(self._times)
        if not times:
            return
        try:
            await self._store.used(times)
        except Unavailable as error:
            self._log.warning("last_use_not_kept", error=error.message, keys=len(times))
            return
        self._times = {id: time_s for id, time_s in self._times.items() if times.get(id) != time_s}
