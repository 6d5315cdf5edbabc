"""`POST /responses` and what one may do with a response afterwards. The way of a request is `CreateResponse.__call__`.

It knows HTTP and who may see what; how a response is made while its client waits is known by `creation.py`.
"""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct
from starlette.types import Receive, Scope, Send

from fundament.api.creation import Creation, begin
from fundament.api.desk import Desk, response_not_found
from fundament.api.edge import send_json
from fundament.api.streaming import HEADERS, ClientWatch, stopping
from fundament.errors import InvalidRequest, RequestError
from fundament.gateway.state import Events, StoredResponse
from fundament.protocol import responses
from fundament.protocol.validation import checked
from fundament.responses.background import Background
from fundament.responses.events import obfuscated, padded, sse
from fundament.responses.fold import Event
from fundament.responses.native import AnyMaking
from fundament.responses.pages import page_of
from fundament.responses.resource import ENDED

_encode = msgspec.json.Encoder().encode
_NUMBER = re.compile("[0-9]{1,18}")  # what a database takes
_BOOLEANS = {"true": True, "false": False}


class CreateResponse:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk = self._desk
        key = await desk.key(scope)
        body = await desk.body(scope, receive)
        trace = desk.meter.trace(scope["headers"])
        creation = await begin(desk, key, responses.validate(body), scope["request_id"], body=body, trace=trace)
        scope["connection"].tell(creation.limit_lines)
        scope["metered"] = True
        if creation.request.background:
            await self._in_background(creation, scope, send)
        elif creation.request.stream:
            watch = ClientWatch(scope["connection"])
            listener = SseListener(send, padded=creation.padded)
            await creation.stream(watch, listener)
            if not watch.left:
                await listener.end()
        else:
            response = await creation.whole(ClientWatch(scope["connection"]))
            if response is not None:
                await send_json(send, _encode(response))

    async def _in_background(self, creation: Creation, scope: Scope, send: Send) -> None:
        def settle(_: AnyMaking, failure: RequestError | None) -> None:
            creation.settle(failure)

        stored = creation.stored
        try:
            await self._desk.background.start(stored, creation.making, settle)
        except RequestError as failure:
            creation.settle(failure, http_status=failure.status)
            raise
        if creation.request.stream:
            listener = SseListener(send, padded=creation.padded)
            await follow(self._desk.background, stored, -1, listener, ClientWatch(scope["connection"]))
        else:
            await send_json(send, _encode(stored.response))


class SseListener:
    """Tells a response's events as server-sent events; `padded` hides how long their deltas are."""

    def __init__(self, send: Send, *, padded: bool) -> None:
        self._send = send
        self._padded = padded

    async def begin(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})

    async def tell(self, events: list[Event]) -> None:
        data = b"".join([sse(obfuscated(event) if self._padded else event) for event in events])
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def relay(self, events: Events) -> None:
        """Tells events as they were kept."""
        data = b"".join([padded(event) if self._padded else event for _, event in events])
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def fail(self, failure: RequestError, number: int) -> None:
        fields = {"code": failure.code, "message": failure.message, "param": failure.param}
        data = sse({"type": "error", "sequence_number": number, **fields})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})


async def follow(
    background: Background, stored: StoredResponse, after: int, listener: SseListener, watch: ClientWatch
) -> None:
    """Tells the events of a response in the background that come after `after`.

    The client's leaving ends it. What cannot be told on, also because the service stops, ends in an error event: it has
    the number of the last event that was told, because who goes on after it must not miss the next one.

    Raises:
        RequestError: it cannot be told on, before any event was told.
    """
    begun = False
    failure: RequestError | None = None
    try:
        async for events in background.follow(stored.owner, stored.id, after):
            if not begun:
                begun = True
                await listener.begin()
            await listener.relay(events)
            after = events[-1][0]
    except RequestError as failed:
        failure = failed
    except asyncio.CancelledError:
        if watch.left:
            return
        failure = stopping()
    watch.stop()
    if not begun:
        if failure is not None:
            raise failure
        await listener.begin()
    if failure is not None:
        await listener.fail(failure, after)
    await listener.end()


class RetrieveResponse:
    """`GET /responses/{id}`: the response, or with `stream=true` the events of one that was made in the background."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._desk.key(scope)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        # What was asked for when it was made is in it; what was not is not kept.
        checked({"include": query.get("include", []) + query.get("include[]", [])}, _Included)
        streamed, after = _flag(query, "stream", default=False), _number(query, "starting_after")
        listener = SseListener(send, padded=_flag(query, "include_obfuscation", default=True))
        stored = await self._desk.find(key.contract.id, scope["path_params"]["id"])
        if not streamed:
            await send_json(send, _encode(stored.response))
            return
        if not stored.response.get("background"):
            raise InvalidRequest(
                "Invalid 'stream': only responses that are made in the background can be streamed again.",
                param="stream",
                code="invalid_value",
            )
        await follow(self._desk.background, stored, after, listener, ClientWatch(scope["connection"]))


class DeleteResponse:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._desk.key(scope)
        id: str = scope["path_params"]["id"]
        if not await self._desk.background.delete(key.contract.id, id):
            raise response_not_found(id)
        await send_json(send, _encode({"id": id, "object": "response", "deleted": True}))


class CancelResponse:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._desk.key(scope)
        stored = await self._desk.find(key.contract.id, scope["path_params"]["id"])
        if not stored.response.get("background"):
            raise InvalidRequest(
                "Only responses that were created with 'background' set to true can be cancelled.",
                param="response_id",
                code="invalid_value",
            )
        if stored.response["status"] not in ENDED:
            stored.response = await self._desk.background.cancel(stored)
        await send_json(send, _encode(stored.response))


class ListInputItems:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._desk.key(scope)
        stored = await self._desk.find(key.contract.id, scope["path_params"]["id"])
        query = parse_qs(scope["query_string"].decode("latin-1"))
        await send_json(send, _encode(page_of(stored.input, query)))


class _Included(Struct):
    include: list[responses.Include]


def _flag(query: Mapping[str, list[str]], name: str, *, default: bool) -> bool:
    value = query.get(name, [str(default)])[-1].lower()
    if value not in _BOOLEANS:
        raise InvalidRequest(
            f"Invalid '{name}': expected true or false, but got {value!r}.", param=name, code="invalid_value"
        )
    return _BOOLEANS[value]


def _number(query: Mapping[str, list[str]], name: str) -> int:
    """-1, if it is not there."""
    value = query.get(name, [None])[-1]
    if value is None:
        return -1
    if not _NUMBER.fullmatch(value):
        raise InvalidRequest(
            f"Invalid '{name}': expected an integer of at least 0, but got {value!r}.", param=name, code="invalid_value"
        )
    return int(value)
