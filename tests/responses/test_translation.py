"""A request of the Responses API as a chat: each parameter has its treatment, and nothing is dropped in silence."""

import json
from typing import Any

import pytest

from fundament.protocol.responses import ResponsesRequest
from fundament.responses.parameters import TREATMENTS
from fundament.responses.translation import responses_param
from responses.translated import refusal, said, translated
from specification import SPECIFICATIONS

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": "f", **fields}


def test_a_string_is_a_users_message() -> None:
    assert translated(input="Hello") == {"model": "m", "messages": [said("user", "Hello")]}


@pytest.mark.parametrize("others", [{}, {"instructions": "Be short."}, {"instructions": ""}])
@pytest.mark.parametrize("text", ["Hello", " ", "a\n\u00e9"])
def test_a_string_is_told_as_the_item_that_it_stands_for(text: str, others: dict[str, Any]) -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    assert translated(input=text, **others) == translated(input=[item], **others)


def test_parameters_have_the_chats_names() -> None:
    same = {
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "temperature": 0.1,
        "top_p": 0.9,
        "user": "u",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "service_tier": "flex",
        "prompt_cache_options": {"mode": "implicit"},
        "prompt_cache_retention": "24h",
    }
    body = translated(
        **same,
        max_output_tokens=16,
        reasoning={"effort": "low", "summary": "auto", "context": "auto"},
        text={"verbosity": "low"},
    )
    renamed = {"max_completion_tokens": 16, "reasoning_effort": "low", "verbosity": "low"}
    assert body == {"model": "m", "messages": [said("user", "x")], **same, **renamed}


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_the_format_of_text_is_the_response_format(format: dict[str, Any], expected: Any) -> None:
    assert translated(text={"format": format}).get("response_format") == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"top_logprobs": 0}, {}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
    ],
)
def test_logprobs_are_asked_for_by_include_or_by_their_number(
    parameters: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = translated(**parameters)
    assert {name: body[name] for name in ("logprobs", "top_logprobs") if name in body} == expected


@pytest.mark.parametrize(
    ("fields", "strict"),
    [
        ({}, False),
        ({"parameters": SCHEMA}, True),
        ({"parameters": SCHEMA, "strict": False}, False),
        ({"parameters": {**SCHEMA, "additionalProperties": True}}, False),
        ({"parameters": {**SCHEMA, "required": []}}, False),
        ({"parameters": {**SCHEMA, "required": []}, "strict": True}, True),
        ({"parameters": {**SCHEMA, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}}, False),
        ({"parameters": {**SCHEMA, "properties": {"a": {"anyOf": [SCHEMA, {"type": "null"}]}}}}, True),
    ],
)
def test_a_function_is_strict_if_nothing_else_is_said_and_its_schema_allows_it(
    fields: dict[str, Any], strict: bool
) -> None:
    [chat_tool] = translated(tools=[function(**fields)])["tools"]
    assert chat_tool["function"]["strict"] is strict


def test_tools_are_a_chats_tools() -> None:
    grammar = {"syntax": "lark", "definition": "start: /a/"}
    tools = [
        function(description="d", parameters=SCHEMA, strict=True),
        {"type": "custom", "name": "g", "format": {"type": "grammar", **grammar}},
    ]
    body = translated(tools=tools, parallel_tool_calls=False)
    described = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
    custom = {"name": "g", "format": {"type": "grammar", "grammar": grammar}}
    assert body["tools"] == [{"type": "function", "function": described}, {"type": "custom", "custom": custom}]
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", "none"),
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "custom", "name": "g"}, {"type": "custom", "custom": {"name": "g"}}),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
        ),
    ],
)
def test_a_choice_among_tools_is_a_chats_choice(choice: Any, expected: Any) -> None:
    assert translated(tools=[function()], tool_choice=choice)["tool_choice"] == expected


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_what_says_nothing_without_tools_is_not_passed_to_chats_that_refuse_it(choice: str) -> None:
    assert translated(tools=[], tool_choice=choice, parallel_tool_calls=True) == translated()
    assert translated(tool_choice="required")["tool_choice"] == "required"


