"""The journal's files on a real file system: who writes to which, and when one may go."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fundament.storage import segments
from fundament.storage.segments import all_segments, begin, is_written, read_lines, remove


def test_a_segment_is_written_as_long_as_its_descriptor_is_open(tmp_path: Path) -> None:
    path, descriptor = begin(tmp_path)
    copy = os.dup(descriptor)
    os.close(descriptor)
    assert is_written(path)
    assert not remove(path)
    os.close(copy)
    assert not is_written(path)
    assert remove(path)
    assert all_segments(tmp_path) == []


HOLDER = """
import sys, time
from pathlib import Path
from fundament.storage.segments import begin

path, descriptor = begin(Path(sys.argv[1]))
print(path, flush=True)
time.sleep(60)
"""


def test_a_killed_process_writes_no_more(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        path = Path(holder.stdout.readline().strip())
        assert is_written(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait(5)
        assert not is_written(path)


def test_a_segment_that_is_removed_before_its_writer_has_it_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = segments.fcntl.flock
    removed: list[Path] = []

    def late(descriptor: int, operation: int) -> None:
        if not removed:
            [path] = tmp_path.iterdir()
            with monkeypatch.context() as others:
                others.setattr(segments.fcntl, "flock", flock)
                assert remove(path, moved_bytes=0)
            removed.append(path)
        flock(descriptor, operation)

    monkeypatch.setattr(segments.fcntl, "flock", late)
    path, descriptor = begin(tmp_path)
    os.close(descriptor)
    assert removed != [path]
    assert all_segments(tmp_path) == [path]


def test_a_segment_that_grew_since_it_was_read_stays(tmp_path: Path) -> None:
    path = tmp_path / "1-1-a.jsonl"
    path.write_bytes(b"one\ntwo\n")
    assert not remove(path, moved_bytes=4)
    assert path.exists()
    assert remove(path, moved_bytes=8)


def test_whole_lines_are_read_and_what_follows_them_is_told(tmp_path: Path) -> None:
    path = tmp_path / "1-1-a.jsonl"
    path.write_bytes(b"one\ntwo\nthree\nfo")
    read = read_lines(path, 0, 5)
    assert (read.lines, read.end, read.at_end, read.torn_bytes) == ([b"one", b"two"], 8, False, 0)
    read = read_lines(path, 8, 5)
    assert (read.lines, read.end) == ([b"three"], 14)
    read = read_lines(path, 14, 5)
    assert (read.lines, read.end, read.at_end, read.torn_bytes) == ([], 14, True, 2)
    read = read_lines(path, 0, 1000)
    assert (read.lines, read.end, read.at_end, read.torn_bytes) == ([b"one", b"two", b"three"], 14, True, 2)


def test_one_that_is_gone_is_neither_written_nor_in_the_way(tmp_path: Path) -> None:
    assert not is_written(tmp_path / "gone.jsonl")
    assert remove(tmp_path / "gone.jsonl")


def test_names_of_one_moment_differ(tmp_path: Path) -> None:
    made: list[int] = []
    threads = [threading.Thread(target=lambda: made.append(begin(tmp_path)[1])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(all_segments(tmp_path)) == len(made) == 20
    for descriptor in made:
        os.close(descriptor)
