"""Upstreams that refuse, break or fall silent: the real status before the first byte, one error frame after it."""

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from scripted_answers import (
    DONE,
    Answer,
    Barrier,
    Close,
    Hang,
    Reset,
    Step,
    chat_answer,
    chat_events,
    chat_stream,
    error_answer,
    event,
    json_answer,
    sse_answer,
)
from scripted_upstream import ScriptedUpstream
from service import Reply, Service
from specification import assert_valid, read_sse

pytestmark = pytest.mark.usefixtures("recovered")
BOTH = pytest.mark.parametrize("stream", [False, True])
EVENTS = chat_events(["Grü", "ezi"])


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}]} | fields


def error_of(reply: Reply, status: int) -> dict[str, Any]:
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    return assert_valid("ErrorResponse", reply.json)["error"]


@BOTH
@pytest.mark.parametrize(
    ("status", "seen"),
    [(400, 400), (404, 404), (409, 409), (422, 422), (429, 429), (500, 502), (502, 502), (503, 503), (504, 504)],
)
def test_an_early_error_keeps_its_status_and_its_words(
    scripted: Service, upstream: ScriptedUpstream, status: int, seen: int, stream: bool
) -> None:
    upstream.answer(error_answer(status, "Something about it.", type="some_error", param="messages", code="some_code"))
    error = error_of(scripted.post("/v2/chat/completions", chat(stream=stream)), seen)
    assert "Something about it." in error["message"]
    if seen < 500:
        assert (error["type"], error["param"], error["code"]) == ("some_error", "messages", "some_code")
    else:
        assert error["type"] == "server_error"


@BOTH
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_our_credential_is_not_the_callers_fault(
    scripted: Service, upstream: ScriptedUpstream, status: int, stream: bool
) -> None:
    upstream.answer(error_answer(status, "Incorrect API key provided: sk-ups…6789.", code="invalid_api_key"))
    error = error_of(scripted.post("/v2/chat/completions", chat(stream=stream)), 502)
    assert "sk-" not in error["message"]
    assert error["type"] == "server_error"


def test_a_rate_limit_says_when_to_come_back(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer(error_answer(429, "Slow down.").steps, status=429, headers=[("Retry-After", "7")]))
    reply = scripted.post("/v2/chat/completions", chat())
    error_of(reply, 429)
    assert reply.headers["retry-after"] == "7"


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Bad Request</body></html>",
        b"Bad Request",
        b'{"error": "Bad Request"}',
        b'{"error": {"message": "Bad Request", "code": 400}}',
        b'{"object": "error", "message": "Bad Request", "type": "BadRequestError", "param": null, "code": 400}',
        b'{"detail": "Bad Request"}',
        b'{"detail": [{"loc": ["body"], "msg": "Bad Request"}]}',
        b"[]",
        b"null",
        b'{"error": null}',
        b"\xff\xfe",
    ],
)
def test_an_error_in_any_shape_becomes_one_in_openais(
    scripted: Service, upstream: ScriptedUpstream, body: bytes, stream: bool
) -> None:
    upstream.answer(Answer([body], status=400))
    message = error_of(scripted.post("/v2/chat/completions", chat(stream=stream)), 400)["message"]
    assert message
    assert "<" not in message


@BOTH
@pytest.mark.parametrize(
    "steps",
    [[Close(), b"x"], [Reset(), b"x"], [b"", Close(), b"x"], [b"", Reset(), b"x"]],
    ids=["close", "reset", "close after the headers", "reset after the headers"],
)
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_connection_that_breaks_early_is_a_bad_gateway(
    scripted: Service, upstream: ScriptedUpstream, steps: Sequence[Step], framing: Any, stream: bool
) -> None:
    upstream.answer(Answer(steps, framing=framing))
    error_of(scripted.post("/v2/chat/completions", chat(stream=stream)), 502)


