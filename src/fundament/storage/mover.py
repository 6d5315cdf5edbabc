"""Moves the usage journal of this machine into the ledger: in batches, in order, each record once.

It knows the journal's segments and the ledger's promise to take records and position together; no table. One process
moves a journal (`fundament.ledger`). While the database is away the journal waits, and what it says is not lost.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from fundament.errors import Unavailable
from fundament.gateway.meter import UsageRecord
from fundament.storage.segments import all_segments, is_written, read_lines, remove
from fundament.storage.usage import Move, UsageRepository

MOVE_INTERVAL_S = 0.5
BATCH_BYTES = 128 * 1024  # about 350 records: SQLite's one write lock is held for about 2 ms
BATCH_PAUSE_S = 0.005  # for those who wait for that lock
RETRY_INTERVAL_S = 2.0
MARK = "moved"


def moved_until(directory: Path) -> float | None:
    """Until when (Unix seconds) all that was in the journal is in the ledger; None before anything was moved.

    Any process of the machine may ask. The difference to now is the ledger's lag.
    """
    try:
        return (directory / MARK).stat().st_mtime
    except FileNotFoundError:
        return None


class Mover:
    """Moves what is in `directory`. Belongs to one event loop."""

    def __init__(self, directory: Path, ledger: UsageRepository) -> None:
        self._directory = directory
        self._ledger = ledger
        self._positions: dict[str, int] = {}
        self._log: Any = structlog.get_logger(__name__)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def run(self) -> None:
        """Moves again and again, until cancelled. Says when the database is away, and when it is back."""
        away = False
        while True:
            try:
                await self.move()
            except Unavailable as error:
                if not away:
                    self._log.warning("usage_ledger_down", error=error.message)
                away = True
                await asyncio.sleep(RETRY_INTERVAL_S)
                continue
            if away:
                self._log.info("usage_ledger_back")
                away = False
            await asyncio.sleep(MOVE_INTERVAL_S)

    async def move(self) -> bool:
        """Moves all that is in the journal now; whether nothing is left, and nobody writes to it.

        Raises:
            Unavailable: the database failed; what is not moved stays where it is.
        """
        began_at = time.time()
        found = await asyncio.to_thread(all_segments, self._directory)
        try:
            await self._forget(self._positions.keys() - {path.name for path in found})
            gone = [await self._move(path) for path in found]
        except (Unavailable, asyncio.CancelledError):
            self._positions.clear()  # a commit may have succeeded without our being told
            raise
        await asyncio.to_thread(_mark, self._directory / MARK, began_at)
        return all(gone)

    async def _move(self, path: Path) -> bool:
        """Moves what a segment has now; whether that was all there will ever be, and it is removed."""
        complete = not await asyncio.to_thread(is_written, path)  # asked before it is read
        position = self._positions.get(path.name)
        if position is None:
            position = await self._ledger.position(path.name)
        while True:
            try:
                read = await asyncio.to_thread(read_lines, path, position, BATCH_BYTES)
            except FileNotFoundError:  # the journal was full
                return True
            last = complete and read.at_end
            if read.lines or (last and position):
                records = self._records(path, read.lines)
                await self._ledger.add(Move(segment=path.name, position=read.end, last=last, records=records))
                self._positions[path.name] = position = read.end
            if read.at_end:
                break
            await asyncio.sleep(BATCH_PAUSE_S)
        if not complete:
            return False
        if read.torn_bytes:
            self._log.warning("usage_record_torn", segment=path.name, bytes=read.torn_bytes)
        if removed := await asyncio.to_thread(remove, path, moved_bytes=position + read.torn_bytes):
            self._positions.pop(path.name, None)
        return removed

    async def _forget(self, names: Iterable[str]) -> None:
        """Segments that are gone with what was not moved of them: the journal was full."""
        for name in names:
            await self._ledger.add(Move(segment=name, position=0, last=True, records=()))
            self._positions.pop(name)

    def _records(self, path: Path, lines: Sequence[bytes]) -> list[UsageRecord]:
        records: list[UsageRecord] = []
        for line in lines:
            try:
                records.append(_decode(line))
            except msgspec.DecodeError as error:  # a disk that failed: what cannot be read must not hold up the others
                self._log.error("usage_record_unreadable", segment=path.name, error=str(error))
        return records


def _mark(path: Path, moved_until: float) -> None:
    path.touch(mode=0o600)
    os.utime(path, (moved_until, moved_until))


_decode = msgspec.json.Decoder(UsageRecord).decode
