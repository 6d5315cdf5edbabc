"""The cases that measure the gateway before a scripted upstream: requests, streams, added latency, memory.

The server under test has one core, load and upstream share the other. Those compared run at the same time and are
loaded in turn, A B A B; a ratio is the median of the ratios of neighbours: a machine that slows down slows down both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks import UnmeasurableError, counted, install, probe, servers
from benchmarks.figures import Figure, Goal, Outcome
from benchmarks.processes import Processes, memory_bytes, pinned
from benchmarks.rounds import Rounds, undisturbed
from benchmarks.servers import RUN, Gateway, Server
from benchmarks.wrk import Load, Wrk

_Round = Mapping[str, Load]
_MB = 1e6
_REQUEST_CONNECTIONS = 32
_STREAM_CONNECTIONS = 16


@dataclass(frozen=True)
class Scale:
    """How long the run measures: rounds and windows; LiteLLM takes part in fewer rounds, with longer windows."""

    rounds: int
    window_s: int
    litellm_rounds: int
    litellm_window_s: int
    litellm_stream_window_s: int
    requests: int


FULL = Scale(rounds=6, window_s=3, litellm_rounds=2, litellm_window_s=6, litellm_stream_window_s=12, requests=100_000)
QUICK = Scale(rounds=2, window_s=1, litellm_rounds=1, litellm_window_s=3, litellm_stream_window_s=6, requests=10_000)


def requests(scale: Scale) -> Outcome:
    """Non-stream requests a second with all that a request has: key check, validation, metering."""
    nginx, cores = install.nginx(), servers.cores()
    with Processes(RUN) as processes:
        compared = _compared(processes, servers.static_upstream(processes, nginx, cores.load))
        for server in compared.all():
            probe.check_answer(server)
        rounds = _Turns(compared, scale, _REQUEST_CONNECTIONS, stream=False).rounds(processes)
    goals = {"nginx": Goal(">=", 0.25), "litellm": Goal(">=", 80)}
    title = f"chat completions, {_REQUEST_CONNECTIONS} connections"
    figures = _figures(rounds.results, unit="requests/s", goals=goals)
    checked = ("every answer is a 2xx", "text and usage are the upstream's", "one usage record an answer")
    return Outcome("requests", title, figures, (*_limits(rounds.results), *rounds.notes), checked)


def streams(scale: Scale) -> Outcome:
    """Answers of 200 chunks a second."""
    with Processes(RUN) as processes:
        compared = _compared(processes, servers.stream_upstream(processes, servers.cores().load))
        for server in compared.all():
            probe.check_stream(server)
        rounds = _Turns(compared, scale, _STREAM_CONNECTIONS, stream=True).rounds(processes)
    title = f"streams of 200 chunks, {_STREAM_CONNECTIONS} connections"
    figures = _figures(rounds.results, unit="answers/s", goals={"nginx": Goal(">=", 0.85)})
    checked = ("every stream is a 2xx and ends with [DONE]", "200 texts in 200 events", "one usage record an answer")
    return Outcome("streams", title, figures, (*_limits(rounds.results), *rounds.notes), checked)


def latency(scale: Scale) -> Outcome:
    """What the gateway adds to the median time of an answer, one request at a time."""
    nginx, cores, wrk = install.nginx(), servers.cores(), _wrk()
    with Processes(RUN) as processes:
        upstream = servers.static_upstream(processes, nginx, cores.load)
        proxy = servers.nginx_proxy(processes, nginx, upstream, cores.server)
        gateway = servers.fundament_before(processes, upstream, cores.server)

        def measure(_: int) -> Mapping[str, float]:
            asked = (upstream, proxy, gateway)
            return {server.name: wrk.load(server, connections=1, duration_s=1).p50_ms for server in asked}

        for server in (proxy, gateway):
            probe.check_answer(server)
        measure(0)  # a warm-up
        rounds = undisturbed(processes, measure, scale.rounds)
    added = {
        name: tuple(p50_ms[name] - p50_ms["upstream"] for p50_ms in rounds.results) for name in ("nginx", "fundament")
    }
    figures = (
        Figure("upstream alone, p50", tuple(p50_ms["upstream"] for p50_ms in rounds.results), "ms"),
        Figure("nginx adds", added["nginx"], "ms"),
        Figure("fundament adds", added["fundament"], "ms", Goal("<=", 1.0)),
    )
    checked = ("every answer is a 2xx", "text and usage are the upstream's")
    return Outcome("latency", "added latency, 1 connection", figures, rounds.notes, checked)


def memory(scale: Scale) -> Outcome:
    """What a worker holds after a warm-up, and after many requests more."""
    nginx, cores, warm_up = install.nginx(), servers.cores(), scale.requests // 10
    with Processes(RUN) as processes, pinned(cores.load):
        gateway = servers.fundament_before(
            processes, servers.static_upstream(processes, nginx, cores.load), cores.server
        )
        counted.send(gateway, warm_up, _REQUEST_CONNECTIONS)
        before = memory_bytes(gateway.worker())
        counted.send(gateway, scale.requests, _REQUEST_CONNECTIONS)
        after = memory_bytes(gateway.worker())
        _check_metering(gateway, warm_up + scale.requests, cut_off=0)
    figures = (
        Figure("after warm-up", (before / _MB,), "MB", Goal("<=", 120)),
        Figure(f"after {scale.requests:,} requests more", (after / _MB,), "MB", Goal("<=", 120)),
        Figure("growth", ((after - before) / _MB,), "MB", Goal("<", 2)),
    )
    checked = ("every answer is whole", f"exactly {warm_up + scale.requests:,} usage records")
    return Outcome("memory", "a gateway worker's resident memory", figures, checked=checked)


@dataclass(frozen=True)
class _Compared:
    """Those that are loaded in turn."""

    nginx: Server
    fundament: Gateway
    litellm: Server

    def pair(self) -> tuple[Server, Server]:
        return self.nginx, self.fundament

    def all(self) -> tuple[Server, Server, Server]:
        return self.nginx, self.fundament, self.litellm


class _Turns:
    """Loads one server after the other, all alike, and knows how many answers the gateway gave in all."""

    def __init__(self, compared: _Compared, scale: Scale, connections: int, *, stream: bool) -> None:
        self._compared = compared
        self._scale = scale
        self._connections = connections
        self._stream = stream
        self._wrk = _wrk()
        self._windows: list[Load] = []

    def rounds(self, processes: Processes) -> Rounds[_Round]:
        self._round(0)  # a warm-up
        rounds = undisturbed(processes, self._round, self._scale.rounds)
        answers = 1 + sum(load.answers for load in self._windows)  # the first answered the probe
        _check_metering(self._compared.fundament, answers, cut_off=self._connections * len(self._windows))
        return rounds

    def _round(self, number: int) -> _Round:
        loads = {server.name: self._load(server, self._scale.window_s) for server in self._compared.pair()}
        self._windows.append(loads["fundament"])
        if number < self._scale.litellm_rounds:
            window_s = self._scale.litellm_stream_window_s if self._stream else self._scale.litellm_window_s
            loads["litellm"] = self._load(self._compared.litellm, window_s)
        return loads

    def _load(self, server: Server, duration_s: int) -> Load:
        return self._wrk.load(server, connections=self._connections, duration_s=duration_s, stream=self._stream)


def _wrk() -> Wrk:
    RUN.mkdir(parents=True, exist_ok=True)
    return Wrk(install.wrk(), servers.cores().load, RUN)


def _compared(processes: Processes, upstream: Server) -> _Compared:
    core = servers.cores().server
    return _Compared(
        servers.nginx_proxy(processes, install.nginx(), upstream, core),
        servers.fundament_before(processes, upstream, core),
        servers.litellm(processes, install.litellm(), upstream, core),
    )


def _check_metering(gateway: Gateway, answers: int, *, cut_off: int) -> None:
    """The load stops in the middle of up to `cut_off` requests; these are metered, too, and in no one's count."""
    records = gateway.usage_records()
    if not answers <= records <= answers + cut_off:
        raise UnmeasurableError(
            f"{records} usage records for {answers} answers (and up to {cut_off} that were cut off)"
        )


