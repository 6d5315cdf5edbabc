"""One response in the making, at a server that speaks Responses itself: it is asked in its own language.

It knows what such a server is asked: everything that the client asked, and the items that came before; to keep nothing
and to know nothing of our state. See docs/decisions/0010-native-responses.md. It knows neither HTTP nor storage.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import msgspec

from fundament.backends.call import Answer, Backend, Call
from fundament.errors import InvalidRequest, RequestError, UpstreamFailure, UpstreamRefused
from fundament.protocol.responses import ResponsesRequest
from fundament.protocol.usage import Usage
from fundament.responses.fold import Event
from fundament.responses.history import Json
from fundament.responses.making import Making
from fundament.responses.native_input import native_item
from fundament.responses.parameters import TREATMENTS
from fundament.responses.relayed import BEGINNINGS, RelayedResponse
from fundament.responses.resource import ENDED, new_response
from fundament.responses.tools import without_secrets

_ENCRYPTED = "reasoning.encrypted_content"
_CALLERS_FAULT = frozenset({"invalid_request_error", "invalid_prompt", "context_length_exceeded"})
_UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)


class NativeMaking:
    """The response with the id `id` to `request`; what came before it is `history`.

    Args:
        body: the request as the client sent it, with all fields that are not checked here.
        input: the items of the request, as they are kept.
        new_id: makes an id that begins with the given prefix and `_`.
        reasons: whether to ask for the model's reasoning, encrypted, so that a later response can have it.
        traceparent: as `Making`.
    """

    def __init__(
        self,
        request: ResponsesRequest,
        body: Mapping[str, Any],
        history: list[Json],
        input: list[Json],
        backend: Backend,
        *,
        id: str,
        created_at: int,
        new_id: Callable[[str], str],
        reasons: bool,
        traceparent: str | None = None,
    ) -> None:
        response = new_response(request, id=id, created_at=created_at)
        self.fold = RelayedResponse(response | _tools(response, body), new_id)
        source = "conversation" if request.previous_response_id is None else "previous_response_id"
        told = [(source, item) for item in history]
        told += [(f"input[{position}]", item) for position, item in enumerate(input)]
        self._input = [(path, sent) for path, item in told if (sent := native_item(item)) is not None]
        self._body = {name: body[name] for name in body if body[name] is not None and _is_passed(name)}
        self._includes = reasons and _ENCRYPTED not in (request.include or ())
        self._model = request.model
        self._backend = backend
        self._id = id
        self._created_at = created_at
        self._traceparent = traceparent
        self._answer: Answer | None = None
        self._payloads: list[bytes] = []
        self._first: Event | None = None

    @property
    def usage(self) -> Usage | None:
        """What was used, as far as the server told it."""
        return self.fold.usage

    def asked(self) -> Mapping[str, Any]:
        """What the server is asked, as JSON."""
        return {**self._body, "input": [item for _, item in self._input]}

    @property
    def ended(self) -> bool:
        return self.fold.status in ENDED

    async def peek(self) -> None:
        """As `Making.peek`; `open` has done it."""

    async def open(self, *, stream: bool) -> None:
        """Asks the server; returns when its answer has begun, with the first event of a stream.

        Raises:
            RequestError: it refused, failed or is full; `param` is one of the client's.
        """
        self._answer = await self._asked(stream=stream)
        if stream:
            self._first = await self._next()
            if self._first["type"] in BEGINNINGS:
                self._feed(self._first)
                self._first = None

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events of a streamed answer, from the first to the last.

        A failure is an event, too. Nothing is raised but what cancels the task.
        """
        yield self.fold.start()
        try:
            while not self.ended:
                event, self._first = self._first or await self._next(), None
                if events := self._feed(event):
                    yield events
        except RequestError as failure:
            yield self.fold.fail(failure)

    async def whole(self) -> None:
        """Takes an answer that is not streamed.

        Raises:
            RequestError: the server failed.
        """
        body = await self._opened.whole()
        try:
            self.fold.take_whole(msgspec.json.decode(body, type=Json))
        except _UNREADABLE:
            raise _unreadable() from None

    async def close(self) -> None:
        """Ends what is still open at the server."""
        if self._answer is not None:
            self._answer.close()

    async def _asked(self, *, stream: bool) -> Answer:
        """Without what the server says that it cannot give, where it was us that asked for it."""
        while True:
            try:
                return await self._backend.open(self._call(stream=stream))
            except UpstreamRefused as refused:
                if self._includes and (refused.param or "").startswith("include"):
                    self._includes = False
                elif refused.code == "invalid_encrypted_content" and self._has_old_reasoning():
                    self._input = [(path, item) for path, item in self._input if not _is_old_reasoning(path, item)]
                else:
                    raise self._in_our_terms(refused) from None

    async def _next(self) -> Event:
        """The server's next event.

        Raises:
            RequestError: it broke off, failed, or told something that is no event.
        """
        while not self._payloads:
            self._payloads = _payloads(await self._opened.read())
        try:
            event = msgspec.json.decode(self._payloads.pop(0), type=Json)
        except _UNREADABLE:
            raise _unreadable() from None
        if event.get("type", "error") == "error":
            raise _failure(event)
        return event

    def _feed(self, event: Event) -> list[Event]:
        try:
            events = self.fold.feed(event)
        except _UNREADABLE:
            raise _unreadable() from None
        if self.ended:
            self._opened.complete = True
        return events

    @property
    def _opened(self) -> Answer:
        assert self._answer is not None, "open() comes first"  # noqa: S101 - for the type checker
        return self._answer

    def _call(self, *, stream: bool) -> Call:
        body = {**self._body, "input": [item for _, item in self._input], "store": False, "stream": stream}
        if self._includes:
            body["include"] = [*(self._body.get("include") or ()), _ENCRYPTED]
        if stream:
            body["stream_options"] = {"include_obfuscation": False}  # it is added for the client, if it wants it
        return Call(
            kind="responses",
            body=body,
            model=self._model,
            stream=stream,
            include_usage=True,
            prompts=1,
            n=1,
            kept=1,
            id=self._id,
            created=self._created_at,
            traceparent=self._traceparent,
        )

    def _has_old_reasoning(self) -> bool:
        return any(_is_old_reasoning(path, item) for path, item in self._input)

    def _in_our_terms(self, refused: UpstreamRefused) -> UpstreamRefused:
        """What was sent in one list was the client's input, and what came before."""
        place, bracket, rest = (refused.param or "").removeprefix("input[").partition("]")
        if refused.param is not None and refused.param.startswith("input[") and bracket and place.isdigit():
            path = self._input[int(place)][0] if int(place) < len(self._input) else "input"
            refused.param = path + rest if path.startswith("input[") else path
        return refused


