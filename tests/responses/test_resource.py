"""The response object before anything happened: whole by both specifications, whatever the request left out."""

from typing import Any

import pytest
from openai.types.responses import Response

from fundament.protocol.responses import validate
from fundament.responses.resource import new_response
from specification import assert_valid_response

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False, "required": []}


def response_to(**parameters: Any) -> dict[str, Any]:
    return assert_valid_response(
        new_response(validate({"model": "m", "input": "x", **parameters}), id="resp_1", created_at=1)
    )


def test_what_a_request_leaves_out_has_openais_values() -> None:
    assert response_to() == {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "model": "m",
        "output": [],
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
    }


def test_null_is_the_same_as_leaving_out() -> None:
    named = dict.fromkeys(
        ["temperature", "text", "tools", "tool_choice", "metadata", "reasoning", "store", "truncation"]
    )
    assert response_to(**named) == response_to()


@pytest.mark.parametrize(
    "echoed",
    [
        {"background": True, "store": True},
        {"store": False},
        {"frequency_penalty": 0.5, "presence_penalty": -1.0, "temperature": 0.0, "top_p": 0.0},
        {"instructions": "i", "max_output_tokens": 16, "max_tool_calls": 2, "metadata": {"a": "b"}},
        {"parallel_tool_calls": False, "previous_response_id": "resp_0", "prompt_cache_key": "k"},
        {"reasoning": {"effort": "low", "summary": "auto"}, "safety_identifier": "s", "service_tier": "flex"},
        {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        {"tool_choice": {"type": "function", "name": "f"}},
        {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}},
        {"tool_choice": {"type": "file_search"}},
        {"top_logprobs": 3, "truncation": "auto", "user": "u"},
        {"conversation": {"id": "conv_1"}},
    ],
)
def test_what_a_request_says_is_shown(echoed: dict[str, Any]) -> None:
    response = response_to(**echoed)
    assert {name: response[name] for name in echoed} == echoed


def test_a_conversation_is_shown_as_an_object() -> None:
    assert response_to(conversation="conv_1")["conversation"] == {"id": "conv_1"}


def test_a_schema_of_text_is_shown_with_all_its_fields() -> None:
    format = {"type": "json_schema", "name": "n", "schema": SCHEMA}
    assert response_to(text={"format": format})["text"]["format"] == {**format, "description": None, "strict": False}


@pytest.mark.parametrize(("fields", "strict"), [({}, False), ({"parameters": SCHEMA}, True), ({"strict": True}, True)])
def test_a_function_is_shown_with_all_its_fields(fields: dict[str, Any], strict: bool) -> None:
    function = {"type": "function", "name": "f"}
    unsaid = {"description": None, "parameters": None}
    assert response_to(tools=[{**function, **fields}])["tools"] == [{**function, **unsaid, **fields, "strict": strict}]


def test_credentials_of_remote_tools_are_not_shown() -> None:
    secret = {"authorization": "t0p", "headers": {"X-Key": "s3cret"}}
    shown = {"type": "mcp", "server_label": "s", "server_url": "https://x", "require_approval": "never"}
    assert response_to(tools=[{**shown, **secret}])["tools"] == [shown]


@pytest.mark.parametrize("url", ["https://x/key", "https://x?key=1", "https://x/?key=1", "https://x#key"])
def test_what_may_be_a_key_in_a_remote_servers_url_is_not_shown(url: str) -> None:
    tool = {"type": "mcp", "server_label": "s", "server_url": url}
    assert response_to(tools=[tool])["tools"] == [{**tool, "server_url": "https://x/<redacted>"}]


def test_openais_package_reads_it() -> None:
    assert Response.model_validate(response_to()).output_text == ""
