"""The usage journal on a real file system: nothing is lost, nothing grows without bound, whoever dies."""

import asyncio
import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fundament.storage import journal as journal_module
from fundament.storage.journal import UsageJournal


def lines_in(directory: Path) -> list[bytes]:
    """All complete lines, in the order of the segments."""
    data = b"".join(segment.read_bytes() for segment in sorted(directory.glob("*.jsonl")))
    assert not data or data.endswith(b"\n"), "half a line"
    return data.splitlines()


def numbered(count: int, size: int = 10) -> list[bytes]:
    return [b"%0*d" % (size - 1, number) for number in range(count)]


@contextlib.contextmanager
def open_journal(directory: Path, **bounds: int) -> Iterator[UsageJournal]:
    journal = UsageJournal(directory, **bounds)
    try:
        yield journal
    finally:
        journal.close()


def test_a_flushed_line_is_in_the_file_before_anything_else_happens(tmp_path: Path) -> None:
    with open_journal(tmp_path / "usage") as journal:
        for number, line in enumerate(numbered(3)):
            journal.append(line)
            journal.flush()
            assert lines_in(tmp_path / "usage") == numbered(number + 1)


def test_lines_of_one_flush_go_out_in_one_write_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(len(data)) or write(fd, data))
    with open_journal(tmp_path) as journal:
        for line in numbered(100):
            journal.append(line)
        journal.flush()
        journal.flush()
        assert writes == [1000]
    assert lines_in(tmp_path) == numbered(100)


