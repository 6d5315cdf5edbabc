"""The journal's files: how one is begun, who may still write to it, how its whole lines are read, when it may go.

A writer holds the file's lock as long as it may write, and the system gives that free however the process ends. So a
segment without a writer is complete. It does not know what is in a line.
"""

import fcntl
import os
import secrets
import time
from pathlib import Path

from msgspec import Struct

_MODE = 0o600


class Lines(Struct, frozen=True):
    """Whole lines of a segment, without their line ends, and the position (bytes) behind the last of them.

    `at_end` tells that no other whole line follows. `torn_bytes` is what follows without a line end: from a dead
    writer, a record whose answer never went out.
    """

    lines: list[bytes]
    end: int
    at_end: bool
    torn_bytes: int


def begin(directory: Path) -> tuple[Path, int]:
    """A new segment, and the descriptor that may append to it. Raises OSError."""
    while True:
        # Journals of several machines are moved into one database: the name is one of its own among all of them.
        path = directory / f"{time.time_ns()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _MODE)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # removed before it was locked, as one that is empty and nobody's


def all_segments(directory: Path) -> list[Path]:
    """All of them, the oldest first."""
    return sorted(directory.glob("*.jsonl"))


def is_written(path: Path) -> bool:
    """Whether a process may still append to the segment; one that is gone is not written."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path, start: int, most_bytes: int) -> Lines:
    """The whole lines from `start` on, about `most_bytes` of them. Raises OSError."""
    with path.open("rb") as file:
        file.seek(start)
        lines = file.readlines(most_bytes)
        size = os.fstat(file.fileno()).st_size
    torn = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
    end = start + sum(map(len, lines))
    return Lines([line[:-1] for line in lines], end, end + len(torn) >= size, len(torn))


def remove(path: Path, *, moved_bytes: int | None = None) -> bool:
    """Removes the segment unless a process may still append to it, or it has not the size given; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        if not _lock(descriptor) or moved_bytes not in {None, os.fstat(descriptor).st_size}:
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