def _figures(rounds: Sequence[_Round], *, unit: str, goals: Mapping[str, Goal]) -> tuple[Figure, ...]:
    rates = [Figure(name, tuple(load.answers_per_s for load in loads), unit) for name, loads in _by_server(rounds)]
    compared = {
        other: tuple(
            loads["fundament"].answers_per_s / loads[other].answers_per_s for loads in rounds if other in loads
        )
        for other in ("nginx", "litellm")
    }
    return (*rates, *(Figure(f"fundament / {other}", compared[other], goal=goals.get(other)) for other in compared))


def _limits(rounds: Sequence[_Round]) -> tuple[str, ...]:
    """A server that uses up its core is the limit itself; one that does not waits for load and upstream."""
    notes: list[str] = []
    for name, loads in _by_server(rounds):
        busy = median(load.busy for load in loads)
        each_us = median(load.busy / load.answers_per_s * 1e6 for load in loads)
        limit = "its own work" if busy > 0.9 else "load and upstream on the other core"
        notes.append(f"{name} used {busy:.0%} of its core, {each_us:,.0f} µs an answer; the limit was {limit}")
    return tuple(notes)


def _by_server(rounds: Sequence[_Round]) -> Iterator[tuple[str, Sequence[Load]]]:
    for name in ("nginx", "fundament", "litellm"):
        yield name, [loads[name] for loads in rounds if name in loads]
