"""Tools of MCP servers as functions: names that cannot be mistaken, and who may be called without asking."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundament.errors import InvalidRequest
from fundament.protocol.responses import validate
from fundament.protocol.responses_tools import McpTool
from fundament.responses.remote_functions import ListedTool, chat_name, content_text, functions_of, read_listed
from responses.translated import translated
from specification import assert_valid

READER = ListedTool("read", {"type": "object"}, "Reads.", {"readOnlyHint": True})
WRITER = ListedTool("write", {"type": "object"})
names = st.text(st.sampled_from("a_-é ."), min_size=1, max_size=5) | st.text("ab", min_size=1, max_size=70)


def mcp_tool(**fields: Any) -> McpTool:
    tool = {"type": "mcp", "server_label": "s", "server_url": "https://x", **fields}
    assert_valid("MCPTool", tool)
    request = validate({"model": "m", "input": "x", "tools": [tool]})
    assert request.tools is not None
    [made] = request.tools
    assert isinstance(made, McpTool)
    return made


def test_a_name_says_which_server_and_which_tool() -> None:
    assert chat_name("github", "list_issues") == "mcp__github__list_issues"


@given(names, names, names, names)
def test_two_tools_never_have_one_name_and_each_is_one_that_chats_take(a: str, b: str, c: str, d: str) -> None:
    first, second = chat_name(a, b), chat_name(c, d)
    assert (first == second) == ((a, b) == (c, d))
    function = {"type": "function", "name": first}
    assert translated(tools=[function])["tools"][0]["function"]["name"] == first


@pytest.mark.parametrize(
    ("pair", "other"), [(("a_", "b"), ("a", "_b")), (("a__b", "c"), ("a", "b__c")), (("é", "b"), ("è", "b"))]
)
def test_names_that_look_alike_differ(pair: tuple[str, str], other: tuple[str, str]) -> None:
    assert chat_name(*pair) != chat_name(*other)


@pytest.mark.parametrize(
    ("allowed", "seen"),
    [
        (None, {"read", "write"}),
        ([], set()),
        (["write", "other"], {"write"}),
        ({"tool_names": ["read"]}, {"read"}),
        ({"read_only": True}, {"read"}),
        ({"read_only": False}, {"write"}),
        ({"read_only": True, "tool_names": ["write"]}, set()),
        ({}, {"read", "write"}),
    ],
)
def test_the_model_sees_the_tools_that_are_allowed(allowed: Any, seen: set[str]) -> None:
    functions = functions_of(mcp_tool(allowed_tools=allowed), [READER, WRITER])
    assert {function.tool.name for function in functions.values()} == seen


@pytest.mark.parametrize(
    ("approval", "asked"),
    [
        (None, {"read", "write"}),
        ("always", {"read", "write"}),
        ("never", set()),
        ({"never": {"tool_names": ["read"]}}, {"write"}),
        ({"never": {"read_only": True}}, {"write"}),
        ({"always": {"tool_names": ["write"]}}, {"read", "write"}),
        ({"always": {"tool_names": ["write"]}, "never": {"tool_names": ["read", "write"]}}, {"write"}),
        ({"never": {}}, {"read", "write"}),
        ({}, {"read", "write"}),
    ],
)
def test_a_call_is_asked_for_unless_the_request_says_never(approval: Any, asked: set[str]) -> None:
    functions = functions_of(mcp_tool(require_approval=approval), [READER, WRITER])
    assert {function.tool.name for function in functions.values() if function.needs_approval} == asked


def test_a_function_of_a_chat_has_what_the_server_says() -> None:
    [function] = functions_of(mcp_tool(), [READER]).values()
    described = {"name": "mcp__s__read", "description": "Reads.", "parameters": {"type": "object"}, "strict": False}
    assert function.chat_tool == {"type": "function", "function": described}


@pytest.mark.parametrize("tools", [[{}], [{"name": 1, "input_schema": {}}], [{"name": "f", "input_schema": []}]])
def test_a_list_that_is_none_is_refused(tools: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_listed(tools, "input")
    assert caught.value.param == "input"


def test_what_is_not_text_is_named() -> None:
    blocks = [
        {"type": "text", "text": "see"},
        {"type": "image", "data": "aGk=", "mimeType": "image/png"},
        {"type": "resource_link", "name": "n", "uri": "file:///x"},
        {"type": "resource", "resource": {"uri": "file:///y", "text": "inside"}},
        {"type": "resource", "resource": {"uri": "file:///z", "mimeType": "a/b", "blob": "aGk="}},
    ]
    expected = "see\n[image image/png]\n[resource_link file:///x]\ninside\n[resource a/b file:///z]"
    assert content_text(blocks) == expected