AnyMaking = Making | NativeMaking


def _is_passed(name: str) -> bool:
    return name in TREATMENTS and TREATMENTS[name].native == "passed"


def _is_old_reasoning(path: str, item: Json) -> bool:
    """The server may be another one than that which encrypted it."""
    return item["type"] == "reasoning" and not path.startswith("input[")


def _tools(response: Json, body: Mapping[str, Any]) -> Json:
    """The tools as they are shown until the server says how it took them: those of its own with all their settings."""
    asked: list[Json] = body.get("tools") or []
    shown: list[Json] = response["tools"]
    return {"tools": [{**without_secrets(tool), **one} for tool, one in zip(asked, shown, strict=True)]}


def _payloads(events: bytes) -> list[bytes]:
    """The data of each event that has JSON."""
    payloads: list[bytes] = []
    for event in events.split(b"\n\n"):
        data = b"\n".join([line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]).strip()
        if data.startswith(b"{"):
            payloads.append(data)
    return payloads


def _failure(event: Mapping[str, Any]) -> RequestError:
    """What the server said in place of an event: `ResponseErrorEvent` of OpenAI's document, or `{"error": {…}}`."""
    inner: Any = event.get("error")
    error = cast("Json", inner) if isinstance(inner, dict) else event
    message, code, param = str(error.get("message") or "The upstream failed."), error.get("code"), error.get("param")
    code = code if isinstance(code, str) else None
    names = {code, error.get("type")}
    if "rate_limit_exceeded" in names:
        return UpstreamRefused(429, message, "requests", None, code)
    if names & _CALLERS_FAULT:
        return InvalidRequest(message, param=param if isinstance(param, str) else None, code=code)
    return UpstreamFailure(f"The upstream failed: {message}", code=code or "upstream_error")


def _unreadable() -> UpstreamFailure:
    return UpstreamFailure("The upstream's answer is not what it should be.", code="upstream_error")
