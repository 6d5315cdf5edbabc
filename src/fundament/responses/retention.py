"""Deletes responses that are older than they are to be kept. It knows time and the store, not who made them."""

import asyncio
import contextlib
import time

from fundament.errors import Unavailable
from fundament.gateway.state import StateStore

SWEEP_EVERY_S = 600.0
RESPONSES_A_SWEEP = 20_000
_DAY_S = 86_400


class Retention:
    """Keeps responses for `days`; for ever if that is 0. The store deletes in small steps, so that others can write."""

    def __init__(self, store: StateStore, days: int, *, every_s: float = SWEEP_EVERY_S) -> None:
        self._store = store
        self._days = days
        self._every_s = every_s

    async def run(self) -> None:
        """Sweeps now and then, until cancelled; a store that is away is swept next time."""
        while self._days:
            with contextlib.suppress(Unavailable):
                await self._store.sweep(time.time() - self._days * _DAY_S, RESPONSES_A_SWEEP)
            await asyncio.sleep(self._every_s)
