"""Models behind an upstream: what it is asked, and that its bytes arrive as it sent them."""

import json
from typing import Any

import openai
import pytest

from scripted_answers import (
    DONE,
    Answer,
    Barrier,
    Framing,
    chat_answer,
    chat_events,
    chat_stream,
    completion_answer,
    completion_stream,
    event,
    json_answer,
    split_at,
    sse_answer,
    usage,
)
from scripted_upstream import ScriptedUpstream
from service import Service
from specification import assert_valid, assert_valid_stream

MESSAGES: Any = [{"role": "user", "content": "Grüezi 🙂"}]
TEXTS = ["Grü", "ezi", " 🙂", "\n\ndata: [DONE]\n\n", ' "usage": {"model": "x"}', ""]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4.1", "messages": MESSAGES} | fields


def wire(answer: Answer) -> bytes:
    return b"".join(step for step in answer.steps if isinstance(step, bytes))


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize("name", ["gpt-4.1", "best"])
def test_an_answer_arrives_byte_for_byte_under_the_name_that_was_asked(
    scripted: Service, upstream: ScriptedUpstream, base: str, name: str
) -> None:
    upstream.answer(chat_answer("".join(TEXTS)))
    reply = scripted.post(f"{base}/chat/completions", chat(model=name))
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert_valid("CreateChatCompletionResponse", reply.json)
    assert reply.body == wire(chat_answer("".join(TEXTS), model=name))


@pytest.mark.parametrize("asked", [False, True])
def test_a_stream_arrives_byte_for_byte_with_its_usage_only_when_asked(
    scripted: Service, upstream: ScriptedUpstream, asked: bool
) -> None:
    upstream.answer(chat_stream(TEXTS, usage=True))
    options = {"stream_options": {"include_usage": asked}}
    reply = scripted.post("/v2/chat/completions", chat(stream=True, **options))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert_valid_stream("chat", reply.body, usage=asked)
    assert reply.body == wire(chat_stream(TEXTS, model="gpt-4.1", usage=asked))
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("asked", [False, True])
def test_a_usage_that_rides_on_the_last_choice_is_taken_off_unless_asked_for(
    scripted: Service, upstream: ScriptedUpstream, asked: bool
) -> None:
    *events, last = chat_events(["Hello"])
    with_usage = json.loads(last.removeprefix(b"data: ")) | {"usage": usage(9, 5)}
    upstream.answer(sse_answer([*events, event(with_usage), DONE]))
    reply = scripted.post("/v2/chat/completions", chat(stream=True, stream_options={"include_usage": asked}))
    chunks = [json.loads(line[6:]) for line in reply.body.split(b"\n\n")[:-2]]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [asked]


