"""Group commit: changes that come together are written together, since a transaction costs more than what is in it.

It knows who waits, and in which order; it does not know what a change is, nor a database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from fundament.errors import Unavailable

MOST_CHANGES = 500
MOST_BYTES = 8 * 1024 * 1024  # a transaction of this size holds SQLite's one write lock for about 50 ms
MOST_WAITING = 10_000

Change = TypeVar("Change")


class GroupWriter(Generic[Change]):
    """Hands changes to `write`, all that have gathered at a time, in their order. Belongs to one event loop.

    Args:
        write: makes all of these changes durable or none, and then raises `Unavailable`.
    """

    def __init__(self, write: Callable[[Sequence[Change]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Change, int, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, change: Change, size_bytes: int) -> None:
        """Returns when the change is written. A caller who is cancelled meanwhile does not take it back.

        Raises:
            Unavailable: the write of this change's group failed, or too many changes wait.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Unavailable("The database is too slow for what it is given. Please retry.", retry_after_s=1)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, size_bytes, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._run())
        await written

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._write_group(self._take())
        finally:
            self._writing = None
            _settle(self._waiting, "The service is stopping.")  # empty, but where this task was broken off
            self._waiting = []

    def _take(self) -> list[tuple[Change, int, asyncio.Future[None]]]:
        count = total_bytes = 0
        for _, size_bytes, _ in self._waiting[:MOST_CHANGES]:
            total_bytes += size_bytes
            if count and total_bytes > MOST_BYTES:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _write_group(self, group: list[tuple[Change, int, asyncio.Future[None]]]) -> None:
        failure: str | None = "The write was broken off."
        try:
            await self._write([change for change, _, _ in group])
            failure = None
        except Unavailable as error:
            failure = error.message
        finally:
            _settle(group, failure)


def _settle(group: Sequence[tuple[object, int, asyncio.Future[None]]], failure: str | None) -> None:
    for _, _, written in group:
        if written.done():  # its caller was cancelled
            continue
        if failure is None:
            written.set_result(None)
        else:
            written.set_exception(Unavailable(failure))  # one each: a raised exception gathers its raiser's traceback
