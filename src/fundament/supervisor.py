"""Keeps processes running: starts each with its instructions, starts it again when it dies, ends all of them together.

It knows processes, not what they do. `lifeline.py` is the other end of each child's stdin.
"""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
STEADY_AFTER_S = 3.0  # a process that lived this long is started again without delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to keep: `python -m module`, told `instructions` (one line of JSON), given the descriptors `fds`.

    `drains` says that it ends its work by itself on SIGTERM; others are killed.
    """

    name: str
    module: str
    instructions: bytes
    fds: tuple[int, ...] = ()
    drains: bool = False


class ProcessRecorder(Protocol):
    """Who is told which programs run."""

    def started(self, name: str, pid: int) -> None: ...

    def ended(self, name: str) -> None: ...


class Supervisor:
    """Runs programs until `stop`, and tells `recorder` of them."""

    def __init__(self, programs: Sequence[Program], recorder: ProcessRecorder | None = None) -> None:
        self._programs = programs
        self._recorder = recorder
        self._processes: dict[str, Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._log: Any = structlog.get_logger("fundament.supervisor")

    def start(self) -> None:
        """Starts every program; they are kept from now on."""
        self._keepers = [asyncio.create_task(self._keep(program)) for program in self._programs]

    async def stop(self, grace_s: float) -> None:
        """Ends everything: programs that drain get `grace_s` seconds for it; the others live until those are done."""
        self._stopping = True
        draining = [program for program in self._programs if program.drains]
        for program in draining:
            self._signal(program.name, signal.SIGTERM)
        waiting = [process.wait() for program in draining if (process := self._processes.get(program.name))]
        if waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await asyncio.gather(*waiting)
        for program in self._programs:
            self._signal(program.name, signal.SIGKILL)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(process.wait() for process in self._processes.values()))

    async def _keep(self, program: Program) -> None:
        clock = asyncio.get_running_loop().time
        delay_s = FIRST_DELAY_S
        while not self._stopping:
            started_at = clock()
            end = await self._life(program)
            if self._stopping:
                return
            delay_s = FIRST_DELAY_S if clock() - started_at > STEADY_AFTER_S else min(delay_s * 2, LONGEST_DELAY_S)
            self._log.error("process_ended", process=program.name, **end, restart_in_s=round(delay_s, 1))
            await asyncio.sleep(delay_s)

    async def _life(self, program: Program) -> dict[str, Any]:
        """One life of a process, and how it ended."""
        try:
            process = await self._spawn(program)
        except OSError as error:  # no process or no descriptor is to be had; later, perhaps
            return {"error": str(error)}
        if self._recorder is not None:
            self._recorder.started(program.name, process.pid)
        status = await process.wait()
        if self._recorder is not None:
            self._recorder.ended(program.name)
        return {"pid": process.pid, "status": status}

    async def _spawn(self, program: Program) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            program.module,
            stdin=PIPE,
            stdout=DEVNULL,
            pass_fds=program.fds,
            start_new_session=True,  # Ctrl-C is for the supervisor, which then drains the others
        )
        self._processes[program.name] = process
        if process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # it died at once; `wait` tells
                process.stdin.write(program.instructions + b"\n")
                await process.stdin.drain()
        return process

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._processes.get(name)
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
