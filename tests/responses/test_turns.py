"""Turns of a scripted model with tools on a real MCP server: what is told, what is called, what it is asked."""

from typing import Any

import pytest

from fundament.errors import InvalidRequest, RemoteServerFailure, UpstreamFailure
from responses.chat_chunks import chunk
from responses.mcp_servers import Serving, answering
from responses.talks import ADD, SAY, call, mcp, talk, turn


async def test_a_call_is_made_and_the_model_goes_on_with_its_result(server: Serving) -> None:
    said = await talk(server, turn(*ADD, finish_reason="tool_calls"), SAY)
    assert said.types == ["mcp_list_tools", "mcp_call", "message"]
    listed, made, message = said.response["output"]
    assert len(listed["tools"]) == 5
    assert made == {
        "id": made["id"],
        "type": "mcp_call",
        "status": "completed",
        "server_label": "s",
        "name": "add",
        "arguments": '{"a": 1, "b": 2}',
        "approval_request_id": None,
        "output": "3",
        "error": None,
    }
    assert message["content"][0]["text"] == "It is 3."
    assert said.response["status"] == "completed"
    assert said.asked[1]["messages"] == [
        {"role": "user", "content": "What is 1 + 2?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": made["id"],
                    "type": "function",
                    "function": {"name": "mcp__s__add", "arguments": '{"a": 1, "b": 2}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": made["id"], "content": "3"},
    ]


async def test_the_events_of_a_call_are_these(server: Serving) -> None:
    said = await talk(server, turn(*ADD), SAY)
    assert said.told[2:15] == [
        "output_item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "output_item.done",
        "output_item.added",
        "mcp_call.in_progress",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.done",
        "mcp_call.completed",
        "output_item.done",
        "output_item.added",
        "content_part.added",
    ]


async def test_the_usage_is_that_of_all_turns(server: Serving) -> None:
    said = await talk(server, turn(*ADD), turn(*ADD), SAY)
    usage = said.response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (30, 12, 42)


async def test_several_calls_of_a_turn_are_all_made(server: Serving) -> None:
    said = await talk(server, turn(*ADD, *call("mcp__s__fail", 1), *call("mcp__s__add", 2, a=2, b=2)), SAY)
    calls = said.response["output"][1:4]
    assert [item["status"] for item in calls] == ["completed", "failed", "completed"]
    assert [item["output"] for item in calls] == ["3", None, "4"]
    assert calls[1]["error"]["type"] == "mcp_tool_execution_error"
    results = [message["content"] for message in said.asked[1]["messages"] if message["role"] == "tool"]
    assert results == ["3", "Error executing tool fail", "4"]


async def test_words_and_reasoning_before_a_call_stay(server: Serving) -> None:
    said = await talk(server, turn(chunk(reasoning_content="Hm."), chunk(content="Let me see."), *ADD), SAY)
    assert said.types == ["mcp_list_tools", "reasoning", "message", "mcp_call", "message"]
    assert said.asked[1]["messages"][1]["content"] == "Let me see."


async def test_a_clients_function_is_handed_out_after_the_servers_calls(server: Serving) -> None:
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    tools = [mcp(server, require_approval="never"), function]
    said = await talk(server, turn(*call("f"), *call("mcp__s__add", 1, a=1, b=2)), tools=tools)
    assert said.types == ["mcp_list_tools", "function_call", "mcp_call"]
    assert said.response["output"][2]["output"] == "3"
    assert len(said.asked) == 1

    output = {"type": "function_call_output", "call_id": "call_0", "output": "x"}
    later = await talk(server, SAY, history=said.response["output"], input=[output], tools=tools)
    assert later.types == ["message"]
    assert [message["role"] for message in later.asked[0]["messages"]] == ["assistant", "tool", "tool"]


async def test_a_server_that_told_its_tools_before_is_not_asked_again(server: Serving) -> None:
    first = await talk(server, SAY)
    listed = first.response["output"]
    later = await talk(server, SAY, history=listed)
    assert later.types == ["message"]
    assert later.asked[0]["tools"] == first.asked[0]["tools"]
    fewer = await talk(server, SAY, history=listed, tools=[mcp(server, allowed_tools=["add"])])
    assert [tool["function"]["name"] for tool in fewer.asked[0]["tools"]] == ["mcp__s__add"]


@pytest.mark.parametrize("limit", [1, 2])
async def test_calls_beyond_the_limit_are_not_made_and_the_model_is_not_offered_more(
    server: Serving, limit: int
) -> None:
    turns = [turn(*ADD, *call("mcp__s__add", 1, a=5, b=5)), turn(chunk(content="Done."))]
    said = await talk(server, *turns, max_tool_calls=limit)
    assert [item["status"] for item in said.response["output"][1:3]] == [
        "completed",
        ["incomplete", "completed"][limit - 1],
    ]
    assert "tools" in said.asked[0]
    assert "tools" not in said.asked[1]
    assert said.types[-1] == "message"


async def test_a_model_that_calls_what_it_is_not_offered_has_had_its_say(server: Serving) -> None:
    said = await talk(server, turn(*ADD), turn(*ADD), max_tool_calls=1)
    assert len(said.asked) == 2
    assert [item["status"] for item in said.response["output"][1:3]] == ["completed", "incomplete"]
    assert said.response["status"] == "completed"


@pytest.mark.parametrize(
    ("choice", "first", "later"),
    [
        ("required", "required", None),
        ("auto", "auto", None),
        ("none", "none", "none"),
        (
            {"type": "mcp", "server_label": "s", "name": "add"},
            {"type": "function", "function": {"name": "mcp__s__add"}},
            None,
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "mcp", "server_label": "s", "name": "add"}],
            },
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "mcp__s__add"}}],
                },
            },
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "mcp__s__add"}}],
                },
            },
        ),
    ],
)
async def test_a_tool_is_demanded_in_the_first_turn_only(server: Serving, choice: Any, first: Any, later: Any) -> None:
    said = await talk(server, turn(*ADD), SAY, tool_choice=choice)
    assert said.asked[0]["tool_choice"] == first
    assert said.asked[1].get("tool_choice") == later


