"""A request with tools becomes one without, and a choice leaves the functions that it names."""

import json
from typing import Any

import pytest

from fundament.backends.grammar import CALL_END, CALL_START
from fundament.backends.tools import shaped, tool_use, written_calls
from fundament.errors import InvalidRequest

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIME = {"name": "get_time"}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": TIME}]
ASKED = {"role": "user", "content": "What is the weather in Paris?"}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [ASKED], **fields}


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        (None, "auto", ["get_weather", "get_time"]),
        ("auto", "auto", ["get_weather", "get_time"]),
        ("none", "none", ["get_weather", "get_time"]),
        ("required", "required", ["get_weather", "get_time"]),
        ({"type": "function", "function": {"name": "get_time"}}, "required", ["get_time"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_time"}}]},
            },
            "auto",
            ["get_time"],
        ),
    ],
)
def test_a_choice_leaves_the_functions_that_it_names(choice: Any, mode: str, names: list[str]) -> None:
    use = tool_use(body(tools=TOOLS, tool_choice=choice))
    assert use.mode == mode
    assert [function.name for function in use.functions] == names


def test_one_named_function_is_called_once() -> None:
    named = {"type": "function", "function": {"name": "get_time"}}
    assert tool_use(body(tools=TOOLS)).parallel
    assert not tool_use(body(tools=TOOLS, tool_choice=named)).parallel
    assert not tool_use(body(tools=TOOLS, parallel_tool_calls=False)).parallel


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"tool_choice": "auto"}, "tool_choice", None),
        ({"function_call": "auto"}, "function_call", None),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nope"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "unsupported_value"),
        (
            {"tools": [*TOOLS, {"type": "function", "function": {"name": "x", "parameters": {"type": "string"}}}]},
            "tools[2].function.parameters",
            "invalid_function_parameters",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "x",
                            "strict": True,
                            "parameters": {"type": "object", "properties": {"a": {"$ref": "#/nope"}}},
                        },
                    }
                ]
            },
            "tools[0].function.parameters",
            "invalid_function_parameters",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": {"type": "wat"}},
                }
            },
            "response_format.json_schema.schema",
            None,
        ),
    ],
)
def test_what_cannot_be_held_to_is_refused_by_name(fields: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shaped(body(**fields), native=False)
    assert (caught.value.param, caught.value.code) == (param, code)


@pytest.mark.parametrize("format", [False, True])
def test_a_pattern_that_cannot_be_held_to_is_told_all_the_same(format: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?!b)"}}, "required": ["a"]}
    if format:
        shape = shaped(
            body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}), native=True
        )
    else:
        shape = shaped(
            body(tools=[{"type": "function", "function": {"name": "x", "parameters": schema}}]), native=False
        )
        assert json.dumps(schema) in shape["messages"][0]["content"]
    assert '"required": ["a"]' in shape["grammar"]
    assert "(?!" not in shape["grammar"]


def test_functions_are_explained_in_a_system_message_and_called_under_a_grammar() -> None:
    shape = shaped(body(tools=TOOLS, tool_choice="required", temperature=0.5), native=False)
    assert set(shape) == {"model", "messages", "temperature", "grammar"}
    system, asked = shape["messages"]
    assert system["role"] == "system"
    assert "get_weather" in system["content"]
    assert "The weather of a city" in system["content"]
    assert asked == ASKED
    assert "TEXT" not in shape["grammar"]
    assert "TEXT" in shaped(body(tools=TOOLS), native=False)["grammar"]


def test_a_system_message_is_kept_before_the_explanation() -> None:
    messages = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, ASKED]
    shape = shaped({"model": "m", "messages": messages, "tools": TOOLS}, native=False)
    assert shape["messages"][0]["content"].startswith("Be brief.\n\nYou can call")


def test_past_calls_and_results_are_told_as_text() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    messages = [
        ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "b"}]},
        {"role": "tool", "tool_call_id": "a", "content": "noon"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "midnight"}]},
    ]
    told = shaped({"model": "m", "messages": messages}, native=False)["messages"]
    line = f'{CALL_START}{{"name": "get_time", "arguments": {{}}}}{CALL_END}'
    assert told[1] == {"role": "assistant", "content": f"{line}\n{line}"}
    responses = "<tool_response>\nnoon\n</tool_response>\n<tool_response>\nmidnight\n</tool_response>"
    assert told[2:] == [{"role": "user", "content": responses}]


def test_a_template_that_knows_tools_gets_what_the_choice_leaves_of_them() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_time"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    shape = shaped(body(tools=TOOLS, tool_choice=choice), native=True)
    assert shape["tools"] == [TOOLS[1]]
    assert shape["tool_choice"] == "auto"
    assert "grammar" not in shape
    assert shape["messages"] == [ASKED]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_time"}}])
def test_a_call_that_must_be_made_is_under_our_grammar_whatever_the_template_knows(choice: Any) -> None:
    asked = body(tools=TOOLS, tool_choice=choice)
    assert "grammar" in shaped(asked, native=True)
    assert written_calls(asked, native=True) == "tools"


def test_calls_are_looked_for_only_where_they_may_be() -> None:
    assert written_calls(body(), native=False) is None
    assert written_calls(body(tools=TOOLS), native=False) == "tools"
    assert written_calls(body(tools=TOOLS), native=True) is None
    assert written_calls(body(tools=TOOLS, tool_choice="none"), native=False) is None
    assert written_calls(body(functions=[TIME]), native=True) == "functions"
    assert written_calls(body(functions=[TIME], function_call="none"), native=False) is None
