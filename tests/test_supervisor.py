"""Processes that are kept: started again when they die, drained and ended together, and none outlives its keeper."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from fundament import supervisor as supervisor_module
from fundament.supervisor import Program, Supervisor

# A program: says its pid, then does as it is told in `does`. Each line of its file is one life.
CHILD = """
import os, signal, sys, time
from fundament.lifeline import receive_instructions

told = receive_instructions(dict)

def say(word):
    with open(told["file"], "a") as file:
        file.write(f"{os.getpid()} {word}\\n")

def drain(number, frame):
    say("draining")
    time.sleep(told["drain_s"])
    say("drained")
    os._exit(0)

if told["does"] == "drain":
    signal.signal(signal.SIGTERM, drain)
if told["does"] == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
say("started")
if told["does"] == "die":
    sys.exit(3)
if told["does"] == "hold the interpreter":
    say("holding")
    pow(7, 10**9)  # minutes in C that do not let go of the interpreter
while True:
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Child:
    """One program of the tests, and what it has said."""

    def __init__(self, folder: Path, name: str, does: str, *, drains: bool = False, drain_s: float = 0.0) -> None:
        self.file = folder / f"{name}.txt"
        told = {"file": str(self.file), "does": does, "drain_s": drain_s}
        self.program = Program(name=name, module="kept_child", instructions=msgspec.json.encode(told), drains=drains)

    @property
    def said(self) -> list[tuple[int, str]]:
        text = self.file.read_text() if self.file.exists() else ""
        return [(int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in text.splitlines()]

    @property
    def words(self) -> list[str]:
        return [word for _, word in self.said]

    @property
    def pids(self) -> list[int]:
        return [pid for pid, word in self.said if word == "started"]


async def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where children's module is, and where they write."""
    (tmp_path / "kept_child.py").write_text(CHILD)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )
    return tmp_path


class Told:
    """Who runs, as the supervisor says."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int | None]] = []

    def started(self, name: str, pid: int) -> None:
        self.said.append((name, pid))

    def ended(self, name: str) -> None:
        self.said.append((name, None))


@asynccontextmanager
async def supervised(*children: Child, recorder: Told | None = None) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor([child.program for child in children], recorder)
    supervisor.start()
    try:
        await eventually(lambda: all(child.pids for child in children))
        yield supervisor
    finally:
        await supervisor.stop(0)
        assert not any(alive(pid) for child in children for pid in child.pids)


async def test_a_child_that_is_killed_is_replaced_and_its_end_is_logged(folder: Path) -> None:
    child, neighbour = Child(folder, "child", "wait"), Child(folder, "neighbour", "wait")
    with capture_logs() as logs:
        async with supervised(child, neighbour):
            os.kill(child.pids[0], signal.SIGKILL)
            await eventually(lambda: len(child.pids) == 2)
            assert alive(child.pids[1])
            assert len(neighbour.pids) == 1
    [log] = [log for log in logs if log["event"] == "process_ended"]
    assert (log["process"], log["pid"], log["status"]) == ("child", child.pids[0], -signal.SIGKILL)


async def test_it_tells_which_process_runs(folder: Path) -> None:
    child, told = Child(folder, "child", "wait"), Told()
    async with supervised(child, recorder=told):
        assert told.said == [("child", child.pids[0])]
        os.kill(child.pids[0], signal.SIGKILL)
        await eventually(lambda: len(child.pids) == 2)
        assert told.said == [("child", child.pids[0]), ("child", None), ("child", child.pids[1])]


async def test_a_child_that_keeps_dying_is_started_less_and_less_often(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "LONGEST_DELAY_S", 0.3)
    child = Child(folder, "child", "die")
    with capture_logs() as logs:
        async with supervised(child):
            await eventually(lambda: len(child.pids) >= 4)
    delays = [log["restart_in_s"] for log in logs if log["event"] == "process_ended"]
    assert delays[:3] == [0.2, 0.3, 0.3]
    assert {log["status"] for log in logs if log["event"] == "process_ended"} == {3}


async def test_a_child_that_was_steady_is_started_again_without_the_delay_of_bad_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "STEADY_AFTER_S", 0.0)
    child = Child(folder, "child", "die")
    with capture_logs() as logs:
        async with supervised(child):
            await eventually(lambda: len(child.pids) >= 4)
    assert {log["restart_in_s"] for log in logs if log["event"] == "process_ended"} == {0.1}


async def test_a_child_that_cannot_be_started_for_a_while_is_started_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(folder, "child", "wait")
    async with supervised(child):
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/no/such/python")  # as when no process can be forked
            os.kill(child.pids[0], signal.SIGKILL)
            await asyncio.sleep(0.5)
        await eventually(lambda: len(child.pids) == 2)


async def test_stopping_lets_who_drains_finish_and_kills_the_others_after_them(folder: Path) -> None:
    draining = Child(folder, "draining", "drain", drains=True, drain_s=0.3)
    engine = Child(folder, "engine", "wait")
    async with supervised(draining, engine) as supervisor:
        stopping = asyncio.create_task(supervisor.stop(10))
        await eventually(lambda: "draining" in draining.words)
        assert alive(engine.pids[0])
        started_at = time.monotonic()
        await stopping
        assert time.monotonic() - started_at < 5
    assert draining.words == ["started", "draining", "drained"]
    assert len(engine.pids) == 1


async def test_stopping_waits_for_nobody_longer_than_the_grace(folder: Path) -> None:
    stubborn = Child(folder, "stubborn", "ignore", drains=True)
    async with supervised(stubborn) as supervisor:
        started_at = time.monotonic()
        await supervisor.stop(0.3)
        assert 0.25 < time.monotonic() - started_at < 2
        assert not alive(stubborn.pids[0])


async def test_stopping_while_a_child_waits_to_be_started_again_starts_nothing(folder: Path) -> None:
    child = Child(folder, "child", "die", drains=True)
    async with supervised(child) as supervisor:
        await eventually(lambda: len(child.pids) == 2)
        await supervisor.stop(1)
        lives = len(child.pids)
        await asyncio.sleep(0.6)
        assert len(child.pids) == lives


SUPERVISOR = """
import asyncio, sys
import msgspec
from fundament.supervisor import Program, Supervisor

async def main():
    lines = enumerate(sys.argv[1:])
    programs = [Program(name=str(i), module="kept_child", instructions=line.encode()) for i, line in lines]
    Supervisor(programs).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_child_outlives_a_supervisor_that_is_killed(folder: Path) -> None:
    children = [Child(folder, "waits", "wait"), Child(folder, "holds", "hold the interpreter")]
    arguments = [child.program.instructions.decode() for child in children]
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", SUPERVISOR, *arguments)
    try:
        await eventually(lambda: children[0].pids and "holding" in children[1].words)
        pids = [child.pids[0] for child in children]
        await asyncio.sleep(0.2)
        assert all(map(alive, pids))
        supervisor.kill()
        await supervisor.wait()
        await eventually(lambda: not any(map(alive, pids)), 2)
    finally:
        if supervisor.returncode is None:
            supervisor.kill()
            await supervisor.wait()
        for child in children:
            for pid in child.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("ends", ["stdin closed", "no instructions", "bad instructions"])
def test_a_child_without_a_supervisor_ends(folder: Path, ends: str) -> None:
    child = Child(folder, "child", "wait")
    lines = {"stdin closed": child.program.instructions + b"\n", "no instructions": b"", "bad instructions": b"[]\n"}
    process = subprocess.Popen([sys.executable, "-m", "kept_child"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.communicate(lines[ends], timeout=10)
    assert process.returncode == 1