@pytest.mark.parametrize("type", ["web_search", "file_search", "code_interpreter", "local_shell", "mcp"])
def test_tools_that_nobody_can_run_are_refused_by_type(type: str) -> None:
    label = {"server_label": "s"} if type == "mcp" else {}
    refused = refusal(tools=[function(), {"type": type, **label}])
    assert (refused.param, refused.code) == ("tools[1].type", "unsupported_value")
    assert f"'{type}'" in refused.message


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "file_search"}, "tool_choice.type"),
        ({"type": "mcp", "server_label": "s"}, "tool_choice.type"),
        ({"type": "allowed_tools", "tools": [{"type": "mcp", "server_label": "s"}]}, "tool_choice.tools[0].type"),
        ({"type": "allowed_tools", "tools": [{"type": "image_generation"}]}, "tool_choice.tools[0].type"),
    ],
)
def test_a_choice_of_such_a_tool_is_refused_by_type(choice: dict[str, Any], param: str) -> None:
    assert refusal(tools=[function()], tool_choice=choice).param == param


ASKED: dict[str, Any] = {
    "context_management": [{"type": "compaction"}],
    "moderation": {"model": "x"},
    "prompt": {"id": "pmpt_1"},
    "reasoning.context": "current_turn",
    "reasoning.mode": "pro",
}


@pytest.mark.parametrize("name", [name for name, treatment in TREATMENTS.items() if treatment.word == "refused"])
def test_what_nobody_would_read_is_refused_by_name(name: str) -> None:
    outer, _, inner = name.partition(".")
    refused = refusal(**{outer: {inner: ASKED[name]} if inner else ASKED[name]})
    assert (refused.param, refused.code) == (name, "unsupported_parameter")
    for taken in TREATMENTS[name].taken:
        assert translated(**{outer: {inner: taken} if inner else taken}) == translated()


def test_every_parameter_has_a_treatment() -> None:
    names = {name for name in TREATMENTS if "." not in name}
    assert names == set(ResponsesRequest.__struct_fields__)
    assert names == openai_parameters() | open_responses_parameters() | {"client_metadata"}


def openai_parameters() -> set[str]:
    schemas = json.loads((SPECIFICATIONS / "openai.json").read_bytes())["components"]["schemas"]

    def properties(schema: dict[str, Any]) -> set[str]:
        if "$ref" in schema:
            return properties(schemas[schema["$ref"].rpartition("/")[2]])
        return {*schema.get("properties", ())}.union(*map(properties, schema.get("allOf", ())))

    return properties(schemas["CreateResponse"])


def open_responses_parameters() -> set[str]:
    document = json.loads((SPECIFICATIONS / "openresponses.json").read_bytes())
    return {*document["components"]["schemas"]["CreateResponseBody"]["properties"]}


def test_what_the_responses_api_serves_itself_does_not_reach_the_chat() -> None:
    served = {
        "background": True,
        "metadata": {"a": "b"},
        "store": True,
        "stream": True,
        "truncation": "auto",
        "stream_options": {"include_obfuscation": False},
        "previous_response_id": "resp_1",
        "max_tool_calls": 1,
        "client_metadata": {"session_id": "s"},
    }
    assert translated(**served) == translated()


@pytest.mark.parametrize(
    ("chat_param", "param"),
    [
        ("messages[1].content[0].type", "input"),
        ("max_completion_tokens", "max_output_tokens"),
        ("reasoning_effort", "reasoning.effort"),
        ("verbosity", "text.verbosity"),
        ("response_format.json_schema.schema", "text.format.schema"),
        ("response_format", "text.format"),
        ("tools[2].function.parameters", "tools[2].parameters"),
        ("tool_choice.allowed_tools", "tool_choice"),
        ("logprobs", "include"),
        ("temperature", "temperature"),
    ],
)
def test_a_chats_refusal_can_be_named_by_the_request(chat_param: str, param: str) -> None:
    assert responses_param(chat_param) == param
