"""A model whose server speaks Responses itself: the request reaches it whole, and its events reach the client."""

import json
import time
from dataclasses import replace
from typing import Any

import openai
import pytest

from native_answers import (
    PATH as UPSTREAM_PATH,
)
from native_answers import (
    SEALED,
    UPSTREAM_ID,
    answering,
    asked,
    event,
    function_call,
    message,
    reasoning,
    web_search,
)
from responding import PATH, error_of, output_text, respond, streamed, usage_records
from scripted_answers import Answer, Close, Hang, Pause, error_answer, json_answer, sse_answer
from scripted_upstream import Request, ScriptedUpstream
from service import Service

MODEL = "gpt-4.1-native"
THINKING = "gpt-5-native"
BOTH = pytest.mark.parametrize("stream", [False, True])
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
SAID = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}], "status": "completed"}]


def made(service: Service, stream: bool, input: object = "Hi", **fields: Any) -> dict[str, Any]:
    fields = {"model": MODEL} | fields
    return streamed(service, input, **fields)[-1]["response"] if stream else respond(service, input, **fields)


# The official package


def test_a_text_is_read_with_the_official_package(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(message("One, ", "two.")))
    answer = scripted_client.responses.create(model=MODEL, input="Count.")
    assert answer.output_text == "One, two."
    assert upstream.requests[0].path == UPSTREAM_PATH
    assert upstream.requests[0].headers["authorization"] == "Bearer sk-upstream-0123456789"


