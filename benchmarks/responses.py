"""The Responses API beside chat completions on the same gateway: what the fold costs, and what keeping costs.

Chat, `store: false` and `store: true` are loaded in turn; a ratio is the median of the ratios of neighbours. Responses
are kept in SQLite, as by default.
"""

import json
import urllib.request

from benchmarks import UnmeasurableError, install, probe, servers, wire
from benchmarks.figures import Figure, Goal, Outcome, ratios
from benchmarks.gateway import Scale
from benchmarks.processes import Processes
from benchmarks.rounds import undisturbed
from benchmarks.servers import RUN, Gateway
from benchmarks.wrk import Load, Wrk

_CONNECTIONS = 32


def responses(scale: Scale) -> Outcome:
    """Responses a second, not streamed, in parts of the chat completions that the same gateway answers."""
    nginx, cores = install.nginx(), servers.cores()
    RUN.mkdir(parents=True, exist_ok=True)
    wrk = Wrk(install.wrk(), cores.load, RUN)
    with Processes(RUN) as processes:
        upstream = servers.static_upstream(processes, nginx, cores.load)
        gateway = servers.fundament_before(processes, upstream, cores.server)
        probe.check_answer(gateway)
        for store in (False, True):
            _check_response(gateway, store=store)

        def measure(_: int) -> dict[str, Load]:
            loads = {"chat": wrk.load(gateway, connections=_CONNECTIONS, duration_s=scale.window_s)}
            for name, store in (("store: false", False), ("store: true", True)):
                body = wire.responses_request(store=store)
                loads[name] = wrk.load(
                    gateway, connections=_CONNECTIONS, duration_s=scale.window_s, path="/responses", body=body
                )
            return loads

        measure(0)  # a warm-up
        rounds = undisturbed(processes, measure, scale.rounds)
    rates = {
        name: tuple(loads[name].answers_per_s for loads in rounds.results)
        for name in ("chat", "store: false", "store: true")
    }
    figures = (
        *(Figure(name, samples, "requests/s") for name, samples in rates.items()),
        Figure("store: false / chat", ratios(rates["store: false"], rates["chat"]), goal=Goal(">=", 0.6)),
        Figure("store: true / chat", ratios(rates["store: true"], rates["chat"]), goal=Goal(">=", 0.35)),
    )
    checked = ("every answer is a 2xx", "the text is the upstream's", "a stored response is found")
    return Outcome("responses", f"responses, {_CONNECTIONS} connections", figures, rounds.notes, checked)


def _check_response(gateway: Gateway, *, store: bool) -> None:
    answer = _ask(gateway, "/responses", wire.responses_request(store=store))
    if answer["output"][0]["content"][0]["text"] != wire.ANSWER_TEXT:
        raise UnmeasurableError(f"{gateway.name} changed the answer: {answer}")
    if store and _ask(gateway, f"/responses/{answer['id']}") != answer:
        raise UnmeasurableError(f"{gateway.name} has not kept {answer['id']}")


def _ask(gateway: Gateway, path: str, body: str | None = None) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(gateway.base_url + path, None if body is None else body.encode(), headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - loopback
        return json.load(response)
