"""Families of servers through the service: what each does in its own way reaches the client in OpenAI's."""

import json
from typing import Any

import openai
import pytest

from catalogues import FAMILIES
from scripted_answers import (
    DONE,
    chat_answer,
    chat_events,
    completion_answer,
    event,
    json_answer,
    sse_answer,
)
from scripted_upstream import ScriptedUpstream
from service import Service
from specification import assert_valid

BOTH = pytest.mark.parametrize("stream", [False, True])
ENGINES = [name for name in FAMILIES if name != "generic"]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def chat(family: str, **fields: Any) -> dict[str, Any]:
    return {"model": f"{family}-model", "messages": [{"role": "user", "content": "x"}]} | fields


def completion(family: str, **fields: Any) -> dict[str, Any]:
    return {"model": f"{family}-model", "prompt": "x"} | fields


# Requests


@pytest.mark.parametrize("family", ENGINES)
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v2/chat/completions", {"store": True}),
        ("/v2/chat/completions", {"functions": [{"name": "f", "parameters": {"type": "object"}}]}),
        ("/v2/chat/completions", {"modalities": ["text", "audio"]}),
        ("/v2/completions", {"best_of": 2}),
    ],
    ids=str,
)
def test_what_the_engine_would_ignore_is_refused_before_it_is_asked(
    scripted: Service, upstream: ScriptedUpstream, family: str, path: str, field: dict[str, Any]
) -> None:
    body = chat(family, **field) if "chat" in path else completion(family, **field)
    error = assert_valid("ErrorResponse", scripted.post(path, body).json)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_parameter")
    assert error["param"] in field
    assert upstream.requests == []