def test_instructions_and_settings_with_the_official_package(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.answer(answering(message("Arr.")))
    answer = scripted_client.responses.create(
        model=MODEL, instructions="Talk like a pirate.", input="Hi", temperature=0.1, max_output_tokens=64
    )
    assert answer.output[0].content[0].text == "Arr."  # type: ignore[union-attr]
    sent = asked(upstream.requests[0])
    assert sent == {
        "instructions": "Talk like a pirate.",
        "input": SAID,
        "temperature": 0.1,
        "max_output_tokens": 64,
    }
    assert (answer.instructions, answer.temperature, answer.max_output_tokens) == ("Talk like a pirate.", 0.1, 64)


def test_a_stream_is_read_with_the_official_package(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(reasoning("Easy."), web_search("weather"), message("It ", "rains.")))
    with scripted_client.responses.stream(model=THINKING, input="Weather?", tools=[{"type": "web_search"}]) as stream:
        deltas = [one.delta for one in stream if one.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert deltas == ["It ", "rains."]
    assert [item.type for item in final.output] == ["reasoning", "web_search_call", "message"]


# What is asked


@BOTH
def test_a_request_reaches_the_server_whole(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(answering(message("Yes.")))
    tools = [
        WEATHER,
        {"type": "web_search", "search_context_size": "high"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "a", "server_url": "https://mcp.example/x", "authorization": "secret"},
    ]
    fields = {
        "tools": tools,
        "tool_choice": {"type": "web_search_preview"},
        "include": ["web_search_call.action.sources"],
        "service_tier": "flex",
        "truncation": "auto",
        "prompt": {"id": "pmpt_1", "variables": {"city": "Bern"}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "prompt_cache_key": "k",
        "max_tool_calls": 3,
        "moderation": {"model": "omni-moderation-latest"},
    }
    served = {"metadata": {"ticket": "7"}, "store": False, "client_metadata": {"session": "a"}}
    answer = made(scripted, stream, **fields, **served)
    sent = asked(upstream.requests[0])
    assert sent == {**fields, "input": SAID}
    assert (answer["metadata"], answer["store"], answer["model"]) == ({"ticket": "7"}, False, MODEL)
    assert (answer["service_tier"], answer["truncation"]) == ("flex", "auto")
    assert answer["tools"][1]["user_location"]["country"] == "US"  # as the server took it
    assert "secret" not in json.dumps(answer)


def test_a_prompt_of_the_vendor_needs_no_input(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(message("Yes.")))
    assert output_text(respond(scripted, None, model=MODEL, prompt={"id": "pmpt_1"})) == "Yes."
    assert asked(upstream.requests[0]) == {"input": [], "prompt": {"id": "pmpt_1"}}


def test_a_reference_to_nothing_is_refused_here(scripted: Service, upstream: ScriptedUpstream) -> None:
    items = [{"type": "item_reference", "id": "msg_x"}, {"role": "user", "content": "x"}]
    error = error_of(scripted.post(PATH, {"model": MODEL, "input": items}), 404)
    assert error["param"] == "input[0]"
    assert upstream.requests == []


def test_a_chat_still_goes_to_the_chats_address(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(json_answer({"choices": []}))
    scripted.post("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "x"}]})
    assert upstream.requests[0].path == "/v1/chat/completions"


# What is told


@BOTH
def test_no_id_of_the_servers_is_told_but_those_of_encrypted_items(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    upstream.answer(answering(reasoning("Hm."), web_search("x"), function_call("call_1", "weather", '{"a":1}')))
    if stream:
        told = streamed(scripted, "Hi", model=THINKING, tools=[WEATHER])
        answer = told[-1]["response"]
    else:
        told = answer = respond(scripted, "Hi", model=THINKING, tools=[WEATHER])
    shown = json.dumps(told)
    assert UPSTREAM_ID not in shown and "ws_0a1" not in shown and "fc_0a1" not in shown
    kinds = [(item["type"], item["id"].partition("_")[0]) for item in answer["output"]]
    assert kinds == [("reasoning", "rs"), ("web_search_call", "ws"), ("function_call", "fc")]
    assert answer["output"][0]["id"] == "rs_0a1"
    assert answer["output"][2]["call_id"] == "call_1"


def test_events_come_as_the_server_tells_them(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(message("One", " two", " three")))
    told = streamed(scripted, "Count.", model=MODEL, stream_options={"include_obfuscation": False})
    assert [one["type"] for one in told] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert not any("obfuscation" in one for one in told)
    assert upstream.requests[0].json["stream_options"] == {"include_obfuscation": False}


def test_lengths_are_hidden_as_the_client_wants_it(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(message("One", " two")))
    deltas = [one for one in streamed(scripted, "Count.", model=MODEL) if one["type"].endswith(".delta")]
    assert {len(one["delta"]) + len(one["obfuscation"]) for one in deltas} == {16}


@BOTH
def test_an_answer_that_was_cut_is_incomplete(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(answering(message("Once"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}))
    answer = made(scripted, stream, max_output_tokens=16)
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


@BOTH
def test_what_was_used_is_recorded(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(answering(message("Yes.")))
    answer = made(scripted, stream)
    assert answer["usage"]["input_tokens_details"]["cached_tokens"] == 4
    [record] = usage_records(scripted, answer["id"])
    counted = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "tokens_known", "outcome")
    assert [record[name] for name in counted] == [21, 4, 13, 7, True, "completed"]
    assert (record["endpoint"], record["model"]) == ("responses", MODEL)
    assert answer["completed_at"] >= answer["created_at"]  # though the server's clock is years behind


# Reasoning


@pytest.mark.parametrize(
    ("model", "fields", "included"),
    [
        (THINKING, {}, True),
        (THINKING, {"store": False}, False),
        (MODEL, {}, False),
        (MODEL, {"reasoning": {"effort": "low"}}, True),
        (MODEL, {"store": False, "include": ["reasoning.encrypted_content"]}, True),
        (THINKING, {"include": ["reasoning.encrypted_content"]}, True),
    ],
)
def test_reasoning_is_asked_for_where_it_may_go_on(
    scripted: Service, upstream: ScriptedUpstream, model: str, fields: dict[str, Any], included: bool
) -> None:
    upstream.answer(answering(reasoning(), message("Yes.")))
    answer = respond(scripted, "Hi", model=model, **fields)
    assert upstream.requests[0].json.get("include", []) == ["reasoning.encrypted_content"] * included
    assert answer["output"][0].get("encrypted_content") == (SEALED if included else None)


@BOTH
def test_a_model_that_cannot_encrypt_is_asked_without(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    refusal = error_answer(400, "Encrypted content is not supported with this model.", param="include")
    upstream.answer(refusal, answering(message("Yes.")))
    assert output_text(made(scripted, stream, model=THINKING)) == "Yes."
    assert [("include" in request.json) for request in upstream.requests] == [True, False]


def test_who_asks_for_it_himself_is_told_the_refusal(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(error_answer(400, "Encrypted content is not supported with this model.", param="include"))
    fields = {"model": MODEL, "input": "Hi", "include": ["reasoning.encrypted_content"]}
    assert error_of(scripted.post(PATH, fields), 400)["param"] == "include"


# Failures


@BOTH
@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_refusal_keeps_its_status(scripted: Service, upstream: ScriptedUpstream, status: int, stream: bool) -> None:
    upstream.answer(error_answer(status, "No.", param="tools[0].container", code="missing"))
    error = error_of(
        scripted.post(PATH, {"model": MODEL, "input": "x", "stream": stream}), 502 if status == 500 else status
    )
    if status != 500:
        assert (error["param"], error["code"], error["message"]) == ("tools[0].container", "missing", "No.")


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"code": "rate_limit_exceeded", "message": "Slow down.", "param": None}, 429),
        ({"code": "context_length_exceeded", "message": "Too long.", "param": "input"}, 400),
        ({"code": "server_error", "message": "Oh.", "param": None}, 502),
        ({"error": {"type": "invalid_request_error", "message": "No.", "param": None, "code": None}}, 400),
    ],
)
def test_an_error_in_place_of_the_first_event_keeps_its_status(
    scripted: Service, upstream: ScriptedUpstream, told: dict[str, Any], status: int
) -> None:
    upstream.answer(sse_answer([event({"type": "error", "sequence_number": 0, **told})]))
    error_of(scripted.post(PATH, {"model": MODEL, "input": "x", "stream": True}), status)


@pytest.mark.parametrize(
    ("then", "code"),
    [
        ([Close()], "server_error"),
        ([event({"type": "error", "code": "server_error", "message": "Oh.", "param": None})], "server_error"),
        (
            [event({"type": "error", "code": "rate_limit_exceeded", "message": "No.", "param": None})],
            "rate_limit_exceeded",
        ),
        ([b"event: x\ndata: {nonsense\n\n"], "server_error"),
        ([b'event: x\ndata: {"type":"response.output_text.delta","output_index":1}\n\n'], "server_error"),
        ([], "server_error"),
    ],
    ids=["closed", "error", "limit", "no JSON", "no event", "no end"],
)
@pytest.mark.parametrize("item", [message("Half ", "an answer"), function_call("c", "weather", '{"a": 1}')])
def test_a_stream_that_breaks_off_ends_as_failed(
    scripted: Service, upstream: ScriptedUpstream, then: list[Any], code: str, item: dict[str, Any]
) -> None:
    upstream.answer(answering(reasoning("Hm."), item, then=then))
    told = streamed(scripted, "Hi", model=MODEL, tools=[WEATHER])
    answer = told[-1]["response"]
    assert (told[-1]["type"], answer["error"]["code"]) == ("response.failed", code)
    assert answer["output"][1]["status"] == "incomplete"
    assert answer["output"][1].get("arguments", "Half an answer") in {'{"a": 1}', "Half an answer"}
    [record] = usage_records(scripted, answer["id"])
    assert (record["outcome"], record["error_code"]) == ("failed", code)
    assert scripted.request("GET", f"{PATH}/{answer['id']}").json == answer


@BOTH
def test_a_response_that_failed_there_has_failed_here(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    upstream.answer(answering(status="failed", error={"code": "invalid_image", "message": "No image."}))
    answer = made(scripted, stream)
    assert (answer["status"], answer["error"]) == ("failed", {"code": "invalid_image", "message": "No image."})
    assert usage_records(scripted, answer["id"])[0]["outcome"] == "failed"


@pytest.mark.parametrize("body", [b"[]", b"{}", b"no", b'{"status": "completed", "output": 1}'])
def test_a_body_that_is_no_response_is_the_servers_fault(
    scripted: Service, upstream: ScriptedUpstream, body: bytes
) -> None:
    upstream.answer(Answer([body]))
    assert error_of(scripted.post(PATH, {"model": MODEL, "input": "x"}), 502)["code"] == "upstream_error"


@BOTH
def test_a_client_that_leaves_cancels_the_work_there(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    upstream.answer(answering(message("Half ", "an answer"), pause=[Hang()]) if stream else sse_answer([b"", Hang()]))
    with scripted.send("POST", PATH, {"model": MODEL, "input": "Hi", "stream": stream}) as exchange:
        if stream:
            next(exchange.events())
        else:
            upstream.wait_requests(1)
    upstream.wait_closed(timeout_s=2)


def test_events_that_only_keep_the_connection_alive_are_not_told(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(
        answering(message("a", "b"), pause=[b'event: keepalive\ndata: {"type":"keepalive"}\n\n', b": hi\n\n"])
    )
    assert output_text(streamed(scripted, "Hi", model=MODEL)[-1]["response"]) == "ab"


def test_the_connection_is_used_again(scripted: Service, upstream: ScriptedUpstream) -> None:
    def ending_late(request: Request) -> Answer:
        answer = answering(message("Yes."))(request)
        return replace(answer, steps=[*answer.steps, Pause(0.1)])

    upstream.default(ending_late)
    for _ in range(3):
        streamed(scripted, "Hi", model=MODEL)
        time.sleep(0.2)
    assert upstream.connections == 1
    assert upstream.abandoned == []
