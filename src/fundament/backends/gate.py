"""How many requests a backend works on at once, and how many may wait for it, first come first served.

It knows numbers only. A caller that gives up while it waits leaves no trace.
"""

import asyncio
from collections import deque
from typing import Protocol

from fundament.errors import Unavailable


class LineRecorder(Protocol):
    """Who is told of the line."""

    def waiting(self, count: int) -> None:
        """So many callers are in it now."""
        ...

    def waited(self, seconds: float) -> None:
        """A caller was let in after so long."""
        ...


class Gate:
    """Lets `limit` places be taken; up to `queue` callers wait in line."""

    def __init__(self, limit: int, queue: int, recorder: LineRecorder | None = None) -> None:
        self.limit = limit
        self._recorder = recorder
        self.free = limit
        self._queue = queue
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._line)

    async def enter(self, places: int = 1) -> None:
        """Returns when `places` (at most `limit`) are the caller's; each `enter` is paid back by one `leave`.

        Raises:
            Unavailable: the line is full.
        """
        if not self._line and self.free >= places:
            self.free -= places
            if self._recorder is not None:
                self._recorder.waited(0.0)
            return
        if len(self._line) >= self._queue:
            full = Unavailable(
                "The model is at its capacity and its queue is full. Please retry.", code="overloaded", retry_after_s=1
            )
            full.elsewhere = True
            raise full
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        entry = (places, turn)
        self._line.append(entry)
        began = loop.time()
        self._tell_length()
        try:
            await turn
            if self._recorder is not None:
                self._recorder.waited(loop.time() - began)
        except asyncio.CancelledError:
            if not turn.cancelled():  # let in at the very moment of giving up
                self.leave(places)
            elif entry in self._line:  # otherwise `_admit` has passed over it already
                self._line.remove(entry)
                self._admit()
            raise
        finally:
            self._tell_length()

    def leave(self, places: int = 1) -> None:
        self.free += places
        self._admit()

    def _admit(self) -> None:
        while self._line and self.free >= self._line[0][0]:
            places, turn = self._line.popleft()
            if not turn.cancelled():
                self.free -= places
                turn.set_result(None)

    def _tell_length(self) -> None:
        if self._recorder is not None:
            self._recorder.waiting(len(self._line))
