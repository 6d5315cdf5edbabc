"""Lets all that one turn of the event loop writes go out together, at the turn's end, after what must come first.

A write to a socket wakes the process at its other end, which costs more than the write; together they wake it once. It
knows order and time; it does not know what is written.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Sender(Protocol):
    def flush(self) -> None:
        """Writes what has gathered. Must not raise: others wait behind it."""
        ...


class Outbox:
    """Belongs to one event loop.

    Args:
        first: called before any sender is flushed: the usage journal, whose records precede the answers' ends.
    """

    def __init__(self, first: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._first = first
        self._senders: list[Sender] = []
        self._due = False

    def add(self, sender: Sender) -> None:
        """Has `sender` flushed at the end of this turn, after those that were added before it."""
        self._senders.append(sender)
        if not self._due:
            self._due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Writes everything now: for those who are about to close."""
        self._due = False
        self._first()
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.flush()
