"""An hour of mixed load on two workers: whether memory stays flat, descriptors come back and every answer is right.

It joins the load (`mixed_load.py`), what the processes hold meanwhile (`samples.py`) and what the ledger and the log
say afterwards. The test of three minutes runs the same. Figures are left in `<home>/samples.jsonl` as they come.
"""

import asyncio
import json
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import UnmeasurableError, servers
from benchmarks.chart import chart
from benchmarks.figures import Figure, Goal, Outcome
from benchmarks.install import BENCH, PROJECT
from benchmarks.mixed_load import BODY_LIMIT_BYTES, MixedLoad, Tally
from benchmarks.mixed_upstream import MODELS
from benchmarks.processes import Processes
from benchmarks.samples import ALL, Sample, Sampler, median_mb
from benchmarks.servers import Gateway, Server

HOME = BENCH / "endurance"
CHART = PROJECT / "docs" / "endurance.svg"
_WORKERS = 2
_FAILURES = ("upstream_error", "upstream_unavailable")
_MODEL = """
[[models]]
id = "{model}"
open_weights = true
[[models.upstreams]]
base_url = "{base_url}"
profile = "openai"
responses = false
"""


@dataclass(frozen=True)
class Plan:
    """How long and how much: `per_s` exchanges a second, a sample every `every_s` seconds.

    Memory is compared between the windows `early` and `late` (seconds from the beginning of the load). `pause_s` is
    how long nothing is asked before descriptors are counted: longer than the upstream keeps idle connections.
    """

    duration_s: float
    early: tuple[float, float]
    late: tuple[float, float]
    every_s: float
    per_s: float = 80.0
    warm_up_s: float = 10.0
    pause_s: float = 8.0


HOUR = Plan(duration_s=3600, early=(480, 720), late=(3360, 3600), every_s=10)
SHORT = Plan(duration_s=180, early=(50, 70), late=(160, 180), every_s=2)


@dataclass(frozen=True)
class Endured:
    """What a run gave. `rest` are the samples without load, before and after; processor time is a share of one core."""

    plan: Plan
    names: Sequence[str]
    samples: Sequence[Sample]
    rest: tuple[Sample, Sample]
    tally: Tally
    requests_per_s: float
    service_busy: float
    load_busy: float

    def growth(self, name: str) -> float:
        """Of private memory between the windows, in parts of the first."""
        return self.late_mb(name)[0] / self.early_mb(name)[0] - 1

    def early_mb(self, name: str) -> tuple[float, float, float]:
        return median_mb(self.samples, name, self.plan.early)

    def late_mb(self, name: str) -> tuple[float, float, float]:
        return median_mb(self.samples, name, self.plan.late)

    def descriptors(self, name: str) -> tuple[int, int]:
        """At rest, before and after."""
        before, after = (sample.processes[name].descriptors for sample in self.rest)
        return before, after


def endurance(plan: Plan) -> Outcome:
    with Processes(HOME) as processes:
        endured = endure(plan, HOME, servers.redis(processes, None))
    compared = (ALL, *endured.names)
    early, late = (f"minutes {a / 60:.2g} to {b / 60:.2g}" for a, b in (plan.early, plan.late))
    figures = [
        Figure("requests", (endured.requests_per_s,), "requests/s", Goal(">=", 60)),
        Figure("the service's processes used", (endured.service_busy * 100,), "% of a core"),
    ]
    for name in compared:
        figures += [
            Figure(f"{name}, {early}", _ordered(endured.early_mb(name)), "MB"),
            Figure(f"{name}, {late}", _ordered(endured.late_mb(name)), "MB"),
            Figure(f"{name}, growth", (endured.growth(name) * 100,), "%", Goal("<", 5)),
        ]
    for name in endured.names:
        before, after = endured.descriptors(name)
        figures.append(Figure(f"{name}, descriptors more", (after - before,), "", Goal("<=", 0)))
    at_rest = ", ".join(f"{name} {endured.descriptors(name)[0]}" for name in endured.names)
    kinds = sum(endured.tally.kinds.values())
    last = endured.samples[-1]
    notes = (
        f"{endured.tally.requests:,} requests in {kinds:,} exchanges of {len(endured.tally.kinds)} kinds",
        f"descriptors before, at rest: {at_rest}",
        f"the load used {endured.load_busy:.0%} of a core",
        f"at the end the database had {last.database / 1e6:.0f} MB, the journal {last.journal / 1e6:.0f} MB",
    )
    checked = (
        "every answer is the one expected, every stream whole",
        "no process ended or was started",
        f"exactly {sum(endured.tally.records.values()):,} usage records, right by endpoint and outcome",
        f"nothing logged but the {endured.tally.failures_logged:,} failures of the upstream",
    )
    title = f"{plan.duration_s / 60:g} minutes of mixed load, {_WORKERS} workers: private memory, descriptors"
    return Outcome("endurance", title, tuple(figures), notes, checked)


