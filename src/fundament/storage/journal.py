"""The usage journal: files of JSON lines, appended to by one worker each and kept within a bound.

A line that is flushed is the operating system's, so the death of the process does not lose it; the disk gets it a
second later at the latest. It does not know what is in a line, nor who waits for a flush.
"""

import asyncio
import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import structlog

from fundament.storage import segments

SEGMENT_BYTES = 64 * 1024 * 1024
TOTAL_BYTES = 4 * 1024 * 1024 * 1024
SYNC_INTERVAL_S = 1.0
KEPT_LINES = 100_000  # about 30 MB


class UsageJournal:
    """Appends to segments in `directory`, `<start>-<pid>-<random>.jsonl`.

    When all segments together pass `total_bytes`, since nobody moves them away, the oldest that no worker writes is
    removed, and an error is logged that says which.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        total_bytes: int = TOTAL_BYTES,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._total_bytes = total_bytes
        self._log: Any = structlog.get_logger(__name__)
        self._lines: list[bytes] = []
        self._dirty = False
        self._failing = False
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open_segment()

    def append(self, line: bytes) -> None:
        """Takes one line (without its line end) for the next flush, at most a second away."""
        self._lines.append(line)

    def flush(self) -> None:
        """Hands the lines to the operating system.

        While that fails (a full disk), requests go on, and lines are kept in memory, the newest `KEPT_LINES` of them.
        """
        if not self._lines:
            return
        try:
            if self._size >= self._segment_bytes:
                self._next_segment()
            self._write(b"\n".join(self._lines) + b"\n")
        except OSError as error:
            self._keep(error)
            return
        self._lines.clear()
        self._failing = False
        self._dirty = True

    def _write(self, data: bytes) -> None:
        """All of `data`, or nothing of it."""
        written = os.write(self._descriptor, data)
        if written != len(data):
            os.ftruncate(self._descriptor, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _note(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            self._log.error("usage_journal_failing", path=str(self._path), error=error.strerror)

    def _keep(self, error: OSError) -> None:
        self._note(error)
        if len(self._lines) > KEPT_LINES:
            lost = len(self._lines) - KEPT_LINES
            del self._lines[:lost]
            self._log.error("usage_records_lost", count=lost)

    async def run(self) -> None:
        """Brings what was appended to the disk, once a second, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_INTERVAL_S)
            self.flush()  # again, where it failed before
            if self._dirty:
                self._dirty = False
                try:
                    # A descriptor of its own: this one may be closed, at a segment's end, while the disk works.
                    await asyncio.to_thread(_sync, os.dup(self._descriptor))
                except OSError as error:
                    self._note(error)

    def close(self) -> None:
        self.flush()
        _sync(self._descriptor)

    def _next_segment(self) -> None:
        full = self._descriptor
        self._open_segment()
        _sync(full)

    def _open_segment(self) -> None:
        self._make_room()
        self._path, self._descriptor = segments.begin(self._directory)
        self._size = 0

    def _make_room(self) -> None:
        sizes: dict[Path, int] = {}
        for segment in segments.all_segments(self._directory):
            with contextlib.suppress(FileNotFoundError):  # it was moved, or another worker has removed it
                sizes[segment] = segment.stat().st_size
        for oldest in list(sizes):
            if sum(sizes.values()) <= self._total_bytes - self._segment_bytes:
                return
            if segments.remove(oldest):  # not one that another worker writes
                self._log.error("usage_journal_full", removed=oldest.name, removed_bytes=sizes.pop(oldest))


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