async def test_a_choice_of_a_server_is_a_choice_among_its_tools(server: Serving) -> None:
    said = await talk(server, SAY, tool_choice={"type": "mcp", "server_label": "s"})
    assert said.asked[0]["tool_choice"]["allowed_tools"]["mode"] == "required"
    assert len(said.asked[0]["tool_choice"]["allowed_tools"]["tools"]) == 5
    missing = await talk(server, SAY, tool_choice={"type": "mcp", "server_label": "s", "name": "nope"})
    assert isinstance(missing.failure, InvalidRequest)


async def test_the_limit_of_tokens_is_for_all_turns(server: Serving) -> None:
    said = await talk(server, turn(*ADD), SAY, max_output_tokens=20)
    assert [body["max_completion_tokens"] for body in said.asked] == [20, 16]


async def test_a_server_that_gives_no_tools_fails_the_response_and_is_told(server: Serving) -> None:
    with Serving(answering(401)) as broken:
        said = await talk(server, SAY, tools=[mcp(broken)])
    assert isinstance(said.failure, RemoteServerFailure)
    assert (said.failure.status, said.failure.type, said.failure.code) == (
        424,
        "external_connector_error",
        "http_error",
    )
    assert said.told[2:5] == ["output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.failed"]
    assert said.response["output"][0]["error"] == said.failure.message
    assert said.response["error"] == {"code": "server_error", "message": said.failure.message}
    assert said.asked == []


async def test_a_model_that_breaks_off_in_a_later_turn_fails_the_response(server: Serving) -> None:
    said = await talk(server, turn(*ADD), turn(chunk(content="It"), finish_reason=None))
    assert said.response["status"] == "failed"
    assert said.response["output"][1]["output"] == "3"


async def test_a_fault_while_calls_wait_closes_them(server: Serving) -> None:
    nonsense = chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])
    said = await talk(server, turn(*ADD, *call("mcp__s__add", 1, a=1, b=1), nonsense))
    assert isinstance(said.failure, UpstreamFailure)
    assert [item["status"] for item in said.response["output"][1:]] == ["incomplete", "incomplete"]


async def test_a_function_that_is_called_like_a_remote_tool_is_refused(server: Serving) -> None:
    said = await talk(server, SAY, tools=[mcp(server), {"type": "function", "name": "mcp__s__add"}])
    assert isinstance(said.failure, InvalidRequest)
    assert said.failure.param == "tools[1].name"


async def test_an_answer_without_words_after_calls_is_an_empty_message(server: Serving) -> None:
    said = await talk(server, turn(*ADD), turn())
    assert said.response["output"][-1]["content"][0]["text"] == ""


async def test_without_mcp_a_response_is_one_turn(server: Serving) -> None:
    said = await talk(server, turn(*call("f")), tools=[{"type": "function", "name": "f"}])
    assert said.types == ["function_call"]
    assert len(said.asked) == 1
