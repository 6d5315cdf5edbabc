"""The Responses API over a WebSocket: `response.create` comes in, the events of its response go out, one at a time.

It follows OpenAI's guide "WebSocket Mode", and `ResponsesClientEvent` and `ResponsesServerEvent` of its SDK. It knows
frames and whose turn it is; how a response comes about is known by `creation.py`.
"""

import asyncio
from typing import Any, Protocol

import msgspec
from starlette.types import Message, Receive, Scope, Send

from fundament.api.creation import Memory, begin
from fundament.api.desk import Desk
from fundament.api.edge import error_headers, new_request_id
from fundament.api.requests import decode_object
from fundament.errors import InvalidRequest, RequestError
from fundament.protocol import responses
from fundament.responses.events import obfuscated
from fundament.responses.fold import Event

LASTS_S = 60 * 60.0
_encode = msgspec.json.Encoder().encode


class Connection(Protocol):
    """The client's end, as `sockets.py` has it; between `work` and `rest` a stopping service waits for it."""

    def work(self) -> None: ...

    def rest(self) -> None: ...


class ResponsesSocket:
    """The endpoint.

    Args:
        lasts_s: a connection closes after so many seconds, or as soon as the answer is complete that is made then.
    """

    def __init__(self, desk: Desk, *, lasts_s: float = LASTS_S) -> None:
        self._desk = desk
        self._lasts_s = lasts_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._desk.key(scope)
        await receive()  # that it wants to connect
        await send({"type": "websocket.accept"})
        frames = Frames(send)
        try:
            left = await Conversation(self._desk, scope, frames).hear(receive, self._lasts_s)
        except asyncio.CancelledError:  # the service stops; an answer in the making has said so
            await send({"type": "websocket.close", "code": 1012})
            return
        if not left:
            await frames.refuse(_limit_reached(self._lasts_s))
            await send({"type": "websocket.close", "code": 1000})


class Frames:
    """Tells events and failures, each as a frame; as a response's listener, too."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.padded = True

    async def begin(self) -> None:
        """Nothing goes before the first event."""

    async def tell(self, events: list[Event]) -> None:
        for event in events:
            await self._tell(obfuscated(event) if self.padded else event)

    async def fail(self, failure: RequestError, number: int) -> None:
        await self._tell({**_error(failure), "sequence_number": number})

    async def refuse(self, failure: RequestError) -> None:
        """Tells that there will be no response."""
        await self._tell(_error(failure))

    async def _tell(self, event: Event) -> None:
        await self._send({"type": "websocket.send", "text": _encode(event).decode()})


class Conversation:
    """What is said on one connection. A response's watch, too: it knows whether the client left."""

    def __init__(self, desk: Desk, scope: Scope, frames: Frames) -> None:
        self.left = False
        self._desk = desk
        self._scope = scope
        self._connection: Connection = scope["connection"]
        self._frames = frames
        self._memory = Memory()
        self._answering: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """The response is complete; the client may leave."""

    async def hear(self, receive: Receive, lasts_s: float) -> bool:
        """Answers what the client sends, for so many seconds. Whether it left, which ends the answer in the making."""
        async with asyncio.TaskGroup() as answers:
            try:
                async with asyncio.timeout(lasts_s):
                    while (message := await receive())["type"] == "websocket.receive":
                        if self._answering is None:
                            self._answering = answers.create_task(self._answer(message))
                        else:
                            await self._frames.refuse(_busy())
            except TimeoutError:
                return False
            self.left = True
            if self._answering is not None:
                self._answering.cancel()
        return True

    async def _answer(self, message: Message) -> None:
        self._connection.work()
        try:
            await self._create(message)
        except RequestError as failure:
            await self._frames.refuse(failure)
        except OSError:
            pass  # the client left while it was told something; `hear` will notice
        finally:
            self._answering = None
            self._connection.rest()

    async def _create(self, message: Message) -> None:
        key = await self._desk.key(self._scope)
        data: str | bytes = message.get("text") or message.get("bytes") or b""
        body = decode_object(data.encode() if isinstance(data, str) else data)
        generates = _check_event(body)
        body = {**body, "stream": True}
        request = responses.validate(body)
        trace = self._desk.meter.trace(self._scope["headers"])
        creation = await begin(self._desk, key, request, new_request_id(), body=body, trace=trace, memory=self._memory)
        self._frames.padded = creation.padded
        if generates:
            await creation.stream(self, self._frames)
        else:
            await creation.prepare(self._frames)
        self._memory.remember(creation)


def _check_event(body: dict[str, Any]) -> bool:
    """Takes out what belongs to the event and not to the request; whether an answer is wanted.

    Raises:
        InvalidRequest: another event, or a parameter that a WebSocket has no use for.
    """
    kind: object = body.pop("type", None)
    if kind != "response.create":
        raise InvalidRequest(
            f"Invalid value: {kind!r}. Supported values are: 'response.create'.", param="type", code="invalid_value"
        )
    generate: object = body.pop("generate", None)
    if generate is not None and not isinstance(generate, bool):
        raise InvalidRequest("Invalid type for 'generate': expected a boolean.", param="generate", code="invalid_type")
    if body.get("background") or body.get("stream") is False:
        name = "background" if body.get("background") else "stream"
        raise InvalidRequest(
            f"Unsupported parameter: '{name}' is not supported over a WebSocket, which always streams.",
            param=name,
            code="unsupported_parameter",
        )
    return generate is not False


def _error(failure: RequestError) -> Event:
    error: dict[str, Any] = {"type": failure.type, "code": failure.code}
    error |= {"message": failure.message, "param": failure.param}
    if headers := {name.decode(): value.decode() for name, value in error_headers(failure)}:
        error["headers"] = headers
    return {"type": "error", "status": failure.status, "error": error}


def _busy() -> InvalidRequest:
    return InvalidRequest(
        "This connection is making a response. Wait for its end, or open another connection.",
        code="response_already_in_flight",
    )


def _limit_reached(lasts_s: float) -> InvalidRequest:
    return InvalidRequest(
        f"Responses websocket connection limit reached ({lasts_s / 60:g} minutes). Create a new websocket connection "
        "to continue.",
        code="websocket_connection_limit_reached",
    )
