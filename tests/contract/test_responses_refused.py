"""What is wrong with a request of the Responses API is said in OpenAI's words; and what upstreams get wrong."""

from collections.abc import Sequence
from typing import Any

import openai
import pytest

from responding import PATH, asked, error_of, output_text, respond, retrieve, saying, streamed, usage_records
from scripted_answers import Answer, Close, Hang, Reset, Step, chat_events, error_answer, event, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Service

BOTH = pytest.mark.parametrize("stream", [False, True])
USER = {"role": "user", "content": "x"}
TOOL: dict[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "y"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}

# What is changed in a good request, and the `param` and the `code` of the refusal; None takes a field away.
TABLE: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    "no model": ({"model": None}, "model", "missing_required_parameter"),
    "a number as model": ({"model": 1}, "model", "invalid_type"),
    "no input": ({"input": None}, "input", "missing_required_parameter"),
    "a number as input": ({"input": 1}, "input", "invalid_type"),
    "an empty text": ({"input": ""}, "input", "missing_required_parameter"),
    "no items": ({"input": []}, "input", "missing_required_parameter"),
    "an unknown parameter": ({"inptu": "x"}, "inptu", "unknown_parameter"),
    "a chat's parameter": ({"messages": [USER]}, "messages", "unknown_parameter"),
    "a chat's limit": ({"max_tokens": 16}, "max_tokens", "unknown_parameter"),
    "a text as temperature": ({"temperature": "warm"}, "temperature", "invalid_type"),
    "a temperature too high": ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    "a temperature too low": ({"temperature": -0.1}, "temperature", "decimal_below_min_value"),
    "top_p too high": ({"top_p": 1.5}, "top_p", "decimal_above_max_value"),
    "too few tokens": ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value"),
    "half a token": ({"max_output_tokens": 16.5}, "max_output_tokens", "invalid_type"),
    "too many alternatives": ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
    "a text as stream": ({"stream": "yes"}, "stream", "invalid_type"),
    "a text as store": ({"store": "yes"}, "store", "invalid_type"),
    "a text as instructions' place": ({"instructions": ["x"]}, "instructions", "invalid_type"),
    "an unknown truncation": ({"truncation": "middle"}, "truncation", "invalid_value"),
    "an unknown inclusion": ({"include": ["thoughts"]}, "include[0]", "invalid_value"),
    "metadata of numbers": ({"metadata": {"a": 1}}, "metadata", "invalid_type"),
    "too much metadata": ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "object_above_max_properties"),
    "stream options without stream": ({"stream_options": {}}, "stream_options", None),
    "an unknown stream option": (
        {"stream": True, "stream_options": {"include_usage": True}},
        "stream_options.include_usage",
        "unknown_parameter",
    ),
    "an unknown effort": ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
    "an unknown format": ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
    "a schema without name": (
        {"text": {"format": {"type": "json_schema", "schema": {}}}},
        "text.format.name",
        "missing_required_parameter",
    ),
    "an unknown verbosity": ({"text": {"verbosity": "huge"}}, "text.verbosity", "invalid_value"),
    "an unknown type of item": ({"input": [{"type": "poem"}]}, "input[0].type", "invalid_value"),
    "an unknown role": ({"input": [USER, {"role": "poet", "content": "x"}]}, "input[1].role", "invalid_value"),
    "a message without content": ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
    "an unknown field of a message": ({"input": [USER | {"name": "x"}]}, "input[0].name", "unknown_parameter"),
    "an unknown part": (
        {"input": [{"role": "user", "content": [{"type": "input_smell"}]}]},
        "input[0].content[0].type",
        "invalid_value",
    ),
    "an answer's part of a user": (
        {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
        "input[0].content[0].type",
        "invalid_value",
    ),
    "a part without text": (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        "input[0].content[0].text",
        "missing_required_parameter",
    ),
    "an image of nothing": (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input[0].content[0]",
        "invalid_value",
    ),
    "an image for a system": (
        {"input": [{"role": "system", "content": [IMAGE]}]},
        "input[0].content[0].type",
        "unsupported_value",
    ),
    "an output without its call": ({"input": [OUTPUT]}, "input", None),
    "a call without its output": ({"input": [USER, CALL]}, "input", None),
    "an output without call_id": (
        {"input": [{"type": "function_call_output", "output": "x"}]},
        "input[0].call_id",
        "missing_required_parameter",
    ),
    "a tool of no type": ({"tools": [{"name": "f"}]}, "tools[0].type", "missing_required_parameter"),
    "an unknown tool": ({"tools": [TOOL, {"type": "spoon"}]}, "tools[1].type", "invalid_value"),
    "a tool that nobody runs": ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_value"),
    "a function without name": ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
    "a function with a bad name": ({"tools": [TOOL | {"name": "a b"}]}, "tools[0].name", "invalid_value"),
    "a chat's function": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, None, None),
    "an unknown choice": ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice", "invalid_value"),
    "both kinds of history": (
        {"previous_response_id": "resp_x", "conversation": "conv_x"},
        None,
        "mutually_exclusive_parameters",
    ),
    "a number as conversation": ({"conversation": 7}, "conversation", "invalid_type"),
    "a conversation without id": ({"conversation": {}}, "conversation.id", "missing_required_parameter"),
    "background that is not stored": (
        {"background": True, "store": False},
        "background",
        "invalid_parameter_combination",
    ),
    "a stored prompt": ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
    "moderation": ({"moderation": {"model": "m"}}, "moderation", "unsupported_parameter"),
}