@BOTH
def test_what_is_no_http_is_a_bad_gateway(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(Answer([b"SSH-2.0-OpenSSH_9.2\r\n"], framing="raw"))
    error_of(scripted.post("/v2/chat/completions", chat(stream=stream)), 502)


@BOTH
def test_an_upstream_that_is_not_there_is_a_bad_gateway(scripted: Service, stream: bool) -> None:
    error_of(scripted.post("/v2/chat/completions", chat(model="unreachable-model", stream=stream)), 502)


@BOTH
@pytest.mark.parametrize("steps", [[Hang(), b"x"], [b"", Hang(), b"x"]], ids=["no headers", "headers only"])
def test_an_upstream_that_says_nothing_is_a_gateway_timeout(
    scripted: Service, upstream: ScriptedUpstream, steps: Sequence[Step], stream: bool
) -> None:
    upstream.answer(Answer(steps, framing="chunked"))
    error_of(scripted.post("/v2/chat/completions", chat(model="impatient-model", stream=stream)), 504)
    upstream.wait_closed(timeout_s=1)


def test_half_a_body_is_a_bad_gateway(scripted: Service, upstream: ScriptedUpstream) -> None:
    [body] = chat_answer("Hello").steps
    assert isinstance(body, bytes)
    upstream.answer(Answer([body[:100], Close(), body[100:]]), Answer([body[:100]]), json_answer("a text"))
    for _ in range(3):
        error_of(scripted.post("/v2/chat/completions", chat()), 502)


@BOTH
def test_an_error_under_status_200_gets_a_real_status(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    body = {"error": {"message": "It failed.", "type": "server_error", "param": None, "code": None}}
    upstream.answer(sse_answer([event(body)]) if stream else json_answer(body))
    reply = scripted.post("/v2/chat/completions", chat(stream=stream))
    assert "It failed." in error_of(reply, 502)["message"]


@pytest.mark.parametrize(
    "rest",
    [
        [Close()],
        [Reset()],
        [b'data: {"id": "chatcmpl-', Close()],
        [b"data: {", Reset()],
        [],
        [b"data: {"],
        [event({"error": {"message": "It failed.", "type": "server_error", "param": None, "code": None}})],
        [event({"error": {"message": "It failed.", "code": 500}}), DONE],
        [event({"error": "It failed."}), DONE],
        [b'data: {"error": nonsense}\n\n', DONE],
        [b'data: {"usage": nonsense}\n\n', DONE],
        [b'data: {"choices": [], "usage": "much"}\n\n', DONE],
        [b'data: {"choices": [], "usage": {"prompt_tokens": "many"}}\n\n', DONE],
    ],
    ids=[
        *("close", "reset", "cut and closed", "cut and reset", "no [DONE]", "cut"),
        *("error", "error and [DONE]", "error text", "no JSON in error", "no JSON in usage", "usage text", "odd usage"),
    ],
)
def test_a_stream_that_breaks_ends_with_one_error_frame_and_no_done(
    scripted: Service, upstream: ScriptedUpstream, rest: Sequence[Step]
) -> None:
    barrier = Barrier()
    upstream.answer(sse_answer([*EVENTS[:2], barrier, *rest]))
    with scripted.send("POST", "/v2/chat/completions", chat(stream=True)) as reply:
        assert reply.status == 200
        events = reply.events()
        begun = [next(events), next(events)]
        barrier.release()
        *before, frame = read_sse([*begun, *events])
    assert [json.loads(chunk)["choices"][0]["delta"].get("content") for chunk in before] == ["", "Grü"]
    error = assert_valid("ErrorResponse", json.loads(frame))["error"]
    assert error["type"] == "server_error"
    assert error["message"]


def test_a_stream_that_falls_silent_ends_with_one_error_frame(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(sse_answer([*EVENTS[:2], Hang()]))
    reply = scripted.post("/v2/chat/completions", chat(model="impatient-model", stream=True))
    *before, frame = read_sse(reply.body)
    assert len(before) == 2
    assert_valid("ErrorResponse", json.loads(frame))
    upstream.wait_closed(timeout_s=1)


def test_the_official_sdk_raises_at_the_error_frame(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.answer(sse_answer([*EVENTS[:2], Reset()]))
    stream = scripted_client.chat.completions.create(**chat(stream=True))
    read = []
    with pytest.raises(openai.APIError):
        for chunk in stream:
            read.append(chunk.choices[0].delta.content)  # noqa: PERF401 - a comprehension would lose what came first
    assert read == ["", "Grü"]


def test_a_failure_leaves_nothing_behind_for_the_next_request(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(
        sse_answer([*EVENTS[:2], b"data: {", Close()]),
        chat_stream(["Hello"]),
        Answer([b"x", Reset()]),
        chat_answer("Hello"),
    )
    assert scripted.post("/v2/chat/completions", chat(stream=True)).body.endswith(b"}}\n\n")
    assert scripted.post("/v2/chat/completions", chat(stream=True)).body.endswith(DONE)
    assert scripted.post("/v2/chat/completions", chat()).status == 502
    assert scripted.post("/v2/chat/completions", chat()).status == 200
