"""The Responses API over a WebSocket, with a real client of the protocol and with OpenAI's own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from scripted_answers import DONE, Barrier, Hang, chat_events, chat_stream, error_answer, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Service
from specification import assert_valid_event

CHAT = "/v1/chat/completions"
AT_ONCE_S = 0.1
BODY_LIMIT_BYTES = 1_000_000  # of the service `scripted`
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)


@asynccontextmanager
async def connected(service: Service, *, base: str = "/v1", key: str | None = None) -> AsyncIterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {service.key if key is None else key}"}
    url = f"ws://127.0.0.1:{service.port}{base}/responses"
    async with connect(url, additional_headers=headers, max_size=None) as socket:
        yield socket


async def send(socket: ClientConnection, **fields: Any) -> None:
    await socket.send(json.dumps({"type": "response.create", "model": "gpt-4.1", "input": "Hi"} | fields))


async def read(socket: ClientConnection) -> dict[str, Any]:
    frame = await asyncio.wait_for(socket.recv(), 10)
    assert isinstance(frame, str)
    event = json.loads(frame)
    SERVER_EVENT.validate_python(event)
    return event if event["type"] == "error" else assert_valid_event(event)


async def read_response(socket: ClientConnection) -> dict[str, Any]:
    """The response that the events of the next frames amount to, to its end."""
    events = [await read(socket)]
    while events[-1]["type"] not in {"response.completed", "response.failed", "response.incomplete"}:
        assert events[-1]["type"] != "error", events[-1]
        events.append(await read(socket))
    assert_in_order(events)
    for event in events:
        event.pop("obfuscation", None)
    return fold_events(events)


async def answered(socket: ClientConnection, **fields: Any) -> dict[str, Any]:
    await send(socket, **fields)
    return await read_response(socket)


async def refused(socket: ClientConnection, frame: str | bytes) -> dict[str, Any]:
    await socket.send(frame)
    event = await read(socket)
    assert event["type"] == "error"
    return event


def told(upstream: ScriptedUpstream) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in upstream.requests[-1].json["messages"]]


@pytest.mark.parametrize("base", ["/v1", "/v2"])
async def test_the_events_of_a_response_come_as_frames(
    scripted: Service, upstream: ScriptedUpstream, base: str
) -> None:
    upstream.answer(chat_stream(["Hello", " you"], usage=True), path=CHAT)
    async with connected(scripted, base=base) as socket:
        response = await answered(socket)
        assert socket.response is not None
        assert socket.response.headers["x-request-id"].startswith("req_")
    assert response["output"][0]["content"][0]["text"] == "Hello you"
    assert response["status"] == "completed"
    assert scripted.request("GET", f"/v1/responses/{response['id']}").json == response


async def test_a_response_goes_on_from_one_that_is_not_stored(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(*(chat_stream([text], usage=True) for text in ("One.", "Two.", "Three.")), path=CHAT)
    async with connected(scripted) as socket:
        first = await answered(socket, store=False)
        second = await answered(socket, store=False, input="More", previous_response_id=first["id"])
        await answered(socket, store=False, input="Again", previous_response_id=second["id"])
    assert told(upstream) == [
        ("user", "Hi"),
        ("assistant", "One."),
        ("user", "More"),
        ("assistant", "Two."),
        ("user", "Again"),
    ]
    for response in (first, second):
        assert scripted.request("GET", f"/v1/responses/{response['id']}").status == 404


async def test_another_connection_knows_only_what_is_stored(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_stream(["Yes."], usage=True), CHAT)
    async with connected(scripted) as socket:
        stored = await answered(socket)
        unstored = await answered(socket, store=False)
    async with connected(scripted) as socket:
        await send(socket, previous_response_id=unstored["id"])
        assert (await read(socket))["error"]["code"] == "previous_response_not_found"
        await answered(socket, input="More", previous_response_id=stored["id"])
    assert told(upstream) == [("user", "Hi"), ("assistant", "Yes."), ("user", "More")]


async def test_a_response_that_is_only_prepared_has_no_answer_and_can_be_gone_on_from(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.answer(chat_stream(["Yes."], usage=True), path=CHAT)
    async with connected(scripted) as socket:
        prepared = await answered(socket, store=False, generate=False)
        assert (prepared["output"], prepared["status"]) == ([], "completed")
        assert upstream.requests == []
        await answered(socket, store=False, input="Now?", previous_response_id=prepared["id"])
    assert told(upstream) == [("user", "Hi"), ("user", "Now?")]


@pytest.mark.parametrize(
    ("frame", "param", "message"),
    [
        ("{", None, "could not parse the JSON"),
        ("[]", None, "must be an object"),
        (b"\xff", None, "could not parse the JSON"),
        ("{}", "type", "'response.create'"),
        ('{"type": "response.steer"}', "type", "'response.create'"),
        ('{"type": "response.create", "model": "gpt-4.1"}', "input", "must be provided"),
        ('{"type": "response.create", "model": "gpt-4.1", "input": "x", "stream": false}', "stream", "always streams"),
        ('{"type": "response.create", "model": "gpt-4.1", "input": "x", "background": true}', "background", "streams"),
        ('{"type": "response.create", "model": "gpt-4.1", "input": "x", "generate": 1}', "generate", "boolean"),
        (
            '{"type": "response.create", "model": "gpt-4.1", "input": "x", "temprature": 1}',
            "temprature",
            "Unrecognized",
        ),
    ],
)
async def test_what_cannot_be_answered_is_refused_and_the_connection_goes_on(
    scripted: Service, upstream: ScriptedUpstream, frame: str | bytes, param: str | None, message: str
) -> None:
    upstream.answer(chat_stream(["Yes."], usage=True), path=CHAT)
    async with connected(scripted) as socket:
        event = await refused(socket, frame)
        assert (event["status"], event["error"]["type"]) == (400, "invalid_request_error")
        assert event["error"]["param"] == param
        assert message in event["error"]["message"]
        assert (await answered(socket))["status"] == "completed"


async def test_a_failure_of_the_models_server_is_an_error_with_its_status(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.answer(error_answer(400, "Too hot.", param="temperature"), path=CHAT)
    async with connected(scripted) as socket:
        await send(socket)
        event = await read(socket)
    assert (event["status"], event["error"]["message"], event["error"]["param"]) == (400, "Too hot.", "temperature")


async def test_a_second_response_at_the_same_time_is_refused(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(sse_answer([*chat_events(["Hello"])[:2], Hang()]), path=CHAT)
    async with connected(scripted) as socket:
        await send(socket)
        types = [(await read(socket))["type"] for _ in range(5)]
        assert types[-1] == "response.output_text.delta"
        await send(socket)
        event = await read(socket)
        assert (event["status"], event["error"]["code"]) == (400, "response_already_in_flight")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("events", [[], chat_events(["Hello"])[:2]], ids=["before it began", "in the middle"])
@pytest.mark.parametrize("closes", [True, False], ids=["closed", "broken off"])
async def test_a_client_that_leaves_takes_the_work_with_it(
    scripted: Service, upstream: ScriptedUpstream, events: Sequence[bytes], closes: bool
) -> None:
    upstream.answer(sse_answer([*events, Hang()]), path=CHAT)
    async with connected(scripted) as socket:
        await send(socket)
        await asyncio.to_thread(upstream.wait_requests)
        if events:
            await read(socket)
        left_at = time.monotonic()
        if closes:
            await socket.close()
        else:
            socket.transport.abort()
        assert await asyncio.to_thread(upstream.wait_closed, 2) - left_at < AT_ONCE_S


@pytest.mark.parametrize("key", ["", "sk-wrong"])
async def test_a_wrong_key_is_refused_at_the_handshake(scripted: Service, key: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connected(scripted, key=key):
            pass
    response = caught.value.response
    assert response.status_code == 401
    assert response.body is not None
    assert json.loads(response.body)["error"]["code"] == "invalid_api_key"
    assert response.headers["x-request-id"].startswith("req_")


async def test_another_path_has_no_websocket(scripted: Service) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connected(scripted, base="/v1/chat"):
            pass
    assert caught.value.response.status_code == 404
    assert caught.value.response.body is not None
    assert json.loads(caught.value.response.body)["error"]["code"] == "unknown_url"


async def test_a_frame_that_is_too_large_ends_the_connection(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(chat_stream(["Yes."], usage=True), path=CHAT)
    async with connected(scripted) as socket:
        await answered(socket, input="x" * (BODY_LIMIT_BYTES - 1000))
        await send(socket, input="x" * BODY_LIMIT_BYTES)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


@pytest.mark.parametrize("grace_period_s", [20.0, 0.3], ids=["completes", "is broken off"])
async def test_a_stopping_service_lets_an_answer_end_and_closes(
    upstream: ScriptedUpstream, tmp_path: Path, grace_period_s: float
) -> None:
    completes = grace_period_s > 1
    barrier = Barrier()
    events = chat_events(["Hello", " you"])
    upstream.answer(sse_answer([*events[:2], barrier, *events[2:], DONE]), path=CHAT)
    config = scripted_config(upstream.base_url).replace("[server]", f"[server]\ngrace_period_s = {grace_period_s}")
    service = Service(tmp_path / "stopping", config, environment=UPSTREAM_ENVIRONMENT).start().wait_ready()
    try:
        async with connected(service) as idle, connected(service) as socket:
            await send(socket)
            await asyncio.to_thread(upstream.wait_requests)
            assert (await read(socket))["type"] == "response.created"
            assert service.process is not None
            service.process.terminate()
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(idle.recv(), 5)
            if completes:
                barrier.release()
            last = await read(socket)
            while last["type"] not in {"response.completed", "response.failed"}:
                last = await read(socket)
            assert last["type"] == ("response.completed" if completes else "response.failed")
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(socket.recv(), 5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
        assert await asyncio.to_thread(service.process.wait, 10) == 0
    finally:
        service.destroy()


async def test_openais_client_needs_nothing_else(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(chat_stream(["Hello", " you"], usage=True), path=CHAT)
    async with scripted.async_client() as client, client.responses.connect() as connection:
        await connection.response.create(model="gpt-4.1", input="Hi")
        text = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.completed":
                break
    assert text == "Hello you"