@BOTH
@pytest.mark.parametrize("name", TABLE)
def test_what_is_wrong_is_said_by_name(scripted: Service, upstream: ScriptedUpstream, name: str, stream: bool) -> None:
    changes, param, code = TABLE[name]
    fields = asked("x") | ({"stream": stream} if "stream_options" not in changes else {}) | changes
    body = {field: value for field, value in fields.items() if value is not None}
    error = error_of(scripted.post(PATH, body), 400)
    if name == "a chat's function":
        assert error["param"] in {"tools[0].name", "tools[0].function"}
    else:
        assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert upstream.requests == []


UNKNOWN: dict[str, tuple[dict[str, Any], str, str]] = {
    "model": ({"model": "nobody"}, "model", "model_not_found"),
    "previous response": (
        {"previous_response_id": "resp_nobody"},
        "previous_response_id",
        "previous_response_not_found",
    ),
    "conversation": ({"conversation": "conv_nobody"}, "conversation", "conversation_not_found"),
    "conversation as an object": ({"conversation": {"id": "conv_nobody"}}, "conversation", "conversation_not_found"),
}


@pytest.mark.parametrize("path", [PATH, f"{PATH}/input_tokens"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_unknown_is_not_found(scripted: Service, upstream: ScriptedUpstream, name: str, path: str) -> None:
    fields, param, code = UNKNOWN[name]
    error = error_of(scripted.post(path, asked("x") | fields), 404)
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert upstream.requests == []


def test_a_reference_to_an_unknown_item_is_not_found(scripted: Service) -> None:
    error = error_of(scripted.post(PATH, asked([{"type": "item_reference", "id": "msg_nobody"}])), 404)
    assert error["param"] == "input[0]"


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("limit=-1", "limit"), ("order=up", "order")],
)
def test_a_page_that_cannot_be_is_refused(
    scripted: Service, upstream: ScriptedUpstream, query: str, param: str
) -> None:
    upstream.default(saying("Yes."))
    id = respond(scripted, "x")["id"]
    conversation = scripted.post("/v2/conversations", {}).json["id"]
    for path in (f"{PATH}/{id}/input_items", f"/v2/conversations/{conversation}/items"):
        error = error_of(scripted.request("GET", f"{path}?{query}"), 400)
        assert (error["param"], error["code"]) == (param, "invalid_value")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": {"a": 1}}, "metadata"),
        ({"items": [{"type": "poem"}]}, "items[0].type"),
        ({"items": [{"role": "user"}]}, "items[0].content"),
        ({"items": [USER] * 21}, "items"),
        ({"name": "x"}, "name"),
    ],
)
def test_a_bad_conversation_is_refused_by_name(scripted: Service, body: dict[str, Any], param: str) -> None:
    assert error_of(scripted.post("/v2/conversations", body), 400)["param"] == param


def test_methods_that_are_not_there(scripted: Service) -> None:
    for method, path in (("GET", PATH), ("PUT", f"{PATH}/resp_x"), ("GET", "/v2/conversations")):
        assert error_of(scripted.request(method, path), 405)["code"] == "method_not_allowed"


# Upstreams


@BOTH
@pytest.mark.parametrize(
    ("status", "seen"), [(400, 400), (404, 404), (422, 422), (429, 429), (401, 502), (500, 502), (503, 503)]
)
def test_an_early_error_keeps_its_status(
    scripted: Service, upstream: ScriptedUpstream, status: int, seen: int, stream: bool
) -> None:
    upstream.answer(error_answer(status, "About it.", param="max_completion_tokens", code="some_code"))
    error = error_of(scripted.post(PATH, asked("x", stream=stream)), seen)
    if seen < 500:
        assert (error["message"], error["code"]) == ("About it.", "some_code")
        assert error["param"] == "max_output_tokens", "named as this API names it"
    else:
        assert error["type"] == "server_error"


