"""The outermost layer: every answer has its id, every failure OpenAI's shape, and nothing inside is told outside."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from backends.played import run
from fundament.api.edge import Edge, send_json
from fundament.api.requests import ClientLeft, decode_object, read_body
from fundament.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    RequestError,
    ServerFailure,
    Unavailable,
    UpstreamFailure,
)
from specification import assert_valid


def scope(**changes: Any) -> Scope:
    return {"type": "http", "method": "POST", "path": "/x", "headers": [], **changes}


async def nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def asked(app: ASGIApp) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await Edge(app)(scope(), nothing, send)
    return sent


def raising(failure: BaseException, *, after: bytes | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after is not None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": after, "more_body": True})
        raise failure

    return app


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send_json(send, scope["request_id"].encode())


async def test_each_answer_carries_the_id_that_the_endpoint_knows_and_no_two_the_same() -> None:
    ids = set()
    for _ in range(100):
        start, body = await asked(fine)
        headers = dict(start["headers"])
        assert headers[b"x-request-id"] == body["body"]
        ids.add(body["body"])
    assert len(ids) == 100


FAILURES: list[tuple[RequestError, dict[bytes, bytes]]] = [
    (InvalidRequest("no", param="messages[0].role", code="invalid_value"), {}),
    (ModelNotFound("m"), {}),
    (MethodNotAllowed("no", allow="GET, HEAD"), {b"allow": b"GET, HEAD"}),
    (Unavailable("later", code="overloaded", retry_after_s=3), {b"retry-after": b"3"}),
    (UpstreamFailure("broke", code="upstream_error"), {}),
]


@pytest.mark.parametrize(("failure", "extra"), FAILURES)
async def test_a_failure_has_its_status_its_headers_and_openais_shape(
    failure: RequestError, extra: dict[bytes, bytes]
) -> None:
    with capture_logs() as logs:
        start, body = await asked(raising(failure))
    headers = dict(start["headers"])
    assert start["status"] == failure.status
    assert headers.items() >= extra.items()
    assert headers.keys() >= {b"content-type", b"content-length", b"x-request-id"}
    assert int(headers[b"content-length"]) == len(body["body"])
    told = json.loads(body["body"])
    assert_valid("ErrorResponse", told)
    assert told["error"] == {
        "message": failure.message,
        "type": failure.type,
        "param": failure.param,
        "code": failure.code,
    }
    # Faults of clients are their own affair; ours are logged once, with the id that the client was told.
    ids = [log["request_id"].encode() for log in logs]
    assert ids == ([headers[b"x-request-id"]] if failure.status >= 500 else [])


async def test_an_unforeseen_fault_is_a_500_that_tells_nothing_of_it_and_a_traceback_in_the_log() -> None:
    with capture_logs() as logs:
        start, body = await asked(raising(KeyError("secret")))
    assert start["status"] == 500
    assert b"secret" not in body["body"]
    assert json.loads(body["body"])["error"]["type"] == "server_error"
    [log] = logs
    assert (log["event"], log["exc_info"]) == ("request_failed", True)


@pytest.mark.parametrize("failure", [ServerFailure("broke"), KeyError("x")])
async def test_a_failure_after_the_answers_begin_cannot_become_another_answer(failure: Exception) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    with capture_logs(), pytest.raises(type(failure)):
        await Edge(raising(failure, after=b"half"))(scope(), nothing, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


# Bodies


def arriving(*parts: bytes, leaves: bool = False) -> Receive:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if leaves:
        messages.append({"type": "http.disconnect"})
    elif messages:
        messages[-1]["more_body"] = False
    queue = iter(messages)

    async def receive() -> Message:
        return next(queue)

    return receive


def declared(length: int | None) -> Scope:
    headers = [] if length is None else [(b"host", b"x"), (b"content-length", b"%d" % length)]
    return scope(headers=headers)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6), st.integers(0, 30), st.booleans())
def test_a_body_in_any_pieces_is_whole_or_too_large(parts: list[bytes], limit: int, says: bool) -> None:
    body = b"".join(parts)

    async def read() -> bytes:
        return await read_body(declared(len(body) if says else None), arriving(*parts), limit)

    if len(body) <= limit:
        assert run(read) == body
    else:
        with pytest.raises(BodyTooLarge) as caught:
            run(read)
        assert (caught.value.status, caught.value.code) == (413, "request_too_large")
        assert str(limit) in caught.value.message


async def test_a_body_that_says_it_is_too_large_is_not_waited_for() -> None:
    async def receive() -> Message:
        raise AssertionError("it was read")

    with pytest.raises(BodyTooLarge):
        await read_body(declared(11), receive, 10)


async def test_a_body_that_does_not_end_is_read_no_further_than_the_limit() -> None:
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    with pytest.raises(BodyTooLarge):
        await read_body(declared(None), receive, 100)
    assert read == 11


@pytest.mark.parametrize("parts", [(), (b"ha", b"lf")])
async def test_a_client_that_leaves_within_its_body_has_left(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(ClientLeft):
        await read_body(declared(None), arriving(*parts, leaves=True), 100)


async def test_a_client_that_left_is_told_nothing_and_is_counted() -> None:
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, await read_body(scope, receive, 100))

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    counted: list[int] = []
    with capture_logs() as logs:
        await Edge(reading, count=counted.append)(scope(), arriving(b"ha", leaves=True), send)
    assert (sent, counted, logs) == ([], [499], [])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[]", "an array"),
        (b'"x"', "a string"),
        (b"true", "a boolean"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"null", "null"),
    ],
)
def test_json_that_is_no_object_is_named(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_object(body)
    assert caught.value.message == f"The JSON body of your request must be an object, but it is {kind}."
