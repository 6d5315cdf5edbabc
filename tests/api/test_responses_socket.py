"""A WebSocket's ends that no client brings about: its time is over, or the code behind it breaks."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send

from accounts import KEY
from fundament.api.desk import Desk
from fundament.api.edge import Edge
from fundament.api.responses_socket import ResponsesSocket
from fundament.errors import InvalidKey
from fundament.gateway.keys import KeyRecord

SCOPE: Scope = {"type": "websocket", "path": "/v1/responses", "headers": []}


class Connection:
    """The client's end; counts how often an answer was made."""

    def __init__(self) -> None:
        self.answers = 0

    def work(self) -> None:
        self.answers += 1

    def rest(self) -> None:
        pass


class Door:
    """A desk of which only the door is asked."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self._outcomes = iter(outcomes)

    async def key(self, _scope: Scope) -> KeyRecord:
        outcome = next(self._outcomes)
        if outcome is not None:
            raise outcome
        return KEY


def desk(*outcomes: Exception | None) -> Desk:
    return cast("Desk", Door(*outcomes))


async def talk(app: Callable[[Scope, Receive, Send], Awaitable[None]], *frames: str) -> list[Any]:
    """What the service says to a client that sends these frames and then waits."""
    incoming: list[Message] = [{"type": "websocket.connect"}]
    incoming += [{"type": "websocket.receive", "text": frame} for frame in frames]
    sent: list[Any] = []

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        return await asyncio.Event().wait() and {}

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await app({**SCOPE, "connection": Connection()}, receive, send)
    return sent


async def test_a_connection_whose_time_is_over_is_told_so_and_closed() -> None:
    accepted, error, closed = await talk(ResponsesSocket(desk(None), lasts_s=0.05))
    assert accepted["type"] == "websocket.accept"
    assert json.loads(error["text"])["error"]["code"] == "websocket_connection_limit_reached"
    assert closed == {"type": "websocket.close", "code": 1000}


async def test_a_key_that_was_revoked_makes_no_more_responses() -> None:
    socket = ResponsesSocket(desk(None, InvalidKey("It was revoked.")), lasts_s=0.05)
    _, error, *_ = await talk(socket, "{}")
    event = json.loads(error["text"])
    assert (event["status"], event["error"]["message"]) == (401, "It was revoked.")


async def test_a_fault_of_ours_is_an_answer_to_the_handshake() -> None:
    start, body = await talk(Edge(never, {"/v1/responses": ResponsesSocket(desk(RuntimeError("broken")))}))
    assert start["status"] == 500
    assert json.loads(body["body"])["error"]["type"] == "server_error"


async def test_a_later_fault_of_ours_closes_the_connection() -> None:
    socket = ResponsesSocket(desk(None, RuntimeError("broken")))
    accepted, closed = await talk(Edge(never, {"/v1/responses": socket}), "{}")
    assert dict(accepted["headers"])[b"x-request-id"].startswith(b"req_")
    assert closed == {"type": "websocket.close", "code": 1011}


async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("a WebSocket is not a request")