def test_the_official_package_raises_what_happened(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.default(error_answer(429, "Slow down.", type="requests", code="rate_limit_exceeded"))
    with pytest.raises(openai.RateLimitError):
        scripted_client.responses.create(model="gpt-4.1", input="x")
    with (
        pytest.raises(openai.RateLimitError),
        scripted_client.responses.stream(model="gpt-4.1", input="x") as stream,
    ):
        next(iter(stream))


BREAKS: dict[str, list[Step]] = {
    "closed": [*chat_events(["Hal", "f"])[:-1], Close(), b"x"],
    "reset": [*chat_events(["Hal", "f"])[:-1], Reset()],
    "an error frame": [
        *chat_events(["Hal", "f"])[:-1],
        event({"error": {"message": "It broke.", "type": "server_error", "param": None, "code": None}}),
    ],
    "no JSON": [*chat_events(["Hal", "f"])[:-1], b"data: {\n\n"],
    "no end": chat_events(["Hal", "f"])[:-1],
}


@pytest.mark.parametrize("name", BREAKS)
def test_an_answer_that_breaks_off_ends_its_stream_as_failed(
    scripted: Service, upstream: ScriptedUpstream, name: str
) -> None:
    upstream.answer(sse_answer(BREAKS[name]))
    *_, last = streamed(scripted, "x")
    assert last["type"] == "response.failed"
    response = last["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert (output_text(response), response["output"][0]["status"]) == ("Half", "incomplete")
    assert retrieve(scripted, response["id"]) == response
    [record] = usage_records(scripted, response["id"])
    assert record["outcome"] == "failed"


def test_an_upstream_that_falls_silent_ends_the_stream_as_failed(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(sse_answer([*chat_events(["Hal", "f"])[:-1], Hang()]))
    *_, last = streamed(scripted, "x", model="impatient-model")
    assert last["type"] == "response.failed"
    upstream.wait_closed(timeout_s=1)


def test_the_official_package_is_told_of_a_failure_in_the_stream(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.answer(sse_answer(BREAKS["closed"]))
    events = list(scripted_client.responses.create(model="gpt-4.1", input="x", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None


@pytest.mark.parametrize(
    "steps",
    [[Close(), b"x"], [Reset(), b"x"], [b"", Reset(), b"x"], [b"{", Close(), b"}"], [b"no JSON"], [b"{}"]],
    ids=["close", "reset", "reset after the headers", "half a body", "no JSON", "no choices"],
)
def test_a_whole_answer_that_breaks_is_a_bad_gateway(
    scripted: Service, upstream: ScriptedUpstream, steps: Sequence[Step]
) -> None:
    upstream.answer(Answer(steps))
    assert error_of(scripted.post(PATH, asked("x")), 502)["type"] == "server_error"


@BOTH
def test_an_upstream_that_is_not_there_is_a_bad_gateway(scripted: Service, stream: bool) -> None:
    error_of(scripted.post(PATH, asked("x", model="unreachable-model", stream=stream)), 502)


def test_after_a_failure_the_turn_before_can_be_gone_on_from(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(saying("Yes."), error_answer(500, "no"), saying("Well."))
    first = respond(scripted, "One?")["id"]
    error_of(scripted.post(PATH, asked("Two?", previous_response_id=first)), 502)
    assert output_text(respond(scripted, "Two?", previous_response_id=first)) == "Well."
    assert len(upstream.requests[2].json["messages"]) == 3


# What was used


@BOTH
def test_each_response_has_one_record_of_what_it_used(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    upstream.answer(saying("Hello."))
    response = streamed(scripted, "x")[-1]["response"] if stream else respond(scripted, "x", model="best")
    [record] = usage_records(scripted, response["id"])
    assert (record["endpoint"], record["model"], record["outcome"]) == ("responses", "gpt-4.1", "completed")
    assert (record["input_tokens"], record["output_tokens"], record["tokens_known"]) == (9, 6, True)
    assert record.get("stream", False) is stream
    assert record["asked_model"] == ("gpt-4.1" if stream else "best")


def test_a_request_that_was_refused_by_the_upstream_has_a_record(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(error_answer(500, "no"))
    reply = scripted.post(PATH, asked("x"))
    [record] = usage_records(scripted, reply.headers["x-request-id"])
    assert (record["outcome"], record["error_code"]) == ("failed", "upstream_error")