def publish() -> None:
    """Puts the chart of the last run into the documentation."""
    shutil.copyfile(HOME / CHART.name, CHART)


def endure(plan: Plan, home: Path, redis_url: str) -> Endured:
    """Serve, load and watch. Files are below `home`; limits are counted in the Redis server.

    Raises:
        UnmeasurableError: an answer, a record or a log line is not as it must be, or a process was replaced.
    """
    with Processes(home) as processes:
        upstream = servers.mixed_upstream(processes)
        gateway = servers.fundament(processes, _config(upstream, redis_url), core=None, workers=_WORKERS, home=home)
        load = MixedLoad(gateway.port, (gateway.key, servers.limited_key(gateway, "bounded")))
        with (home / "samples.jsonl").open("w") as file:
            sampler = Sampler(gateway, file)
            try:
                endured = uvloop.run(_endure(plan, gateway, load, sampler))
            finally:
                if sampler.samples:
                    (home / CHART.name).write_text(_chart(sampler))
        _check_records(gateway, load.tally)
        gateway.process.stop()
        _check_log(gateway, load.tally.failures_logged)
    return endured


async def _endure(plan: Plan, gateway: Gateway, load: MixedLoad, sampler: Sampler) -> Endured:
    await load.run(plan.warm_up_s, plan.per_s)
    await asyncio.sleep(plan.pause_s)
    before = sampler.take(0)
    service_s, load_s, started = gateway.process.cpu_s(), time.process_time(), time.monotonic()
    asked = load.tally.requests
    sampling = asyncio.create_task(_sample(sampler, plan, started))
    loading = asyncio.create_task(load.run(plan.duration_s, plan.per_s))
    try:
        await asyncio.wait({sampling, loading}, return_when=asyncio.FIRST_EXCEPTION)
        for task in (sampling, loading):
            if task.done():
                task.result()
    finally:
        for task in (sampling, loading):
            task.cancel()
        await asyncio.gather(sampling, loading, return_exceptions=True)
    took_s = time.monotonic() - started
    rates = (load.tally.requests - asked, gateway.process.cpu_s() - service_s, time.process_time() - load_s)
    samples = sampler.samples[1:]
    await asyncio.sleep(plan.pause_s)
    rest = (before, sampler.take(time.monotonic() - started))
    return Endured(plan, sampler.names, samples, rest, load.tally, *(rate / took_s for rate in rates))


async def _sample(sampler: Sampler, plan: Plan, started: float) -> None:
    for number in range(1, int(plan.duration_s / plan.every_s) + 1):
        await asyncio.sleep(started + number * plan.every_s - time.monotonic())
        sampler.take(time.monotonic() - started)


def _config(upstream: Server, redis_url: str) -> str:
    models = "".join(_MODEL.format(model=model, base_url=upstream.base_url) for model in MODELS)
    return f"""
[server]
max_body_bytes = {BODY_LIMIT_BYTES}
[storage]
counters = "{redis_url}"
[[plans.bounded.limits]]
rpm = 1_000_000
input_tpm = 1_000_000_000
output_tpm = 1_000_000_000
max_in_flight = 1_000
{models}"""


def _ordered(window: tuple[float, float, float]) -> tuple[float, float, float]:
    middle, least, most = window
    return least, middle, most


def _chart(sampler: Sampler) -> str:
    lines = {
        name: [(sample.at_s / 60, sample.private_mb(name)) for sample in sampler.samples]
        for name in (ALL, *sampler.names)
    }
    return chart("Private memory under mixed load", "minutes", "MB", lines)


def _check_records(gateway: Gateway, tally: Tally) -> None:
    gateway.usage_records()  # until all of the journal is in the ledger
    with closing(sqlite3.connect(gateway.data_dir / "fundament.db", timeout=30)) as connection:
        rows = connection.execute("SELECT endpoint, outcome, count(*) FROM usage GROUP BY 1, 2").fetchall()
    found = Counter({(endpoint, outcome): count for endpoint, outcome, count in rows})
    if found != tally.records:
        raise UnmeasurableError(f"the ledger has {dict(found)} where {dict(tally.records)} were asked")


def _check_log(gateway: Gateway, failures: int) -> None:
    lines = [line for line in gateway.process.log.read_text().splitlines() if line.startswith("{")]
    noted = [entry for entry in map(json.loads, lines) if entry["level"] not in {"debug", "info"}]
    expected = [entry for entry in noted if entry["event"] == "request_failed" and entry.get("code") in _FAILURES]
    others = [entry for entry in noted if entry not in expected and entry["event"] != "circuit_opened"]
    if others or len(expected) != failures:
        raise UnmeasurableError(
            f"{failures} failures of the upstream, {len(expected)} logged; beside them {others[:5]}"
        )
