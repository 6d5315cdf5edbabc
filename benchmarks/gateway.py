"""The cases that measure the gateway before a scripted upstream: requests, streams, added latency, memory.

The server under test has one core, load and upstream share the other. Those compared run at the same time and are
loaded in turn, A B A B; a ratio is the median of the ratios of neighbours: a machine that slows down slows down both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks import UnmeasurableError, counted, install, probe, servers
from benchmarks.figures import Figure, Goal, Outcome, ratios
from benchmarks.processes import Processes, memory_bytes, pinned
from benchmarks.servers import RUN, Gateway, Server
from benchmarks.wrk import Load, Wrk

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


FULL = Scale(rounds=8, window_s=3, litellm_rounds=3, litellm_window_s=6, litellm_stream_window_s=12, requests=100_000)
QUICK = Scale(rounds=2, window_s=1, litellm_rounds=1, litellm_window_s=3, litellm_stream_window_s=6, requests=10_000)


def requests(scale: Scale) -> Outcome:
    """Non-stream requests a second with all that a request has: key check, validation, metering."""
    nginx, cores = install.nginx(), servers.cores()
    load = _Loading(_wrk(), _REQUEST_CONNECTIONS, stream=False)
    with Processes(RUN) as processes:
        compared = _compared(processes, servers.static_upstream(processes, nginx, cores.load))
        for server in compared:
            probe.check_answer(server)
        loads = load.in_turn(compared, scale, scale.litellm_window_s)
    figures = _figures(loads, unit="requests/s", nginx_goal=Goal(">=", 0.25), litellm_goal=Goal(">=", 80))
    checked = ("every answer is a 2xx", "text and usage are the upstream's", "one usage record an answer")
    return Outcome(
        "requests", f"chat completions, {_REQUEST_CONNECTIONS} connections", figures, _limits(loads), checked
    )


def streams(scale: Scale) -> Outcome:
    """Answers of 200 chunks a second."""
    load = _Loading(_wrk(), _STREAM_CONNECTIONS, stream=True)
    with Processes(RUN) as processes:
        compared = _compared(processes, servers.stream_upstream(processes, servers.cores().load))
        for server in compared:
            probe.check_stream(server)
        loads = load.in_turn(compared, scale, scale.litellm_stream_window_s)
    figures = _figures(loads, unit="answers/s", nginx_goal=Goal(">=", 0.85), litellm_goal=None)
    checked = ("every stream is a 2xx and ends with [DONE]", "200 texts in 200 events", "one usage record an answer")
    return Outcome(
        "streams", f"streams of 200 chunks, {_STREAM_CONNECTIONS} connections", figures, _limits(loads), checked
    )


def latency(scale: Scale) -> Outcome:
    """What the gateway adds to the median time of an answer, one request at a time."""
    nginx, cores, wrk = install.nginx(), servers.cores(), _wrk()
    with Processes(RUN) as processes:
        upstream = servers.static_upstream(processes, nginx, cores.load)
        proxy = servers.nginx_proxy(processes, nginx, upstream, cores.server)
        gateway = servers.fundament_before(processes, upstream, cores.server)
        p50_ms: dict[str, list[float]] = {server.name: [] for server in (upstream, proxy, gateway)}
        for server in (proxy, gateway):
            probe.check_answer(server)
            wrk.load(server, connections=1, duration_s=1)
        for _ in range(scale.rounds):
            for server in (upstream, proxy, gateway):
                p50_ms[server.name].append(wrk.load(server, connections=1, duration_s=scale.window_s).p50_ms)
    direct = p50_ms["upstream"]
    added = {name: tuple(via - own for via, own in zip(p50, direct, strict=True)) for name, p50 in p50_ms.items()}
    figures = (
        Figure("upstream alone, p50", tuple(direct), "ms"),
        Figure("nginx adds", added["nginx"], "ms"),
        Figure("fundament adds", added["fundament"], "ms", Goal("<=", 1.0)),
    )
    return Outcome("latency", "added latency, 1 connection", figures, checked=("every answer is a 2xx",))


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

    def __iter__(self) -> Iterator[Server]:
        return iter((self.nginx, self.fundament, self.litellm))


@dataclass(frozen=True)
class _Loading:
    """One kind of load, the same for all."""

    wrk: Wrk
    connections: int
    stream: bool

    def in_turn(self, compared: _Compared, scale: Scale, litellm_window_s: int) -> Mapping[str, Sequence[Load]]:
        """What each server did in its windows, without the first, which warms it up."""
        loads: dict[str, list[Load]] = {server.name: [] for server in compared}
        for number in range(scale.rounds + 1):
            for server in (compared.nginx, compared.fundament):
                loads[server.name].append(self._window(server, scale.window_s))
            if number <= scale.litellm_rounds:
                loads["litellm"].append(self._window(compared.litellm, litellm_window_s))
        fundament = loads["fundament"]
        answers = 1 + sum(load.answers for load in fundament)  # the first answered the probe
        _check_metering(compared.fundament, answers, cut_off=self.connections * len(fundament))
        return {name: of_server[1:] for name, of_server in loads.items()}

    def _window(self, server: Server, duration_s: int) -> Load:
        return self.wrk.load(server, connections=self.connections, duration_s=duration_s, stream=self.stream)


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


def _figures(
    loads: Mapping[str, Sequence[Load]], *, unit: str, nginx_goal: Goal, litellm_goal: Goal | None
) -> tuple[Figure, ...]:
    rates = {name: tuple(load.answers_per_s for load in of_server) for name, of_server in loads.items()}
    beside_litellm = rates["fundament"][: len(rates["litellm"])]
    return (
        *(Figure(name, samples, unit) for name, samples in rates.items()),
        Figure("fundament / nginx", ratios(rates["fundament"], rates["nginx"]), goal=nginx_goal),
        Figure("fundament / litellm", ratios(beside_litellm, rates["litellm"]), goal=litellm_goal),
    )


def _limits(loads: Mapping[str, Sequence[Load]]) -> tuple[str, ...]:
    """A server that uses up what others leave of its core is the limit itself; else it waits for load and upstream."""
    notes: list[str] = []
    for name, of_server in loads.items():
        own, others = median(load.own for load in of_server), median(load.others for load in of_server)
        limit = "its own work" if own > 0.9 * (1 - others) else "load and upstream on the other core"
        notes.append(f"{name} used {own:.0%} of its core, others {others:.0%}: the limit was {limit}")
    return tuple(notes)
