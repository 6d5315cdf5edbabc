"""What goes over the wire: the requests that load is made of and the fixed answers of the scripted upstreams.

No I/O. The sizes are part of the benchmark: a request of about 170 bytes, an answer of 450, streams of 200 chunks.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

MODEL = "bench-model"
CHUNKS = 200
ANSWER_TEXT = (
    "The quick brown fox jumps over the lazy dog while the scripted upstream plays its part in this benchmark, "
    "over and over."
)
_IDENTITY = {"id": "chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx", "created": 1790000000, "model": MODEL}


def request(*, stream: bool) -> str:
    messages = [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": "Say something about foxes and dogs."},
    ]
    body: dict[str, object] = {"model": MODEL, "messages": messages, "temperature": 0.1, "max_tokens": 256}
    return _compact(body | {"stream": True} if stream else body)


def responses_request(*, store: bool) -> str:
    """The same request to the Responses API."""
    body = {
        "model": MODEL,
        "instructions": "You are helpful.",
        "input": "Say something about foxes and dogs.",
        "temperature": 0.1,
        "max_output_tokens": 256,
        "store": store,
    }
    return _compact(body)


def answer() -> str:
    """The chat completion that the static upstream gives, 450 bytes."""
    message = {"role": "assistant", "content": ANSWER_TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 24, "completion_tokens": 21, "total_tokens": 45}
    body = {"object": "chat.completion", **_IDENTITY, "choices": [choice], "usage": usage, "system_fingerprint": "fp"}
    return _compact(body)


def stream_texts(count: int = CHUNKS) -> list[str]:
    return [f" token{number}" for number in range(count)]


def stream_events(*, with_usage: bool, count: int = CHUNKS) -> list[bytes]:
    """The events of a streamed answer: `count` chunks with text, that with usage when it was asked for, and the end."""
    last = count - 1
    chunks = [_chunk([_text_choice(text, ends=number == last)]) for number, text in enumerate(stream_texts(count))]
    chunks[0]["choices"][0]["delta"]["role"] = "assistant"
    if with_usage:
        usage = {"prompt_tokens": 24, "completion_tokens": count, "total_tokens": 24 + count}
        chunks.append({**_chunk([]), "usage": usage})
    return [f"data: {_compact(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


def _text_choice(text: str, *, ends: bool) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": "stop" if ends else None}


def _chunk(choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", **_IDENTITY, "choices": choices}


def _compact(body: Mapping[str, object]) -> str:
    return json.dumps(body, separators=(",", ":"))
