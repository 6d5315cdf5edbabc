"""Calls of MCP servers that somebody must approve: asked for, given, refused, and never made without."""

import pytest

from fundament.errors import InvalidRequest
from responses.mcp_servers import Serving
from responses.talks import ADD, SAY, call, mcp, talk, turn


async def test_a_call_that_needs_an_approval_is_asked_for_and_made_when_it_is_given(server: Serving) -> None:
    tools = [mcp(server)]
    first = await talk(server, turn(*ADD), tools=tools)
    assert first.types == ["mcp_list_tools", "mcp_approval_request"]
    question = first.response["output"][1]
    assert question["arguments"] == '{"a": 1, "b": 2}'
    assert question["id"].startswith("mcpr_")
    assert first.response["status"] == "completed"

    approval = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": True}
    later = await talk(server, SAY, history=first.response["output"], input=[approval], tools=tools)
    made = later.response["output"][0]
    assert later.types == ["mcp_call", "message"]
    assert (made["output"], made["approval_request_id"]) == ("3", question["id"])
    assert later.asked[0]["messages"][-1]["content"] == "3"

    history = [*first.response["output"], approval, *later.response["output"]]
    again = await talk(server, SAY, history=history, input=[approval], tools=tools)
    assert again.types == ["message"], "a call is made once for its approval"


async def test_a_refusal_is_told_to_the_model_and_nothing_is_called(server: Serving) -> None:
    tools = [mcp(server)]
    first = await talk(server, turn(*ADD), tools=tools)
    question = first.response["output"][1]
    refusal = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": False}
    later = await talk(server, SAY, history=first.response["output"], input=[refusal], tools=tools)
    assert later.types == ["message"]
    assert later.asked[0]["messages"][-1]["content"] == "The user did not approve this call."


async def test_only_what_the_filter_says_needs_an_approval(server: Serving) -> None:
    tools = [mcp(server, require_approval={"never": {"tool_names": ["add"]}})]
    said = await talk(server, turn(*ADD, *call("mcp__s__draw", 1)), tools=tools)
    assert said.types == ["mcp_list_tools", "mcp_call", "mcp_approval_request"]
    assert len(said.asked) == 1


async def test_half_a_call_is_neither_made_nor_asked_for(server: Serving) -> None:
    said = await talk(server, turn(*ADD, finish_reason="length"))
    assert said.types == ["mcp_list_tools", "mcp_call"]
    assert (said.response["output"][1]["status"], said.response["output"][1]["output"]) == ("incomplete", None)
    assert said.response["incomplete_details"] == {"reason": "max_output_tokens"}
    said = await talk(server, turn(*ADD, finish_reason="length"), tools=[mcp(server)])
    assert said.types == ["mcp_list_tools"]


async def test_an_approved_call_that_is_not_allowed_any_more_is_not_made(server: Serving) -> None:
    first = await talk(server, turn(*ADD), tools=[mcp(server)])
    approval = {
        "type": "mcp_approval_response",
        "approval_request_id": first.response["output"][1]["id"],
        "approve": True,
    }
    tools = [mcp(server, allowed_tools=["draw"])]
    later = await talk(server, SAY, history=first.response["output"], input=[approval], tools=tools)
    assert later.response["output"][0]["status"] == "failed"
    assert "no such tool" in later.asked[0]["messages"][-1]["content"]


async def test_an_approval_that_nothing_asked_for_is_refused(server: Serving) -> None:
    approval = {"type": "mcp_approval_response", "approval_request_id": "mcpr_9", "approve": True}
    with pytest.raises(InvalidRequest, match="mcpr_9"):
        await talk(server, input=[approval])
    question = {"type": "mcp_approval_request", "id": "mcpr_9", "server_label": "s", "name": "f", "arguments": "{}"}
    with pytest.raises(InvalidRequest, match="MCP server 's'"):
        await talk(server, input=[question, approval], tools=[])


async def test_nothing_is_called_for_a_request_that_is_refused_later(server: Serving) -> None:
    question = {"type": "mcp_approval_request", "id": "r", "server_label": "s", "name": "add", "arguments": "{}"}
    approval = {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True}
    waiting = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    seen = len(server.seen)
    with pytest.raises(InvalidRequest, match="No tool output found"):
        await talk(server, input=[waiting, question, approval])
    assert len(server.seen) == seen
