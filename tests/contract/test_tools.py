"""Tools and formats of answers on a real model whose chat template knows none of them."""

import json
from typing import Any

import openai
import pytest
from jsonschema import Draft202012Validator
from openai.types.chat import ChatCompletionChunk

from service import Service
from specification import assert_valid

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER = {"name": "get_weather", "description": "The weather of a city", "parameters": SCHEMA}
TIME = {
    "name": "get_time",
    "parameters": {
        "type": "object",
        "properties": {"zone": {"type": "string", "maxLength": 20}},
        "required": ["zone"],
        "additionalProperties": False,
    },
}
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}, {"type": "function", "function": TIME}]
SCHEMAS = {"get_weather": SCHEMA, "get_time": TIME["parameters"]}
ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


def ask(service: Service, **fields: Any) -> dict[str, Any]:
    """The whole answer, held against OpenAI's schema and against the fold of the same answer as a stream."""
    request: dict[str, Any] = {
        "model": "SmolLM2-135M-Instruct",
        "messages": ASKED,
        "temperature": 0,
        "max_tokens": 160,
        **fields,
    }
    client = service.client()
    whole = client.chat.completions.create(**request).model_dump(exclude_unset=True)
    assert_valid("CreateChatCompletionResponse", whole)
    chunks = list(client.chat.completions.create(**request, stream=True))
    message, finish_reason = fold(chunks)
    assert without_ids(message) == without_ids(whole["choices"][0]["message"])
    assert finish_reason == whole["choices"][0]["finish_reason"]
    return whole["choices"][0]


def fold(chunks: list[ChatCompletionChunk]) -> tuple[dict[str, Any], str | None]:
    """The message of a stream, as an application puts it together."""
    message: dict[str, Any] = {}
    finish_reason = None
    for chunk in chunks:
        assert_valid("CreateChatCompletionStreamResponse", chunk.model_dump(exclude_unset=True))
        (choice,) = chunk.choices
        delta = choice.delta.model_dump(exclude_unset=True)
        for piece in delta.pop("tool_calls", None) or []:
            calls = message.setdefault("tool_calls", [])
            if piece["index"] == len(calls):
                assert piece["function"]["name"], "a call's name comes whole, in its first delta"
                calls.append({"id": piece["id"], "type": piece["type"], "function": piece["function"]})
            else:
                calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
        if piece := delta.pop("function_call", None):
            call = message.setdefault("function_call", {"name": piece.get("name"), "arguments": ""})
            call["arguments"] += piece["arguments"]
        if delta.get("content") is not None:
            delta["content"] = (message.get("content") or "") + delta["content"]
        message.update(delta)
        finish_reason = choice.finish_reason or finish_reason
    return message, finish_reason


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    calls = [{**call, "id": None} for call in message.get("tool_calls") or []]
    return {**message, "tool_calls": calls}


def assert_calls_are_valid(message: dict[str, Any]) -> None:
    for call in message["tool_calls"]:
        arguments = json.loads(call["function"]["arguments"])
        Draft202012Validator(SCHEMAS[call["function"]["name"]]).validate(arguments)


def test_a_required_call_is_valid_and_has_no_markup(embedded: Service) -> None:
    choice = ask(embedded, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert len(choice["message"]["tool_calls"]) == 1
    assert_calls_are_valid(choice["message"])


@pytest.mark.parametrize("name", ["get_weather", "get_time"])
def test_a_named_function_is_the_one_that_is_called(embedded: Service, name: str) -> None:
    choice = ask(embedded, tools=TOOLS, tool_choice={"type": "function", "function": {"name": name}})
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == [name]
    assert_calls_are_valid(choice["message"])


def test_several_calls_have_an_index_and_an_id_each(embedded: Service) -> None:
    choice = ask(embedded, tools=TOOLS, tool_choice="required", max_tokens=400)
    calls = choice["message"]["tool_calls"]
    assert len({call["id"] for call in calls}) == len(calls) >= 1
    if choice["finish_reason"] == "tool_calls":
        assert_calls_are_valid(choice["message"])


def test_the_model_may_answer_in_words_unless_it_must_call(embedded: Service) -> None:
    hello: list[Any] = [{"role": "user", "content": "Say hello."}]
    choice = ask(embedded, messages=hello, tools=TOOLS, tool_choice="auto", max_tokens=20)
    message = choice["message"]
    if message.get("tool_calls"):
        assert_calls_are_valid(message)
    else:
        assert message["content"]
        assert "<tool_call>" not in message["content"]


def test_none_means_words(embedded: Service) -> None:
    choice = ask(embedded, tools=TOOLS, tool_choice="none", max_tokens=20)
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["content"]


def test_the_older_functions_answer_in_their_own_field(embedded: Service) -> None:
    choice = ask(embedded, functions=[WEATHER, TIME], function_call={"name": "get_weather"})
    assert choice["finish_reason"] == "function_call"
    call = choice["message"]["function_call"]
    assert call["name"] == "get_weather"
    Draft202012Validator(SCHEMA).validate(json.loads(call["arguments"]))


def test_a_conversation_with_a_call_and_its_result_goes_on(embedded: Service) -> None:
    first = ask(embedded, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)["message"]
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "Sunny, 20 degrees"}
    choice = ask(embedded, messages=[*ASKED, first, result], tools=TOOLS, tool_choice="none", max_tokens=20)
    assert choice["message"]["content"]


def test_an_answer_holds_to_a_schema_that_llama_cpp_alone_would_not(embedded: Service) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 100}},
        "required": ["n"],
        "additionalProperties": False,
    }
    named = {"name": "number", "strict": True, "schema": schema}
    choice = ask(embedded, response_format={"type": "json_schema", "json_schema": named})
    assert choice["finish_reason"] == "stop"
    Draft202012Validator(schema).validate(json.loads(choice["message"]["content"]))


def test_json_object_gives_an_object(embedded: Service) -> None:
    choice = ask(embedded, response_format={"type": "json_object"}, max_tokens=400)
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_a_schema_that_cannot_be_compiled_is_refused_with_its_place(embedded: Service) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    named: Any = {"name": "x", "strict": True, "schema": schema}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(embedded, response_format={"type": "json_schema", "json_schema": named})
    assert caught.value.param == "response_format.json_schema.schema"
    assert "not" in caught.value.message
