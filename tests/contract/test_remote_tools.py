"""Tools of MCP servers through the whole service: listed, approved, called, and out of reach where they are private."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import responding
from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from responses.mcp_servers import Serving, toolbox
from scripted_answers import DONE, MODEL, chat_answer, error_answer, event, json_answer, sse_answer, usage
from scripted_upstream import ScriptedUpstream
from service import Service, free_port
from specification import assert_valid_response


@pytest.fixture(scope="module")
def reaching(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    """A service whose operator lets clients name servers at private addresses."""
    config = scripted_config(running_upstream.base_url) + "\n[tools]\nallow_private_addresses = true\n"
    directory = tmp_path_factory.mktemp("reaching")
    with Service(directory, config, environment=UPSTREAM_ENVIRONMENT) as service:
        yield service


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving(toolbox().streamable_http_app()) as serving:
        yield serving


def calling(arguments: dict[str, Any]) -> Any:
    """A chat's answer that calls the server's tool `add`."""
    function = {"name": "mcp__box__add", "arguments": json.dumps(arguments)}
    message = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1767225600, "model": MODEL}
    return json_answer({**head, "choices": [choice], "usage": usage(9, 5)})


def streamed(answer: Any) -> Any:
    """The same answer as a stream of one chunk, which is how turns are asked for."""
    body = json.loads(b"".join(answer.steps))
    (choice,) = body["choices"]
    message = choice["message"]
    calls = [{"index": place, **call} for place, call in enumerate(message.get("tool_calls") or [])]
    delta = {"role": "assistant", "content": message["content"]} | ({"tool_calls": calls} if calls else {})
    chunk = {**body, "object": "chat.completion.chunk", "usage": None}
    said = {**chunk, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
    end = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    return sse_answer([event(said), event(end), event({**chunk, "choices": [], "usage": body["usage"]}), DONE])


def ask(service: Service, server: Serving, **fields: Any) -> Any:
    tool = {"type": "mcp", "server_label": "box", "server_url": server.url, "require_approval": "never"}
    body = {"model": "gpt-4.1", "input": "What is 2 + 3?", "tools": [tool | fields.pop("tool", {})], **fields}
    return service.post("/v2/responses", body)


def test_a_tool_is_listed_called_and_its_result_told(
    reaching: Service, server: Serving, running_upstream: ScriptedUpstream
) -> None:
    running_upstream.reset()
    running_upstream.answer(streamed(calling({"a": 2, "b": 3})), streamed(chat_answer("It is 5.")))
    reply = ask(reaching, server, store=False)
    assert reply.status == 200, reply.body
    response = assert_valid_response(reply.json)
    listed, call, message = response["output"]
    assert (listed["type"], listed["server_label"]) == ("mcp_list_tools", "box")
    assert {tool["name"] for tool in listed["tools"]} >= {"add", "fail"}
    assert (call["type"], call["name"], call["output"], call["error"]) == ("mcp_call", "add", "5", None)
    assert message["content"][0]["text"] == "It is 5."
    assert response["usage"]["input_tokens"] == 18
    first, second = (request.json for request in running_upstream.requests)
    assert "mcp__box__add" in [tool["function"]["name"] for tool in first["tools"]]
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": call["id"], "content": "5"}


def test_a_call_waits_for_its_approval(reaching: Service, server: Serving, running_upstream: ScriptedUpstream) -> None:
    running_upstream.reset()
    running_upstream.answer(streamed(calling({"a": 2, "b": 3})), streamed(chat_answer("It is 5.")))
    asked = ask(reaching, server, tool={"require_approval": "always"}).json
    question = assert_valid_response(asked)["output"][-1]
    assert (question["type"], question["name"], asked["status"]) == ("mcp_approval_request", "add", "completed")
    approval = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": True}
    answered = ask(
        reaching, server, tool={"require_approval": "always"}, input=[approval], previous_response_id=asked["id"]
    )
    assert answered.status == 200, answered.body
    output = assert_valid_response(answered.json)["output"]
    assert [item["type"] for item in output] == ["mcp_call", "message"]
    assert (output[0]["output"], output[0]["approval_request_id"]) == ("5", question["id"])


def test_a_private_address_is_out_of_reach_unless_the_operator_lets_it(scripted: Service, server: Serving) -> None:
    seen = len(server.seen)
    reply = ask(scripted, server)
    assert (reply.status, reply.error["param"]) == (400, "tools[0].server_url")
    assert len(server.seen) == seen


def test_credentials_of_a_server_are_not_shown_nor_kept(
    reaching: Service, server: Serving, running_upstream: ScriptedUpstream
) -> None:
    running_upstream.reset()
    running_upstream.answer(streamed(chat_answer("Hello")))
    reply = ask(reaching, server, tool={"authorization": "secret-4711"})
    assert reply.status == 200, reply.body
    assert any(headers.get("authorization") == "Bearer secret-4711" for headers in server.seen)
    kept = b"".join(path.read_bytes() for path in Path(reaching.data).rglob("*") if path.is_file())
    for place in (reply.body, kept, reaching.log.read_bytes(), running_upstream.requests[0].body):
        assert b"secret-4711" not in place


PLAIN: Any = {"stream_options": {"include_obfuscation": False}}  # the documents know no padding of these deltas
OWN: Any = {"type": "function", "name": "own", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refused", [(0, "tools[0].parameters"), (3, "tools[1]"), (6, "tools[2].parameters")])
def test_a_refusal_of_the_model_is_an_error_and_names_the_clients_tool(
    reaching: Service, server: Serving, running_upstream: ScriptedUpstream, stream: bool, refused: tuple[int, str]
) -> None:
    place, param = refused
    running_upstream.reset()
    running_upstream.answer(error_answer(400, "Bad.", param=f"tools[{place}].function.parameters", code="bad_schema"))
    box = {"type": "mcp", "server_label": "box", "server_url": server.url, "require_approval": "never"}
    body = {"model": "gpt-4.1", "input": "x", "tools": [OWN, box, OWN | {"name": "other"}], "stream": stream}
    reply = reaching.post("/v2/responses", body)
    assert len(running_upstream.requests[0].json["tools"]) == 7
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, "bad_schema")


def test_the_events_of_a_stream_begin_with_the_servers_tools(
    reaching: Service, server: Serving, running_upstream: ScriptedUpstream
) -> None:
    running_upstream.reset()
    running_upstream.answer(streamed(calling({"a": 2, "b": 3})), error_answer(400, "Bad.", param="messages[1]"))
    box = {"type": "mcp", "server_label": "box", "server_url": server.url, "require_approval": "never"}
    told = responding.streamed(reaching, "What is 2 + 3?", tools=[box], **PLAIN)
    assert [event["type"] for event in told[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.mcp_list_tools.in_progress",
    ]
    assert told[-1]["type"] == "response.failed", "a later turn's refusal is an event"
    assert "mcp_call" in [item["type"] for item in told[-1]["response"]["output"]]


def test_a_server_that_gives_no_tools_is_told_in_the_stream(
    reaching: Service, running_upstream: ScriptedUpstream
) -> None:
    running_upstream.reset()
    box = {"type": "mcp", "server_label": "box", "server_url": f"http://127.0.0.1:{free_port()}/mcp"}
    told = responding.streamed(reaching, "What is 2 + 3?", tools=[box], **PLAIN)
    assert "response.mcp_list_tools.failed" in [event["type"] for event in told]
    assert told[-1]["type"] == "response.failed"
    assert running_upstream.requests == []


def test_an_approved_call_is_told_before_what_the_model_refuses(
    reaching: Service, server: Serving, running_upstream: ScriptedUpstream
) -> None:
    running_upstream.reset()
    running_upstream.answer(streamed(calling({"a": 2, "b": 3})), error_answer(400, "Bad.", param="messages[1]"))
    always = {"type": "mcp", "server_label": "box", "server_url": server.url, "require_approval": "always"}
    first = ask(reaching, server, tool={"require_approval": "always"}).json
    approval = {"type": "mcp_approval_response", "approval_request_id": first["output"][-1]["id"], "approve": True}
    told = responding.streamed(reaching, [approval], tools=[always], previous_response_id=first["id"], **PLAIN)
    assert told[-1]["type"] == "response.failed"
    assert [(item["type"], item["output"]) for item in told[-1]["response"]["output"]] == [("mcp_call", "5")]
