"""What each streamed chunk costs where it is not relayed untouched: processor time in this process, without a network.

The same bytes as an engine or upstream sends them go through the very readers of the service; the rest of a request is
in the other cases.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from benchmarks import UnmeasurableError, wire
from benchmarks.figures import Figure, Outcome
from fundament.backends.body import request_for
from fundament.backends.call import Call
from fundament.backends.client import Response
from fundament.backends.embedded import readers_of
from fundament.backends.grammar import compiled
from fundament.backends.profiles import EMBEDDED
from fundament.backends.relay import RelayedAnswer
from fundament.backends.translate import TranslatedAnswer
from fundament.errors import RequestError, ServerFailure
from fundament.protocol import responses
from fundament.responses.chunks import decode_chunk
from fundament.responses.events import obfuscated, sse
from fundament.responses.fold import ResponseFold
from fundament.responses.resource import new_response

_HEAD = {"created": 1790000000, "model": "/weights/model.gguf", "system_fingerprint": "b1", "id": "chatcmpl-engine"}
_TIMINGS = {"cache_n": 0, "prompt_n": 31, "prompt_ms": 778.552, "predicted_ms": 435.872, "predicted_per_second": 4.58}


def translation(rounds: int) -> Outcome:
    """Microseconds a chunk, each way a median of `rounds` runs over a stream of 200 chunks."""
    text = {"messages": [{"role": "user", "content": "x"}]}
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    formed = text | {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    written = json.dumps({"text": "".join(wire.stream_texts())}, separators=(",", ":"))
    length = len(written) // wire.CHUNKS + 1
    pieces = [written[start : start + length] for start in range(0, len(written), length)]
    relayed = wire.stream_events(with_usage=True)
    told, json_told = _engine_events(wire.stream_texts()), _engine_events(pieces)
    cases: list[tuple[str, Callable[[], Awaitable[int]]]] = [
        ("relayed, for comparison", lambda: _relay(relayed)),
        ("translated text", lambda: _translate(text, told)),
        ("translated text with a stop sequence", lambda: _translate(text | {"stop": ["\n\n"]}, told)),
        ("translated JSON, held to its schema", lambda: _translate(formed, json_told)),
        ("a response's delta: folded, padded", lambda: _respond(relayed[:-1])),
    ]
    figures = tuple(Figure(name, asyncio.run(_measured(case, rounds)), "µs") for name, case in cases)
    return Outcome("translation", "cost of each streamed chunk", figures, checked=("every text arrives",))


async def _measured(case: Callable[[], Awaitable[int]], rounds: int) -> tuple[float, ...]:
    await case()
    samples: list[float] = []
    for _ in range(rounds):
        started, chunks = time.process_time(), 0
        for _ in range(20):
            chunks += await case()
        samples.append((time.process_time() - started) / chunks * 1e6)
    return tuple(samples)


class _Played:
    """An answer whose bytes are all there, chunk by chunk."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    async def chunk(self) -> bytes:
        return next(self._pieces, b"")


def _call(body: dict[str, Any]) -> Call:
    return Call(
        kind="chat",
        body=body,
        model=wire.MODEL,
        stream=True,
        include_usage=False,
        prompts=1,
        n=1,
        kept=1,
        id="chatcmpl-1",
        created=1790000000,
    )


def _refused(error: bytes) -> RequestError:
    return ServerFailure(error.decode())


async def _relay(events: list[bytes]) -> int:
    answer = RelayedAnswer(_call({}), cast("Response", _Played(events)), _refused, lambda: None)
    size = 0
    while data := await answer.read():
        size += len(data)
    _check(size >= sum(map(len, events[:-2])))
    return len(events)


async def _translate(body: dict[str, Any], events: list[bytes]) -> int:
    call = _call(body)
    sent = request_for(EMBEDDED, call, "engine")
    grammar = compiled(sent["grammar"]) if "grammar" in sent else None
    readers = readers_of(EMBEDDED, call, grammar, [])
    played = cast("Response", _Played(events))
    answer = TranslatedAnswer(call, played, "fp_1", _refused, lambda: None, readers=readers)
    size = 0
    while data := await answer.read():
        size += len(data)
    chunks = len(events) - 4  # without role, end, usage and [DONE]
    _check(answer.usage.completion_tokens == chunks)
    return chunks


def _engine_events(texts: list[str]) -> list[bytes]:
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}]
    for made, text in enumerate(texts, 1):
        timings = {"predicted_n": made, **_TIMINGS}
        chunks.append({"choices": [{"index": 0, "delta": {"content": text}}], "timings": timings})
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(texts), "total_tokens": 0}})
    events = [f"data: {json.dumps({**chunk, **_HEAD})}\n\n".encode() for chunk in chunks]
    return [*events, b"data: [DONE]\n\n"]


async def _respond(events: list[bytes]) -> int:
    request = responses.validate({"model": wire.MODEL, "input": "x"})
    fold = ResponseFold(new_response(request, id="resp_1", created_at=1790000000), lambda prefix: f"{prefix}_1")
    fold.start()
    for event in events:
        for told in fold.feed(decode_chunk(event[6:])):
            sse(obfuscated(told))
    fold.finish(1790000001)
    _check(fold.response["output"][0]["content"][0]["text"] == "".join(wire.stream_texts()))
    return len(events)


def _check(right: bool) -> None:
    if not right:
        raise UnmeasurableError("a text got lost on its way")
