"""The usage journal: files of JSON lines, appended to by one worker each and kept within a bound.

A line is handed to the operating system before `append` returns, so the death of the process loses none; the disk gets
it a second later at the latest. It does not know what is in a line.
"""

import asyncio
import os
import time
from pathlib import Path

import structlog

from fundament.errors import FundamentError

SEGMENT_BYTES = 64 * 1024 * 1024
TOTAL_BYTES = 4 * 1024 * 1024 * 1024
SYNC_INTERVAL_S = 1.0


class UsageJournal:
    """Appends to segments `<start>-<pid>.jsonl` in `directory`.

    When all segments together pass `total_bytes`, the oldest is removed, and an error is logged that says which.
    """

    def __init__(self, directory: Path, *, segment_bytes: int = SEGMENT_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._total_bytes = total_bytes
        self._log = structlog.get_logger(__name__)
        self._dirty = False
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open_segment()

    def append(self, line: bytes) -> None:
        """Keeps one line (without its line end).

        Raises:
            FundamentError: the disk is full, or the line could not be written in one piece.
        """
        data = line + b"\n"
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            raise FundamentError(f"usage journal {self._path}: {error.strerror}") from error
        if written != len(data):
            os.ftruncate(self._descriptor, self._size)
            raise FundamentError(f"usage journal {self._path}: the disk is full")
        self._dirty = True
        self._size += written
        if self._size >= self._segment_bytes:
            self.close()
            self._open_segment()

    async def run(self) -> None:
        """Brings what was appended to the disk, once a second, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_INTERVAL_S)
            if self._dirty:
                self._dirty = False
                await asyncio.to_thread(os.fsync, self._descriptor)

    def close(self) -> None:
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _open_segment(self) -> None:
        self._make_room()
        self._path = self._directory / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._size = 0

    def _make_room(self) -> None:
        segments = sorted(self._directory.glob("*.jsonl"))
        sizes = {segment: segment.stat().st_size for segment in segments}
        while segments and sum(sizes.values()) > self._total_bytes - self._segment_bytes:
            oldest = segments.pop(0)
            self._log.error("usage_journal_full", removed=oldest.name, removed_bytes=sizes.pop(oldest))
            oldest.unlink(missing_ok=True)
