"""`POST /responses` and what one may do with a response afterwards. The way of a request is `CreateResponse.__call__`.

It joins admission, history, making and keeping in their order; it knows HTTP and who may see what.
"""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from fundament.api.edge import error_body, send_json
from fundament.api.requests import ClientLeft, decode_object, header, read_body
from fundament.api.streaming import HEADERS, ClientWatch, stopping
from fundament.backends.upstream import Upstream
from fundament.errors import InvalidRequest, NotFound, RequestError
from fundament.gateway.admission import Admission
from fundament.gateway.catalogue import CatalogueModel, refuse_too_much_output
from fundament.gateway.keys import KeyRecord
from fundament.gateway.meter import Meter, Metering
from fundament.gateway.state import StateStore, StoredResponse
from fundament.protocol import responses
from fundament.protocol.responses import ResponsesRequest
from fundament.responses.background import ENDED, Background, conversation_items
from fundament.responses.events import obfuscated, sse
from fundament.responses.fold import Event
from fundament.responses.history import history_of, kept
from fundament.responses.making import Making
from fundament.responses.pages import page_of

_encode = msgspec.json.Encoder().encode
_NUMBER = re.compile("-?[0-9]{1,18}")  # what a database takes
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Desk:
    """What the endpoints of the Responses API share."""

    admission: Admission
    upstreams: Mapping[str, Upstream]
    meter: Meter
    store: StateStore
    background: Background
    max_body_bytes: int
    allow_private_addresses: bool = False

    async def key(self, scope: Scope) -> KeyRecord:
        return await self.admission.authenticate(header(scope, b"authorization"))

    async def body(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        return decode_object(await read_body(scope, receive, self.max_body_bytes) or b"{}")

    async def find(self, owner: str, id: str) -> StoredResponse:
        """Raises NotFound: `owner` has no such response."""
        stored = await self.store.find(owner, id)
        if stored is None:
            raise response_not_found(id)
        return stored


def ids(request_id: str) -> Callable[[str], str]:
    """Makes ids that begin with a prefix, all of one request alike and none twice."""
    seed = request_id.removeprefix("req_")
    numbers = itertools.count()
    return lambda prefix: f"{prefix}_{seed}{next(numbers):04x}"


def response_not_found(id: str) -> NotFound:
    return NotFound(f"Response with id '{id}' not found.", param="response_id", code="response_not_found")


class CreateResponse:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk = self._desk
        key = await desk.key(scope)
        try:
            body = await desk.body(scope, receive)
        except ClientLeft:
            return
        request = responses.validate(body)
        model = desk.admission.admit(key, request.model)
        refuse_too_much_output(model, "max_output_tokens", request.max_output_tokens)
        request_id: str = scope["request_id"]
        stored, making = await self._prepare(key, request, model, request_id)
        metering = desk.meter.begin(
            request_id=request_id,
            key=key,
            endpoint="responses",
            model=model,
            asked_model=request.model,
            stream=bool(request.stream),
        )
        if request.background:
            await self._in_background(request, stored, making, send, metering)
        else:
            await self._serve(request, stored, making, ClientWatch(scope["connection"]), send, metering)

    async def _prepare(
        self, key: KeyRecord, request: ResponsesRequest, model: CatalogueModel, request_id: str
    ) -> tuple[StoredResponse, Making]:
        history = await history_of(self._desk.store, key.id, request)
        new_id = ids(request_id)
        id = new_id("resp")
        created_at = int(time.time())
        making = Making(
            request,
            history,
            self._desk.upstreams[model.id],
            id=id,
            created_at=created_at,
            new_id=new_id,
            allow_private=self._desk.allow_private_addresses,
        )
        stored = StoredResponse(
            id=id,
            owner=key.id,
            created_at=created_at,
            response=making.fold.response,
            input=kept(request.items, new_id) if request.stored or request.conversation_id else [],
            previous_response_id=request.previous_response_id,
            conversation_id=request.conversation_id,
        )
        return stored, making

    async def _serve(  # noqa: PLR0917 - what one request is made of
        self,
        request: ResponsesRequest,
        stored: StoredResponse,
        making: Making,
        watch: ClientWatch,
        send: Send,
        metering: Metering,
    ) -> None:
        error_code: str | None = None
        outcome = "cancelled"
        try:
            await making.open(stream=bool(request.stream))
            if request.stream:
                await self._stream(request, stored, making, watch, send, metering)
            else:
                await making.whole()
                await self._keep(request, stored, making)
                watch.stop()
                settle(metering, making, None)
                await send_json(send, _encode(making.fold.response))
        except RequestError as failure:
            outcome, error_code = "failed", failure.code
            raise
        except asyncio.CancelledError:
            if not watch.left:
                outcome, error_code = "failed", "service_stopping"
                raise stopping() from None
        finally:
            watch.stop()
            await making.close()
            metering.settle(outcome, making.usage, error_code)

    async def _stream(  # noqa: PLR0917 - as `_serve`
        self,
        request: ResponsesRequest,
        stored: StoredResponse,
        making: Making,
        watch: ClientWatch,
        send: Send,
        metering: Metering,
    ) -> None:
        padded = request.stream_options is None or request.stream_options.include_obfuscation is not False
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
        number = -1
        try:
            async for events in making.events():
                number = events[-1]["sequence_number"]
                metering.first_byte()
                if making.ended:
                    await self._keep(request, stored, making)
                    settle(metering, making, None)
                    watch.stop()
                await _send_events(send, events, padded=padded)
        except RequestError as failure:  # it could not be kept: what was said so far stands, but will not be found
            await self._fail(send, failure, number + 1, making, metering)
        except asyncio.CancelledError:
            if watch.left:
                raise
            await _send_events(send, making.fold.fail(stopping()), padded=padded)
            settle(metering, making, stopping())
        watch.stop()
        await send({"type": "http.response.body", "body": b""})

    async def _fail(self, send: Send, failure: RequestError, number: int, making: Making, metering: Metering) -> None:
        settle(metering, making, failure)
        fields = {"code": failure.code, "message": failure.message, "param": failure.param}
        await _send_events(send, [{"type": "error", "sequence_number": number, **fields}], padded=False)

    async def _keep(self, request: ResponsesRequest, stored: StoredResponse, making: Making) -> None:
        """Keeps the response before its end is told: who has read it may go on from it, also at another process."""
        stored.response = making.fold.response
        if request.stored:
            await self._desk.store.save(stored, conversation_items(stored))
        elif items := conversation_items(stored):
            await self._desk.store.add_items(stored.owner, request.conversation_id or "", items)

    async def _in_background(
        self, request: ResponsesRequest, stored: StoredResponse, making: Making, send: Send, metering: Metering
    ) -> None:
        def on_end(made: Making, failure: RequestError | None) -> None:
            settle(metering, made, failure)

        await self._desk.background.start(stored, making, on_end)
        if request.stream:
            await send_stream(send, self._desk.background.follow(stored.owner, stored.id, -1))
        else:
            await send_json(send, _encode(stored.response))


def settle(metering: Metering, making: Making, failure: RequestError | None) -> None:
    """Writes the usage record of a response that has ended, by how it ended."""
    status = making.fold.response["status"]
    if failure is not None or status == "failed":
        error: dict[str, Any] = making.fold.response.get("error") or {}
        metering.settle("failed", making.usage, failure.code if failure is not None else error.get("code"))
    else:
        metering.settle("cancelled" if status == "cancelled" else "completed", making.usage)


async def _send_events(send: Send, events: list[Event], *, padded: bool) -> None:
    data = b"".join([sse(obfuscated(event) if padded else event) for event in events])
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def send_stream(send: Send, events: AsyncIterator[bytes]) -> None:
    """Sends events as they come; the client's leaving ends it."""
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
    try:
        async for data in events:
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except RequestError as failure:
        await send({"type": "http.response.body", "body": b"data: %b\n\n" % error_body(failure), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class RetrieveResponse:
    """`GET /responses/{id}`: the response, or with `stream=true` the events of one that was made in the background."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._desk.key(scope)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        stored = await self._desk.find(key.id, scope["path_params"]["id"])
        if not _flag(query, "stream"):
            await send_json(send, _encode(stored.response))
            return
        if not stored.response.get("background"):
            raise InvalidRequest(
                "Invalid 'stream': only responses that are made in the background can be streamed again.",
                param="stream",
                code="invalid_value",
            )
        after = _number(query, "starting_after")
        watch = ClientWatch(scope["connection"])
        try:
            await send_stream(send, self._desk.background.follow(key.id, stored.id, after))
        except asyncio.CancelledError:
            if not watch.left:
                raise
        finally:
            watch.stop()


class DeleteResponse:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._desk.key(scope)
        id: str = scope["path_params"]["id"]
        if not await self._desk.background.delete(key.id, id):
            raise response_not_found(id)
        await send_json(send, _encode({"id": id, "object": "response", "deleted": True}))


class CancelResponse:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._desk.key(scope)
        stored = await self._desk.find(key.id, scope["path_params"]["id"])
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
        stored = await self._desk.find(key.id, scope["path_params"]["id"])
        query = parse_qs(scope["query_string"].decode("latin-1"))
        await send_json(send, _encode(page_of(stored.input, query)))


def _flag(query: Mapping[str, list[str]], name: str) -> bool:
    value = query.get(name, ["false"])[-1].lower()
    if value not in _BOOLEANS:
        raise InvalidRequest(
            f"Invalid '{name}': expected true or false, but got {value!r}.", param=name, code="invalid_value"
        )
    return _BOOLEANS[value]


def _number(query: Mapping[str, list[str]], name: str) -> int:
    value = query.get(name, ["-1"])[-1]
    if not _NUMBER.fullmatch(value):
        raise InvalidRequest(
            f"Invalid '{name}': expected an integer, but got {value!r}.", param=name, code="invalid_value"
        )
    return int(value)