def test_llama_server_is_not_asked_for_a_named_function_that_it_would_not_choose(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.default(chat_answer("Hello"))
    named = {"type": "function", "function": {"name": "weather"}}
    create: Any = scripted_client.chat.completions.create
    with pytest.raises(openai.BadRequestError) as caught:
        create(**chat("llama-server", tools=[WEATHER], tool_choice=named))
    assert (caught.value.param, caught.value.code) == ("tool_choice", "unsupported_parameter")
    create(**chat("llama-server", tools=[WEATHER], tool_choice="required"))
    create(**chat("vllm", tools=[WEATHER], tool_choice=named))
    assert [request.json["tool_choice"] for request in upstream.requests] == ["required", named]


@pytest.mark.parametrize("field", [{"echo": True}, {"logprobs": 2}, {"suffix": "!"}], ids=str)
def test_llama_server_is_not_asked_for_a_completion_that_it_cannot_give(
    scripted: Service, upstream: ScriptedUpstream, field: dict[str, Any]
) -> None:
    reply = scripted.post("/v2/completions", completion("llama-server", **field))
    assert (reply.status, reply.error["param"], upstream.requests) == (400, *field, [])


@pytest.mark.parametrize(("family", "limit"), [("llama-server", 16), ("vllm", None), ("generic", None)])
def test_a_completion_that_names_no_limit_is_as_short_as_openais(
    scripted: Service, upstream: ScriptedUpstream, family: str, limit: int | None
) -> None:
    upstream.answer(completion_answer("x"))
    assert scripted.post("/v2/completions", completion(family)).status == 200
    assert upstream.requests[0].json.get("max_tokens") == limit


@pytest.mark.parametrize(("family", "role"), [("sglang", "system"), ("vllm", "developer"), ("generic", "developer")])
def test_a_developers_message_is_read_by_every_engine(
    scripted: Service, upstream: ScriptedUpstream, family: str, role: str
) -> None:
    upstream.answer(chat_answer("x"))
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "x"}]
    assert scripted.post("/v2/chat/completions", chat(family, messages=messages)).status == 200
    assert upstream.requests[0].json["messages"] == [{"role": role, "content": "Be brief."}, messages[1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_null_is_left_out(scripted: Service, upstream: ScriptedUpstream, family: str) -> None:
    upstream.answer(completion_answer("x"))
    body = completion(family, max_tokens=4)
    assert scripted.post("/v2/completions", body | {"n": None, "echo": None, "stream": None}).status == 200
    assert upstream.requests[0].json == body | {"model": f"org/{family}-model"}


# Answers


def test_vllms_thoughts_stream_under_the_promised_name(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    role, answer, *rest = chat_events(["Hello"])
    thought = json.loads(answer.removeprefix(b"data: "))
    thought["choices"][0]["delta"] = {"reasoning": 'It says "reasoning": …'}
    upstream.default(sse_answer([role, event(thought), answer, *rest, DONE]))
    create: Any = scripted_client.chat.completions.create
    deltas = [chunk.choices[0].delta for chunk in create(**chat("vllm", stream=True))]
    assert [delta.reasoning_content for delta in deltas if hasattr(delta, "reasoning_content")] == [
        'It says "reasoning": …'
    ]
    assert not any(hasattr(delta, "reasoning") for delta in deltas)


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("vllm", "reasoning"),
        ("vllm", "reasoning_content"),
        ("sglang", "reasoning_content"),
        ("llama-server", "reasoning_content"),
    ],
)
def test_thoughts_of_a_whole_answer_have_the_promised_name(
    scripted: Service, upstream: ScriptedUpstream, family: str, key: str
) -> None:
    body = json.loads(b"".join(step for step in chat_answer("Hello").steps if isinstance(step, bytes)))
    body["choices"][0]["message"][key] = "Hm."
    upstream.answer(json_answer(body))
    answer = scripted.post("/v2/chat/completions", chat(family)).json
    assert answer["choices"][0]["message"].pop("reasoning_content") == "Hm."
    assert_valid("CreateChatCompletionResponse", answer)  # nothing else that OpenAI does not know


# Errors


def flat(message: str, type: str = "BadRequestError", code: int = 400) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": type, "param": None, "code": code}


VLLM = (
    "This model's maximum context length is 512 tokens. However, your prompt contains 1231 input tokens, which exceeds "
    "this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, "
    "value=1231)"
)
SGLANG = "The input (1231 tokens) is longer than the model's context length (512 tokens)."
LLAMA_SERVER = {
    "code": 400,
    "message": "request (1231 tokens) exceeds the available context size (512 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 1231,
    "n_ctx": 512,
}
TOO_LONG = [
    ("vllm", {"error": flat(VLLM) | {"param": "input_tokens"}}),
    ("sglang", flat(SGLANG)),
    ("llama-server", {"error": LLAMA_SERVER}),
    ("generic", flat(SGLANG)),
    ("generic", {"error": flat(VLLM)}),
]


@pytest.mark.parametrize("field", ["messages", "prompt"])
@pytest.mark.parametrize(("family", "body"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_told_alike_by_every_engine(
    scripted: Service, upstream: ScriptedUpstream, family: str, body: Any, field: str
) -> None:
    upstream.answer(json_answer(body, status=400))
    if field == "messages":
        reply = scripted.post("/v2/chat/completions", chat(family, stream=True))
    else:
        reply = scripted.post("/v2/completions", completion(family))
    assert reply.status == 400
    assert assert_valid("ErrorResponse", reply.json)["error"] == {
        "message": f"This model's maximum context length is 512 tokens. However, your {field} resulted in 1231 tokens. "
        f"Please reduce the length of the {field}.",
        "type": "invalid_request_error",
        "param": field,
        "code": "context_length_exceeded",
    }


def test_sglangs_overflow_as_the_first_event_of_a_stream_keeps_its_status(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.answer(sse_answer([event({"error": flat(SGLANG)}), DONE]))
    reply = scripted.post("/v2/chat/completions", chat("sglang", stream=True))
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")


def test_an_image_for_a_llama_server_that_cannot_see_is_the_callers_fault(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    message = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    upstream.answer(json_answer({"error": {"code": 500, "message": message, "type": "server_error"}}, status=500))
    reply = scripted.post("/v2/chat/completions", chat("llama-server"))
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "messages", "unsupported_value")


@BOTH
@pytest.mark.parametrize(
    ("family", "body"),
    [
        ("vllm", {"error": flat("The model `org/vllm-model` does not exist.", "NotFoundError", 404)}),
        ("sglang", flat("Not Found", "404", 404)),
        ("generic", {"detail": "Not Found"}),
    ],
)
def test_a_model_that_the_upstream_does_not_have_is_the_operators_fault(
    scripted: Service, upstream: ScriptedUpstream, family: str, body: Any, stream: bool
) -> None:
    upstream.answer(json_answer(body, status=404))
    reply = scripted.post("/v2/chat/completions", chat(family, stream=stream))
    error = assert_valid("ErrorResponse", reply.json)["error"]
    assert (reply.status, error["type"], error["code"]) == (502, "server_error", "upstream_model_not_found")
    assert "org/" not in error["message"]


@pytest.mark.parametrize(
    ("family", "status", "body"),
    [
        (
            "vllm",
            400,
            {"error": flat("1 validation error: …", "Bad Request") | {"param": "body.messages.0.content"}},
        ),
        ("generic", 422, {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Input should be a string"}]}),
    ],
)
def test_a_validators_refusal_names_the_field_as_openai_does(
    scripted: Service, upstream: ScriptedUpstream, family: str, status: int, body: Any
) -> None:
    upstream.answer(json_answer(body, status=status))
    reply = scripted.post("/v2/chat/completions", chat(family))
    error = assert_valid("ErrorResponse", reply.json)["error"]
    assert (reply.status, error["type"], error["code"]) == (status, "invalid_request_error", None)
    assert error["param"] == "messages[0].content"
    assert error["message"]
