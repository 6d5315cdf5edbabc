"""The answers that a `ScriptedUpstream` plays, as data, and builders for those of an OpenAI-compatible server.

It knows HTTP framing, server-sent events and OpenAI's bodies. It knows no sockets: `scripted_upstream.py` plays.
"""

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

MODEL = "gpt-4.1-2025-04-14"


@dataclass(frozen=True)
class Pause:
    """Nothing is sent for so long."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """The connection is reset (RST), what was sent may be lost."""


@dataclass(frozen=True)
class Close:
    """The connection is closed in order (FIN), though the answer is not complete."""


@dataclass(frozen=True)
class Hang:
    """Nothing is sent any more and the connection stays open, until the peer leaves or the server stops."""


class Barrier:
    """The answer waits here until the test calls `release()`; `reached` tells the test that it got here."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()

    def release(self) -> None:
        with self._lock:
            self._released = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    async def wait(self) -> None:
        event = asyncio.Event()
        with self._lock:
            if self._released:
                event.set()
            else:
                self._waiting.append((asyncio.get_running_loop(), event))
        self.reached.set()
        await event.wait()


Step: TypeAlias = bytes | Pause | Barrier | Reset | Close | Hang
Framing: TypeAlias = Literal["content-length", "chunked", "until-close", "raw"]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer.

    `framing` says how the body's end is known; "raw" sends the steps alone, without status line and headers, for
    upstreams that do not speak HTTP. A content-length counts all bytes of `steps`, also those behind a `Close()`.
    The status line and headers go out in a write of their own just before the first bytes: `[Hang(), b"x"]` hangs
    without a status, `[b"", Hang()]` after it. With `trickle` each byte of the wire, head and framing included, is a
    write of its own.
    """

    steps: Sequence[Step]
    status: int = 200
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    framing: Framing = "content-length"
    trickle: bool = False

    def head(self) -> bytes:
        if self.framing == "raw":
            return b""
        lines = [f"HTTP/1.1 {self.status} Scripted", f"content-type: {self.content_type}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.framing == "content-length":
            lines.append(f"content-length: {sum(len(step) for step in self.steps if isinstance(step, bytes))}")
        elif self.framing == "chunked":
            lines.append("transfer-encoding: chunked")
        else:
            lines.append("connection: close")
        return "\r\n".join([*lines, "", ""]).encode()


def split_at(steps: Sequence[Step], *offsets: int, pause_s: float = 0.001) -> list[Step]:
    """The same bytes, cut at the offsets (counted over all bytes of `steps`) into writes that arrive apart."""
    cuts = set(offsets)
    result: list[Step] = []
    position = 0
    for step in steps:
        if not isinstance(step, bytes):
            result.append(step)
            continue
        start = 0
        for inside in range(1, len(step)):
            if position + inside in cuts:
                result += [step[start:inside], Pause(pause_s)]
                start = inside
        result.append(step[start:])
        position += len(step)
    return result


# Builders: the ids and times are constants, so that a test can compare bytes.


def json_answer(body: object, *, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    return Answer([encode(body)], status=status, headers=headers)


def error_answer(
    status: int, message: str, *, type: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> Answer:
    return json_answer({"error": {"message": message, "type": type, "param": param, "code": code}}, status=status)


def sse_answer(steps: Sequence[Step]) -> Answer:
    return Answer(steps, content_type="text/event-stream; charset=utf-8", framing="chunked")


def event(data: object) -> bytes:
    return b"data: " + encode(data) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def chat_answer(
    content: str, *, model: str = MODEL, finish_reason: str = "stop", prompt_tokens: int = 9, cached_tokens: int = 0
) -> Answer:
    message = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    counted = usage(prompt_tokens, len(content))
    counted["prompt_tokens_details"]["cached_tokens"] = cached_tokens
    return json_answer(_body("chat.completion", model, [choice], usage=counted))


def chat_events(
    deltas: Sequence[str], *, model: str = MODEL, usage_asked: bool = False, finish_reason: str = "stop"
) -> list[bytes]:
    """The events of a chat stream without `[DONE]`: role, one delta each, finish, and the usage when asked."""
    all_deltas = [{"role": "assistant", "content": "", "refusal": None}, *({"content": text} for text in deltas), {}]
    extra: dict[str, Any] = {"usage": None} if usage_asked else {}
    bodies = [
        _body(
            "chat.completion.chunk",
            model,
            [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None if delta else finish_reason}],
            **extra,
        )
        for delta in all_deltas
    ]
    if usage_asked:
        bodies.append(_body("chat.completion.chunk", model, [], usage=usage(9, sum(map(len, deltas)))))
    return [event(body) for body in bodies]


def chat_stream(deltas: Sequence[str], *, model: str = MODEL, usage: bool = False) -> Answer:
    return sse_answer([*chat_events(deltas, model=model, usage_asked=usage), DONE])


def completion_answer(text: str, *, model: str = MODEL) -> Answer:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    return json_answer(_body("text_completion", model, [choice], usage=usage(9, len(text))))


def completion_events(texts: Sequence[str], *, model: str = MODEL, usage_asked: bool = False) -> list[bytes]:
    """The events of a completion stream without `[DONE]`; the last text's event has the finish reason."""
    extra: dict[str, Any] = {"usage": None} if usage_asked else {}
    last = len(texts) - 1
    bodies = [
        _body(
            "text_completion",
            model,
            [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop" if i == last else None}],
            **extra,
        )
        for i, text in enumerate(texts)
    ]
    if usage_asked:
        bodies.append(_body("text_completion", model, [], usage=usage(9, sum(map(len, texts)))))
    return [event(body) for body in bodies]


def completion_stream(texts: Sequence[str], *, model: str = MODEL, usage: bool = False) -> Answer:
    return sse_answer([*completion_events(texts, model=model, usage_asked=usage), DONE])


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def encode(body: object) -> bytes:
    """Compact JSON with characters beyond ASCII as UTF-8, as OpenAI sends them."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _body(object_name: str, model: str, choices: list[dict[str, Any]], **rest: object) -> dict[str, Any]:
    prefix = "cmpl" if object_name == "text_completion" else "chatcmpl"
    return {"id": f"{prefix}-scripted", "object": object_name, "created": 1767225600, "model": model} | {
        "choices": choices,
        **rest,
    }
