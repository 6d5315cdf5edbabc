"""Answers of servers that speak OpenAI already: bytes pass untouched, but for the model's name, an unasked usage, and
the name that some servers have for a model's thoughts.

It knows server-sent events and where usage, model and errors stand in them; it decodes an event only when it must.
A JSON string cannot hold an unescaped quote, so `"usage":` in the raw bytes is always a key; of which object, only
decoding tells.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from fundament.backends.call import Call
from fundament.backends.client import Response
from fundament.errors import RequestError, UpstreamFailure
from fundament.protocol.usage import Usage

EVENT_LIMIT_BYTES = 16 * 1024 * 1024
_DONE = b"[DONE]\n\n"
_MODEL = re.compile(rb'"model":\s*("(?:[^"\\]|\\.)*")')
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_THOUGHTS = b'"reasoning_content":'
_NO_USAGE = re.compile(rb',\s*"usage":\s*null')


class _Accounted(msgspec.Struct):
    model: str | None = None
    usage: Usage | None = None
    error: Any = None


_accounted = msgspec.json.Decoder(_Accounted)


class RelayedAnswer:
    """The answer to `call`, as it comes from `response`.

    Args:
        refused: makes the failure out of an error that came with status 200, from its bytes.
        on_close: called once, when the answer is done with.
        thoughts: the server's key for what the client reads as `reasoning_content`.
    """

    def __init__(
        self,
        call: Call,
        response: Response,
        refused: Callable[[bytes], RequestError],
        on_close: Callable[[], None],
        *,
        thoughts: str = "reasoning_content",
    ) -> None:
        self.complete = False
        self._usage: Usage | None = None
        self._events = 0
        self._call = call
        self._response = response
        self._refused = refused
        self._on_close = on_close
        self._partial = b""
        self._failure: RequestError | None = None
        self._model_field: bytes | None = None
        self._asked = b'"model":' + msgspec.json.encode(call.model)
        self._thoughts = None if thoughts == "reasoning_content" else b'"%b":' % thoughts.encode()

    @property
    def usage(self) -> Usage | None:
        """The server's own; of a stream that ends before it is told, a token for each event after the first."""
        if self._usage is None and self._events > 1 and not self.complete:
            return Usage(completion_tokens=self._events - 1)
        return self._usage

    async def whole(self) -> bytes:
        body = await self._response.read()
        try:
            known = _accounted.decode(body)
        except _UNREADABLE:
            raise _unreadable() from None
        if known.error:
            raise self._refused(body)
        self._usage = known.usage
        self.complete = True
        if self._thoughts is not None:
            body = _renamed(body, self._thoughts)
        if known.model is None or known.model == self._call.model:
            return body
        field = _model_field(body, known.model)
        if field is not None and body.count(field) == 1:
            return body.replace(field, self._asked)
        return msgspec.json.encode({**msgspec.json.decode(body), "model": self._call.model})

    async def read(self) -> bytes:
        while not self.complete:
            if self._failure is not None:
                raise self._failure
            data = await self._response.chunk()
            if not data:
                raise UpstreamFailure("The upstream's stream ended before it was complete.", code="upstream_error")
            events = self._whole_events(data)
            self._events += events.count(b"\n\n")
            try:
                events = self._put_right(events)
            except _UNREADABLE:
                raise _unreadable() from None
            if events:
                return events
        return b""

    def close(self) -> None:
        self._response.close(wanted_all=self.complete)
        self._on_close()

    def _whole_events(self, data: bytes) -> bytes:
        """The events that are complete; a cut one waits for its rest, so that no half event precedes an error."""
        if self._partial:
            data = self._partial + data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        end = data.rfind(b"\n\n")
        if end < 0:
            if len(data) > EVENT_LIMIT_BYTES:
                raise UpstreamFailure("The upstream's event is too large.", code="upstream_error")
            self._partial = data
            return b""
        end += 2
        self._partial = data[end:]
        return data[:end] if self._partial else data

    def _put_right(self, events: bytes) -> bytes:
        end = events.find(_DONE)
        if end >= 0:
            events = events[: end + len(_DONE)]
            self.complete = True
        if b'"error"' in events:
            events = self._before_error(events)
        if self._model_field is None and b'"model"' in events:
            self._model_field = _streamed_model_field(events)
        if self._model_field is not None and self._model_field != self._asked:
            events = events.replace(self._model_field, self._asked)
        if self._thoughts is not None:
            events = _renamed(events, self._thoughts)
        if b'"usage"' in events:
            if not self._call.include_usage:
                events = _NO_USAGE.sub(b"", events)
            if b'"usage"' in events:
                events = b"".join([self._account(event) for event in _split(events)])
        return events

    def _account(self, event: bytes) -> bytes:
        """Notes the usage of an event; hides it from a client that did not ask."""
        if b'"usage"' not in event or (payload := _payload(event)) is None:
            return event
        chunk: dict[str, Any] = msgspec.json.decode(payload)
        if not chunk.get("usage"):
            return event
        self._usage = msgspec.convert(chunk["usage"], Usage)
        if self._call.include_usage:
            return event
        if not chunk.get("choices"):
            return b""
        del chunk["usage"]
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def _before_error(self, events: bytes) -> bytes:
        """The events up to an error frame; the frame itself becomes the failure of this or the next read."""
        kept: list[bytes] = []
        for event in _split(events):
            payload = _payload(event) if b'"error"' in event else None
            if payload is not None and _accounted.decode(payload).error:
                self._failure = self._refused(payload)
                self.complete = False
                break
            kept.append(event)
        if self._failure is not None and not kept:
            raise self._failure
        return b"".join(kept)


class ResponsesAnswer(RelayedAnswer):
    """The answer of a server that speaks Responses: whole events as they come, until its reader calls it complete."""

    async def whole(self) -> bytes:
        body = await self._response.read()
        self.complete = True
        return body

    def _put_right(self, events: bytes) -> bytes:
        return events


def _renamed(data: bytes, thoughts: bytes) -> bytes:
    """With the client's key for thoughts; a server that sends both keys, as some versions do, is left alone."""
    if thoughts not in data or _THOUGHTS in data:
        return data
    return data.replace(thoughts, _THOUGHTS)


def _unreadable() -> UpstreamFailure:
    return UpstreamFailure("The upstream's answer is not the JSON it should be.", code="upstream_error")


def _model_field(data: bytes, model: str) -> bytes | None:
    """The bytes that name the model: other objects in an answer may have a `model`, too."""
    name = msgspec.json.encode(model)
    for key in (b'"model":', b'"model": '):
        if (field := key + name) in data:
            return field
    return next((found[0] for found in _MODEL.finditer(data) if msgspec.json.decode(found[1]) == model), None)


def _streamed_model_field(events: bytes) -> bytes | None:
    for event in _split(events):
        payload = _payload(event)
        if payload is not None and (model := _accounted.decode(payload).model) is not None:
            return _model_field(payload, model)
    return None


def _split(events: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in events.split(b"\n\n") if event]


def _payload(event: bytes) -> bytes | None:
    """The JSON of an event, None where it has none."""
    lines = [line[5:].lstrip() for line in event.split(b"\n") if line.startswith(b"data:")]
    payload = b"\n".join(lines)
    return payload if payload.startswith(b"{") else None
