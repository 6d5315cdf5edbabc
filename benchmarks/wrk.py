"""Load from wrk: as many requests as a server answers in a time, over a number of connections, every answer checked.

Knows wrk's scripts and its report; not whom it loads.
"""

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import UnmeasurableError, wire
from benchmarks.install import Program
from benchmarks.servers import Server

# What wrk reports only when it happened: refused or broken connections, answers later than the timeout, other statuses.
_TROUBLE = re.compile(r"^\s*(Socket errors:.*|Non-2xx or 3xx responses:.*|Incomplete: [1-9].*)$", re.MULTILINE)
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}

_REQUEST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.body = [[{body}]]
"""
_CHECK_END = """
local threads = {}
function setup(thread) threads[#threads + 1] = thread end
function init() incomplete = 0 end
function response(status, headers, body)
  if body:sub(-14) ~= "data: [DONE]\\n\\n" then incomplete = incomplete + 1 end
end
function done()
  for _, thread in ipairs(threads) do print("Incomplete: " .. thread:get("incomplete")) end
end
"""


@dataclass(frozen=True)
class Load:
    """What a server did under load; `busy` is the share of its core, 0 to 1, that it used."""

    answers_per_s: float
    answers: int
    p50_ms: float
    p99_ms: float
    busy: float


class Wrk:
    """wrk on one core, with its scripts in `folder`."""

    def __init__(self, program: Program, core: int, folder: Path) -> None:
        self._program = program
        self._core = core
        self._folder = folder

    def load(
        self,
        server: Server,
        *,
        connections: int,
        duration_s: int,
        stream: bool = False,
        path: str = "/chat/completions",
        body: str | None = None,
    ) -> Load:
        """Loads one endpoint with one request, a chat if no `body` is given.

        Raises `UnmeasurableError` when one answer is no 2xx, does not come, or is a stream without `[DONE]`.
        """
        script = self._folder / f"{server.name}.lua"
        text = _REQUEST.format(key=server.key, body=body or wire.request(stream=stream))
        script.write_text(text + _CHECK_END if stream else text)
        command = ["taskset", "--cpu-list", str(self._core), str(self._program.path), "--threads", "1"]
        command += ["--connections", str(connections), "--duration", f"{duration_s}s", "--timeout", "60s", "--latency"]
        command += ["--script", str(script), server.base_url + path]
        environment = os.environ | self._program.environment()
        used_s, started = server.process.cpu_s(), time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        busy = (server.process.cpu_s() - used_s) / (time.monotonic() - started)
        return _read(server.name, done, busy)


def _read(name: str, done: subprocess.CompletedProcess[str], busy: float) -> Load:
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", done.stdout, re.MULTILINE)
    count = re.search(r"^\s+(\d+) requests in ", done.stdout, re.MULTILINE)
    median, late = (
        re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s)\s*$", done.stdout, re.MULTILINE) for share in (50, 99)
    )
    trouble = _TROUBLE.search(done.stdout)
    if trouble:
        raise UnmeasurableError(f"{name} answered wrongly under load: {trouble[1]}")
    if done.returncode or not (rate and count and median and late) or count[1] == "0":
        raise UnmeasurableError(f"wrk has no result for {name}:\n{done.stdout}{done.stderr}")
    p50_ms, p99_ms = (float(found[1]) * _UNIT_MS[found[2]] for found in (median, late))
    return Load(float(rate[1]), int(count[1]), p50_ms, p99_ms, busy)