def test_the_upstream_is_asked_with_its_own_model_and_key_and_all_that_the_client_said(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.answer(chat_answer("Hello"))
    said: dict[str, Any] = {
        "messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]}, *MESSAGES],
        "temperature": 0.1,
        "top_p": 0.9,
        "max_tokens": 256,
        "seed": 7,
        "stop": ["x"],
        "user": "somebody",
        "metadata": {"a": "b"},
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
        "logit_bias": {"50256": -100},
    }
    assert scripted.post("/v2/chat/completions", {"model": "best", **said}).status == 200
    [request] = upstream.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.json == {"model": "gpt-4.1-2025-04-14", **said}
    assert request.headers["authorization"] == f"Bearer {scripted.environment['UPSTREAM_KEY']}"
    assert request.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert request.headers["content-type"] == "application/json"
    assert scripted.key not in str(request)


def test_parameters_that_openai_does_not_know_reach_an_upstream_that_may_know_them(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.answer(chat_answer("Hello"))
    reply = scripted.post("/v2/chat/completions", chat(model="open-alias", top_k=5, min_p=0.1))
    assert reply.status == 200
    assert upstream.requests[0].json == {"model": "org/open-model", "messages": MESSAGES, "top_k": 5, "min_p": 0.1}


STREAM = chat_events(["Gr", "ü 🙂"], usage_asked=True)


def test_a_stream_cut_at_any_byte_arrives_whole(scripted: Service, upstream: ScriptedUpstream) -> None:
    steps = [*STREAM, DONE]
    expected = wire(chat_stream(["Gr", "ü 🙂"], model="gpt-4.1"))
    length = sum(map(len, steps))
    one = b"".join(steps)
    upstream.answer(*(sse_answer(split_at([one], offset)) for offset in range(1, length)))
    for offset in range(1, length):
        reply = scripted.post("/v2/chat/completions", chat(stream=True))
        assert reply.body == expected, f"cut at byte {offset}, {one[offset - 20 : offset]!r} | {one[offset:][:20]!r}"


def test_a_stream_that_comes_byte_by_byte_arrives_whole(scripted: Service, upstream: ScriptedUpstream) -> None:
    steps = [*STREAM, DONE]
    upstream.answer(
        sse_answer(split_at(steps, *range(10_000), pause_s=0)),
        Answer(steps, content_type="text/event-stream", framing="chunked", trickle=True),
    )
    for _ in range(2):
        reply = scripted.post("/v2/chat/completions", chat(stream=True))
        assert reply.body == wire(chat_stream(["Gr", "ü 🙂"], model="gpt-4.1"))


@pytest.mark.parametrize("framing", ["chunked", "content-length", "until-close"])
@pytest.mark.parametrize("trickle", [False, True])
def test_each_framing_of_an_answer_is_understood(
    scripted: Service, upstream: ScriptedUpstream, framing: Framing, trickle: bool
) -> None:
    upstream.answer(
        Answer(chat_answer("Hello").steps, framing=framing, trickle=trickle),
        Answer([*STREAM, DONE], content_type="text/event-stream", framing=framing, trickle=trickle),
    )
    assert_valid("CreateChatCompletionResponse", scripted.post("/v2/chat/completions", chat()).json)
    assert_valid_stream("chat", scripted.post("/v2/chat/completions", chat(stream=True)).body)


def test_lines_that_end_with_carriage_returns_are_understood(scripted: Service, upstream: ScriptedUpstream) -> None:
    one = b"".join([*STREAM, DONE]).replace(b"\n", b"\r\n")
    upstream.default(lambda request: sse_answer(split_at([one], request.json["seed"])))
    for offset in range(one.index(b"\r\n") - 1, one.index(b"\r\n") + 6):
        reply = scripted.post("/v2/chat/completions", chat(stream=True, seed=offset))
        assert_valid_stream("chat", reply.body)


def test_each_event_is_passed_on_as_soon_as_it_is_there(scripted: Service, upstream: ScriptedUpstream) -> None:
    role, *rest = chat_events(["Hello"])
    barriers = [Barrier() for _ in rest]
    upstream.answer(sse_answer([role, *(step for pair in zip(barriers, rest, strict=True) for step in pair), DONE]))
    with scripted.send("POST", "/v2/chat/completions", chat(stream=True)) as reply:
        events = reply.events()
        for barrier in barriers:
            assert next(events).startswith(b"data: {")
            assert barrier.reached.wait(5)
            barrier.release()
        assert list(events)[-1] == DONE


def test_raw_text_goes_to_an_open_model(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(completion_answer("Grüezi"), completion_stream(["Grü", "ezi"], usage=True))
    body: dict[str, Any] = {"model": "open-model", "prompt": "Once", "temperature": 0.2, "max_tokens": 128}
    reply = scripted.post("/v2/completions", body | {"stream": False})
    assert_valid("CreateCompletionResponse", reply.json)
    assert reply.body == wire(completion_answer("Grüezi", model="open-model"))
    streamed = scripted.post("/v2/completions", body | {"stream": True})
    assert_valid_stream("completions", streamed.body)
    assert streamed.body == wire(completion_stream(["Grü", "ezi"], model="open-model"))
    assert [request.target for request in upstream.requests] == ["/v1/completions"] * 2
    assert upstream.requests[0].json == body | {"model": "org/open-model", "stream": False}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["gpt-4.1", "best"])
def test_raw_text_for_a_bought_model_is_refused_and_the_chat_endpoint_named(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream, name: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError, match="/chat/completions") as caught:
        scripted_client.completions.create(model=name, prompt="Once upon a time", stream=stream)
    assert_valid("ErrorResponse", json.loads(caught.value.response.content))
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", "model")
    assert upstream.requests == []


def test_a_metadata_value_named_model_is_left_alone(scripted: Service, upstream: ScriptedUpstream) -> None:
    body = {"metadata": {"model": "a value"}} | json.loads(wire(chat_answer("Hello")))
    upstream.answer(json_answer(body))
    reply = scripted.post("/v2/chat/completions", chat())
    assert reply.json == body | {"model": "gpt-4.1"}


def test_an_informational_answer_before_the_real_one_is_skipped(scripted: Service, upstream: ScriptedUpstream) -> None:
    answer = chat_answer("Hello")
    upstream.answer(
        Answer([b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", answer.head(), *answer.steps], framing="raw")
    )
    assert_valid("CreateChatCompletionResponse", scripted.post("/v2/chat/completions", chat()).json)


def test_connections_to_the_upstream_are_used_again(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(lambda request: chat_stream(["Hello"]) if request.json.get("stream") else chat_answer("Hello"))
    for stream in (False, True, False, True):
        assert scripted.post("/v2/chat/completions", chat(stream=stream)).status == 200
    assert upstream.connections == 1
