"""What limits cost: a contract with limits beside one without, at the same gateway, both metered.

Both keys are loaded in turn; a ratio is the median of the ratios of neighbours. The limits are so high that all pass.
"""

from collections.abc import Mapping
from dataclasses import replace

from benchmarks import UnmeasurableError, install, probe, servers
from benchmarks.figures import Figure, Goal, Outcome, ratios
from benchmarks.gateway import Scale
from benchmarks.processes import Processes
from benchmarks.rounds import Rounds, undisturbed
from benchmarks.servers import RUN, Server
from benchmarks.wrk import Wrk

_CONNECTIONS = 32
_PLAN = """
[[plans.bench.limits]]
rpm = 1_000_000_000
input_tpm = 1_000_000_000_000
output_tpm = 1_000_000_000_000
max_in_flight = 1_000
"""


def limits(scale: Scale) -> Outcome:
    """Requests a second with limits, in parts of those without."""
    memory = _measured(scale, shared=False)
    redis = _measured(scale, shared=True)
    figures: list[Figure] = []
    for where, rounds, goal in (("in memory", memory, 0.9), ("in Redis, two workers", redis, 0.6)):
        rates = {name: tuple(rates[name] for rates in rounds.results) for name in ("without", "with")}
        figures += [
            Figure(f"without limits, {where}", rates["without"], "requests/s"),
            Figure(f"with limits, {where}", rates["with"], "requests/s"),
            Figure(f"with / without, {where}", ratios(rates["with"], rates["without"]), goal=Goal(">=", goal)),
        ]
    checked = (
        "every answer is a 2xx",
        "text and usage are the upstream's",
        "limits are told to the one and not the other",
    )
    title = f"limits, {_CONNECTIONS} connections"
    return Outcome("limits", title, tuple(figures), (*memory.notes, *redis.notes), checked)


def _measured(scale: Scale, *, shared: bool) -> Rounds[Mapping[str, float]]:
    nginx, cores = install.nginx(), servers.cores()
    RUN.mkdir(parents=True, exist_ok=True)
    wrk = Wrk(install.wrk(), cores.load, RUN)
    with Processes(RUN) as processes:
        upstream = servers.static_upstream(processes, nginx, cores.load)
        settings = f'[storage]\ncounters = "{servers.redis(processes, cores.server)}"\n' if shared else ""
        config = settings + _PLAN + servers.config_before(upstream)
        gateway = servers.fundament(processes, config, core=cores.server, workers=2 if shared else 1)
        compared: dict[str, Server] = {
            "without": gateway,
            "with": replace(gateway, key=servers.limited_key(gateway, "bench")),
        }
        for name, server in compared.items():
            probe.check_answer(server)
            if probe.tells_limits(server) != (name == "with"):
                raise UnmeasurableError(f"the answer {name} limits has the wrong headers")

        def measure(_: int) -> Mapping[str, float]:
            return {
                name: wrk.load(server, connections=_CONNECTIONS, duration_s=scale.window_s).answers_per_s
                for name, server in compared.items()
            }

        measure(0)  # a warm-up
        return undisturbed(processes, measure, scale.rounds)
