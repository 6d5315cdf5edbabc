"""The usage ledger with a million requests: how fast they come in, how fast a report is, what sweeping them costs.

The records are made here, in a journal as workers write it; the mover, the command and the sweep are the service's own.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks import UnmeasurableError, install, servers
from benchmarks.figures import Figure, Goal, Outcome
from benchmarks.gateway import Scale
from benchmarks.processes import Processes
from benchmarks.rounds import QUIET, Company
from benchmarks.servers import FUNDAMENT, RUN, Gateway
from benchmarks.wrk import Wrk
from fundament.gateway.meter import UsageRecord
from fundament.storage.database import open_database
from fundament.storage.journal import UsageJournal
from fundament.storage.mover import Mover
from fundament.storage.usage import UsageRepository

_CONNECTIONS = 8
_DAYS = 90
_KEPT_DAYS = 1
_DAY_S = 86_400
_OLD = f"SELECT count(*) FROM usage WHERE time < {time.time() - _KEPT_DAYS * _DAY_S}"  # noqa: S608 - a number
_BYS = ("day", "contract", "day,contract,key,model")
_SWEEP_TIMEOUT_S = 300.0


class _Filling:
    """Puts records into the ledger, and knows how long that took."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.records_per_s = 0.0

    def __call__(self, data: Path) -> None:
        journal = UsageJournal(data / "usage")
        for line in _lines(self.count):
            journal.append(line)
            journal.flush()
        journal.close()
        started = time.monotonic()
        asyncio.run(self._move(data))
        self.records_per_s = self.count / (time.monotonic() - started)

    async def _move(self, data: Path) -> None:
        engine = open_database(f"sqlite:///{data}/fundament.db")
        try:
            if not await Mover(data / "usage", UsageRepository(engine)).move():
                raise UnmeasurableError("the journal was not moved to its end")
        finally:
            await engine.dispose()


def ledger(scale: Scale) -> Outcome:
    """Ten records for each request that `scale` has for the case `memory`: a million."""
    nginx, cores = install.nginx(), servers.cores()
    RUN.mkdir(parents=True, exist_ok=True)
    wrk = Wrk(install.wrk(), cores.load, RUN)
    filling = _Filling(scale.requests * 10)
    with Processes(RUN) as processes:
        upstream = servers.static_upstream(processes, nginx, cores.load)
        config = f"[storage]\nusage_days = {_KEPT_DAYS}\n{servers.config_before(upstream)}"
        gateway = servers.fundament(processes, config, core=cores.server, fill=filling)

        company = Company(processes)

        def late_ms() -> float:
            return wrk.load(gateway, connections=_CONNECTIONS, duration_s=scale.window_s).p99_ms

        sweeping: list[float] = []
        while len(sweeping) < scale.rounds:
            window = late_ms()
            if not gateway.ask_database(_OLD):
                break
            sweeping.append(window)
        if not sweeping:
            raise UnmeasurableError("the sweep ended before it could be measured")
        _wait_swept(gateway)
        swept = [late_ms() for _ in range(len(sweeping))]
        others = company.share()
        reports = {by: tuple(_report_s(gateway, by, filling.count) for _ in range(3)) for by in _BYS}
    title = f"the usage ledger with {filling.count:,} requests"
    figures = (
        Figure("moved from the journal into SQLite", (filling.records_per_s,), "records/s"),
        *(Figure(f"fundament usage report --by {by}", took_s, "s", Goal("<", 2.0)) for by, took_s in reports.items()),
        Figure("p99 of a chat while rows are swept", tuple(sweeping), "ms"),
        Figure("p99 afterwards", tuple(swept), "ms"),
        Figure("sweeping / afterwards", (_median(sweeping) / _median(swept),), goal=Goal("<=", 1.2)),
    )
    checked = ("a report has every request", "rows were left when a window of the sweep ended", "every answer is a 2xx")
    notes = (f"DISTURBED: others used {others:.0%} of the machine",) if others >= QUIET else ()
    return Outcome("ledger", title, figures, notes, checked)


def _median(samples: list[float]) -> float:
    return Figure("", tuple(samples)).value


def _lines(count: int) -> Iterator[bytes]:
    """Records of the last days but one, in the order of their times; of 20 contracts, 60 keys, 5 models."""
    began = time.time() - (_DAYS + _KEPT_DAYS + 1) * _DAY_S
    encode = msgspec.json.Encoder().encode

    def line(number: int) -> bytes:
        moment = began + number * _DAYS * _DAY_S / count
        contract, key = number % 20, number % 60
        record = UsageRecord(
            request_id=f"req_{int(moment * 1000):012x}{number:020x}",
            time=moment,
            contract_id=f"contract_{contract:024x}",
            key_id=f"key_{key:024x}",
            endpoint="chat",
            model=f"model-{number % 5}",
            asked_model="alias",
            stream=True,
            outcome="completed",
            input_tokens=100,
            output_tokens=20,
            tokens_known=True,
            first_byte_ms=12.5,
            duration_ms=250.25,
            cost_nanos=27_000,
        )
        return encode(record)

    return map(line, range(count))


def _wait_swept(gateway: Gateway) -> None:
    deadline = time.monotonic() + _SWEEP_TIMEOUT_S
    while gateway.ask_database(_OLD):
        if time.monotonic() > deadline:
            raise gateway.process.failure("does not sweep its ledger")
        time.sleep(0.5)


def _report_s(gateway: Gateway, by: str, least: int) -> float:
    """Seconds of the whole command, its start included."""
    command = [str(FUNDAMENT), "usage", "report", "--by", by, "--format", "json", "--data-dir", str(gateway.data_dir)]
    started = time.monotonic()
    done = subprocess.run(command, cwd=RUN, capture_output=True, check=False)
    took_s = time.monotonic() - started
    rows = msgspec.json.decode(done.stdout)["data"] if done.returncode == 0 else []
    if sum(row["requests"] for row in rows) < least:
        raise UnmeasurableError(f"the report lacks requests:\n{done.stderr.decode()}")
    return took_s
