"""Starts the processes of a measurement, each pinned to its core, and ends every one of them however it ends.

Reads from /proc what a process and all that it started use. Knows nothing of what runs in them.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks import UnmeasurableError

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S = 20.0


class Process:
    """A started program with everything that it started in turn."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.log = log
        self._popen = popen

    def alive(self) -> bool:
        return self._popen.poll() is None

    def tree(self) -> list[int]:
        """The ids of the program and its living descendants, itself first."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (stat := _stat(int(entry.name))):
                children.setdefault(stat.parent, []).append(int(entry.name))
        found = [self.pid]
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def cpu_s(self) -> float:
        """Processor time that the tree has used so far, in seconds."""
        return sum(stat.cpu_s for pid in self.tree() if (stat := _stat(pid)))

    def stop(self) -> None:
        """Ask it to end; after `_STOP_TIMEOUT_S` kill it and what is left of its tree."""
        before = {pid: _stat(pid) for pid in self.tree()[1:]}
        if self.alive():
            self._popen.terminate()
        try:
            self._popen.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pid, was in before.items():
            now = _stat(pid)
            if was and now and was.started_at == now.started_at:  # still the same process, not another with its id
                _kill(pid)

    def failure(self, what: str) -> UnmeasurableError:
        tail = self.log.read_text(errors="replace")[-3000:]
        return UnmeasurableError(f"{self.name} {what}; the end of its log:\n{tail}")


class Processes:
    """Those that one measurement needs; leaving the `with` block ends them, the last started first."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._started:
            self._started.pop().stop()

    def start(
        self, name: str, command: Sequence[str], *, core: int | None, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start `command` with its whole tree on `core` (None: on all); it gets SIGTERM should we be killed."""
        for tool in ("setpriv", "taskset"):
            if not shutil.which(tool):
                raise UnmeasurableError(f"{tool} is missing; it comes with util-linux")
        prefix = ["setpriv", "--pdeathsig", "TERM"]
        if core is not None:
            prefix += ["taskset", "--cpu-list", str(core)]
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*prefix, *command],
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us: we end them in order
            )
        process = Process(name, popen, log)
        self._started.append(process)
        return process

    def cpu_s(self) -> float:
        """Processor time that all of them have used so far, in seconds."""
        return sum(process.cpu_s() for process in self._started)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(process: Process, port: int, path: str, timeout_s: float) -> None:
    """Until GET `path` answers 200; raises `UnmeasurableError` with the log when it ends or takes longer."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not process.alive():
            raise process.failure("ended while starting")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # not listening yet
        finally:
            connection.close()
        time.sleep(0.1)
    raise process.failure(f"was not ready within {timeout_s:.0f} s")


def command_of(pid: int) -> bytes:
    """The command line of a process, its arguments with NUL between; empty when it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def memory_bytes(pid: int) -> int:
    """Resident set of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise UnmeasurableError(f"process {pid} has no memory: it has ended")


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def busy_s() -> float:
    """Processor time used by everything on all cores since the machine started, in seconds.

    Waiting does not count; what a hypervisor gave to other machines does, for it was not there for us.
    """
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = (int(field) for field in fields)
    return (user + nice + system + interrupts + soft_interrupts + stolen) / _TICKS_PER_S


class _Stat(NamedTuple):
    parent: int
    cpu_s: float
    started_at: int


def _stat(pid: int) -> _Stat | None:
    try:
        # The name before the last bracket may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[19]))


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def pinned(core: int) -> Generator[None]:
    """This process, which makes the load itself, on `core` for the while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