def test_closing_writes_what_was_not_flushed(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append(b"last")
    assert lines_in(tmp_path) == [b"last"]


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    with open_journal(tmp_path / "usage"):
        [segment] = (tmp_path / "usage").iterdir()
        assert (segment.stat().st_mode & 0o777, segment.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_full_segment_is_followed_by_the_next_and_no_line_is_cut(tmp_path: Path) -> None:
    with open_journal(tmp_path, segment_bytes=100) as journal:
        for line in numbered(55):
            journal.append(line)
            journal.flush()
    sizes = [segment.stat().st_size for segment in sorted(tmp_path.iterdir())]
    assert sizes == [100, 100, 100, 100, 100, 50]
    assert lines_in(tmp_path) == numbered(55)


def test_all_segments_stay_within_the_bound_and_what_is_removed_is_said(tmp_path: Path) -> None:
    with capture_logs() as logs, open_journal(tmp_path, segment_bytes=100, total_bytes=300) as journal:
        for line in numbered(200):
            journal.append(line)
            journal.flush()
            assert sum(segment.stat().st_size for segment in tmp_path.iterdir()) <= 300
    assert lines_in(tmp_path) == numbered(200)[-len(lines_in(tmp_path)) :]
    assert len(lines_in(tmp_path)) >= 20
    assert {log["event"] for log in logs} == {"usage_journal_full"}
    assert sum(log["removed_bytes"] for log in logs) + 10 * len(lines_in(tmp_path)) == 2000


def test_a_segment_that_another_worker_writes_is_never_removed(tmp_path: Path) -> None:
    with open_journal(tmp_path) as other, capture_logs():
        other.append(b"first")
        other.flush()
        with open_journal(tmp_path, segment_bytes=100, total_bytes=200) as journal:
            for line in numbered(100):
                journal.append(line)
                journal.flush()
        other.append(b"last")
        other.flush()
        assert lines_in(tmp_path)[:2] == [b"first", b"last"]


def test_a_restart_keeps_what_was_there_and_begins_a_segment_of_its_own(tmp_path: Path) -> None:
    for line in (b"one", b"two"):
        with open_journal(tmp_path) as journal:
            journal.append(line)
    assert len(list(tmp_path.iterdir())) == 2
    assert lines_in(tmp_path) == [b"one", b"two"]


def test_a_segment_that_another_worker_removed_meanwhile_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1-1.jsonl").write_bytes(b"x\n")
    glob = Path.glob

    def racing(path: Path, pattern: str) -> list[Path]:
        found = list(glob(path, pattern))
        (tmp_path / "1-1.jsonl").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "glob", racing)
    with open_journal(tmp_path) as journal:
        journal.append(b"y")
    monkeypatch.undo()
    assert lines_in(tmp_path) == [b"y"]


WRITER = """
import os, sys
from pathlib import Path
from fundament.storage.journal import UsageJournal

journal = UsageJournal(Path(sys.argv[1]), segment_bytes=5000, total_bytes=int(sys.argv[2]))
number = 0
while number < int(sys.argv[3]):
    journal.append(b'{"writer": %d, "number": %d}' % (os.getpid(), number))
    journal.flush()
    os.write(1, b"%d\\n" % number)
    number += 1
journal.close()
"""


def start_writer(directory: Path, *, total_bytes: int = 2**40, lines: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(directory), str(total_bytes), str(lines)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_a_writer_that_is_killed_loses_no_line_that_it_flushed(tmp_path: Path) -> None:
    with start_writer(tmp_path, lines=10**9) as writer:
        assert writer.stdout is not None
        for _ in range(2000):
            writer.stdout.readline()
        writer.kill()
        told = writer.stdout.read().splitlines(keepends=True)
    last = int(next((line for line in reversed(told) if line.endswith(b"\n")), b"1999"))
    numbers = [json.loads(line)["number"] for line in lines_in(tmp_path)]
    assert numbers[: last + 1] == list(range(last + 1))
    assert len(numbers) <= last + 2


def test_two_writers_share_the_directory_and_the_bound(tmp_path: Path) -> None:
    with start_writer(tmp_path, lines=3000) as one, start_writer(tmp_path, lines=3000) as other:
        for writer in (one, other):
            assert writer.stdout is not None
            writer.stdout.read()
    assert (one.returncode, other.returncode) == (0, 0)
    records = [json.loads(line) for line in lines_in(tmp_path)]
    for writer in (one, other):
        assert [r["number"] for r in records if r["writer"] == writer.pid] == list(range(3000))

    # the same, with room for a part of it only
    bounded = tmp_path / "bounded"
    with (
        start_writer(bounded, total_bytes=30_000, lines=3000) as one,
        start_writer(bounded, total_bytes=30_000, lines=3000) as other,
    ):
        for writer in (one, other):
            assert writer.stdout is not None
            writer.stdout.read()
    assert (one.returncode, other.returncode) == (0, 0)
    assert sum(segment.stat().st_size for segment in bounded.iterdir()) <= 30_000 + 2 * 5000


FULL_DISK = """
import resource, sys
from pathlib import Path
from structlog.testing import capture_logs
from fundament.storage.journal import UsageJournal

directory = Path(sys.argv[1])
with capture_logs() as logs:
    journal = UsageJournal(directory)
    resource.setrlimit(resource.RLIMIT_FSIZE, (55, resource.RLIM_INFINITY))
    for number in range(10):
        journal.append(b"%09d" % number)
        journal.flush()
    [segment] = directory.iterdir()
    print(segment.stat().st_size)
    print([log["event"] for log in logs])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.flush()
    journal.close()
"""


def test_a_full_disk_cuts_no_line_is_said_once_and_what_it_delayed_is_written_later(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    size, events = run.stdout.splitlines()
    assert int(size) == 50
    assert events == "['usage_journal_failing']"
    assert lines_in(tmp_path) == numbered(10)


def failing(*_: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_while_the_disk_is_full_the_newest_lines_are_kept_and_the_loss_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "KEPT_LINES", 5)
    with capture_logs() as logs, open_journal(tmp_path) as journal:
        with monkeypatch.context() as full:
            full.setattr(os, "write", failing)
            for line in numbered(8):
                journal.append(line)
                journal.flush()
        journal.flush()
    assert lines_in(tmp_path) == numbered(8)[-5:]
    assert sum(log["count"] for log in logs if log["event"] == "usage_records_lost") == 3


def test_a_next_segment_that_cannot_be_opened_stops_no_request_and_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with capture_logs() as logs, open_journal(tmp_path, segment_bytes=30) as journal:
        with monkeypatch.context() as full:
            full.setattr(os, "open", failing)
            for line in numbered(8):
                journal.append(line)
                journal.flush()
        assert [log["event"] for log in logs] == ["usage_journal_failing"]
        journal.flush()
    assert lines_in(tmp_path) == numbered(8)


async def test_what_was_appended_reaches_the_file_and_the_disk_without_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SYNC_INTERVAL_S", 0.01)
    synced: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    with open_journal(tmp_path) as journal:
        running = asyncio.create_task(journal.run())
        journal.append(b"x")
        await asyncio.sleep(0.1)
        assert lines_in(tmp_path) == [b"x"]
        assert synced == [str(journal._path)], "it syncs when there is something, and only then"
        running.cancel()


@pytest.mark.parametrize("breaks", [True, False])
async def test_a_slow_or_broken_disk_does_not_end_the_syncing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    monkeypatch.setattr(journal_module, "SYNC_INTERVAL_S", 0.01)
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.05)
        if breaks:
            failing()
        fsync(descriptor)

    with open_journal(tmp_path, segment_bytes=20) as journal:
        running = asyncio.create_task(journal.run())
        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", slow)
            for line in numbered(6):  # segments end, and are closed, while the disk is busy with them
                journal.append(line)
                with contextlib.suppress(OSError):
                    journal.flush()
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
        assert not running.done()
        journal.append(b"end")
        await asyncio.sleep(0.1)
        assert lines_in(tmp_path)[-1] == b"end"
        assert len(set(lines_in(tmp_path))) == 7
        running.cancel()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with open_journal(tmp_path, segment_bytes=20) as journal:
        for line in numbered(100):
            journal.append(line)
            journal.flush()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
