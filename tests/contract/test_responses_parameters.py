"""docs/parameters.md says of every parameter, tool and input item of a response what becomes of it, and it is true."""

import json
from typing import Any, get_args

import pytest

import native_answers
from fundament.protocol.responses_items import Hosted, Item
from fundament.protocol.responses_tools import Tool
from fundament.responses.compaction import compacted
from fundament.responses.parameters import TREATMENTS
from parameter_table import ResponsesRow, parameters, responses_parameters, words
from schema_differences import Document
from scripted_answers import Answer, chat_answer, chat_stream
from scripted_upstream import Request, ScriptedUpstream
from service import Service
from specification import SPECIFICATION, assert_valid_response

PATH = "/v2/responses"
EMBEDDED, BOUGHT, NATIVE = "SmolLM2-135M-Instruct", "gpt-4.1", "gpt-4.1-native"
OTHERS = {"frequency_penalty", "presence_penalty", "client_metadata"}  # Open Responses', and of OpenAI's own agents
ROWS = responses_parameters()
CHAT_ROWS = {row.name: row for row in parameters() if row.endpoint == "chat"}

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
TOOLS = {"tools": [FUNCTION], "max_output_tokens": 16}
CHAT_TOOLS = [
    {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False},
    }
]

# A value that asks for something, and what it needs beside it.
ASKING: dict[str, dict[str, Any]] = {
    "background": {"background": True},
    "client_metadata": {"client_metadata": {"session": "a"}},
    "context_management": {"context_management": [{"type": "compaction"}]},
    "conversation": {},  # `earlier` makes one
    "frequency_penalty": {"frequency_penalty": 0.5},
    "include": {"include": ["message.output_text.logprobs"]},
    "input": {"input": [{"role": "user", "content": "Hello"}]},
    "instructions": {"instructions": "Be brief"},
    "max_output_tokens": {"max_output_tokens": 17},
    "max_tool_calls": {"max_tool_calls": 1},
    "metadata": {"metadata": {"project": "a"}},
    "model": {},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "parallel_tool_calls": {"parallel_tool_calls": False, **TOOLS},
    "presence_penalty": {"presence_penalty": 0.5},
    "previous_response_id": {},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "prompt_cache_key": {"prompt_cache_key": "a"},
    "prompt_cache_options": {"prompt_cache_options": {"ttl": "30m"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "reasoning": {"reasoning": {}},
    "reasoning.context": {"reasoning": {"context": "current_turn"}},
    "reasoning.effort": {"reasoning": {"effort": "low"}},
    "reasoning.generate_summary": {"reasoning": {"generate_summary": "concise"}},
    "reasoning.mode": {"reasoning": {"mode": "pro"}},
    "reasoning.summary": {"reasoning": {"summary": "concise"}},
    "safety_identifier": {"safety_identifier": "a"},
    "service_tier": {"service_tier": "flex"},
    "store": {"store": False},
    "stream": {"stream": True},
    "stream_options": {"stream_options": {"include_obfuscation": False}, "stream": True},
    "temperature": {"temperature": 0.5},
    "text": {"text": {}},
    "text.format": {"text": {"format": {"type": "json_object"}}},
    "text.verbosity": {"text": {"verbosity": "low"}},
    "tool_choice": {"tool_choice": {"type": "function", "name": "look"}, **TOOLS},
    "tools": TOOLS,
    "top_logprobs": {"top_logprobs": 2},
    "top_p": {"top_p": 0.5},
    "truncation": {"truncation": "auto"},
    "user": {"user": "a"},
}
TRANSLATED: dict[str, dict[str, Any]] = {
    "include": {"logprobs": True},
    "input": {"messages": [{"role": "user", "content": "Hello"}]},
    "instructions": {"messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]},
    "parallel_tool_calls": {"parallel_tool_calls": False},
    "reasoning": {},
    "text": {},
    "text.format": {"response_format": {"type": "json_object"}},
    "tool_choice": {"tool_choice": {"type": "function", "function": {"name": "look"}}},
    "tools": {"tools": CHAT_TOOLS},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
}
# What any request asks of a chat, and what only says how its answer travels.
BASE = {"model": "gpt-4.1-2025-04-14", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 16}
TRAVEL = {"stream", "stream_options"}


def base(model: str) -> dict[str, Any]:
    return {"model": model, "input": "Hi", "max_output_tokens": 16}


def earlier(service: Service, model: str, name: str) -> dict[str, Any]:
    """The parameter with the id of something that there is."""
    if name == "conversation":
        return {name: service.post("/v2/conversations", {}).json["id"]}
    return {name: service.post(PATH, base(model)).json["id"]} if name == "previous_response_id" else {}


def nested(name: str, value: Any) -> dict[str, Any]:
    outer, _, inner = name.partition(".")
    return {outer: {inner: value} if inner else value}


def answering(request: Request) -> Answer:
    return chat_stream(["Hello"], usage=True) if request.json.get("stream") else chat_answer("Hello")


def asked_upstream(service: Service, upstream: ScriptedUpstream, body: dict[str, Any]) -> dict[str, Any]:
    """What the upstream is asked for this request."""
    before = len(upstream.requests)
    reply = service.post(PATH, body)
    assert reply.status == 200, reply.body
    *_, request = upstream.wait_requests(before + 1)
    return request.json


@pytest.fixture
def bought(scripted: Service, upstream: ScriptedUpstream) -> Service:
    upstream.default(answering)
    return scripted


def test_every_parameter_of_openais_document_has_a_row() -> None:
    document = Document(json.loads(SPECIFICATION.read_bytes()))
    wanted = set(document.fields(document.schema("CreateResponse"))) | OTHERS
    wanted |= {f"reasoning.{name}" for name in document.fields(document.schema("Reasoning"))}
    wanted |= {f"text.{name}" for name in document.fields(document.schema("ResponseTextParam"))}
    assert sorted(wanted) == sorted(row.name for row in ROWS)


def test_the_page_has_the_words_of_the_translation() -> None:
    stated = {row.name: (row.word, row.chat if row.word == "passed" else "", row.taken) for row in ROWS}
    assert stated == {name: (one.word, one.chat, one.taken) for name, one in TREATMENTS.items()}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_chat_is_asked_what_the_row_says(bought: Service, upstream: ScriptedUpstream, row: ResponsesRow) -> None:
    wanted = ASKING[row.name] | earlier(bought, BOUGHT, row.name)
    if row.word == "refused":
        reply = bought.post(PATH, base(BOUGHT) | wanted)
        assert (reply.status, reply.error["param"], reply.error["code"]) == (400, row.name, "unsupported_parameter")
        assert upstream.requests == []
        for value in (None, *row.taken):
            asked = asked_upstream(bought, upstream, base(BOUGHT) | nested(row.name, value))
            assert {name: asked[name] for name in asked.keys() - TRAVEL} == BASE
        return
    asked = asked_upstream(bought, upstream, base(BOUGHT) | wanted)
    chat = {name: asked[name] for name in asked.keys() - TRAVEL}
    if row.word == "passed":
        value = (base(BOUGHT) | wanted)[row.name.partition(".")[0]]
        passed = value[row.name.partition(".")[2]] if "." in row.name else value
        assert chat == BASE | ({row.chat: passed} if row.name != "model" else {})
    elif row.word == "translated":
        assert not row.chat or row.chat in TRANSLATED[row.name]
        needed = {"tools": CHAT_TOOLS} if "tools" in wanted else {}
        assert chat == BASE | needed | TRANSLATED[row.name]
    elif row.name == "previous_response_id":
        said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        assert chat == BASE | {"messages": [*said, *BASE["messages"]]}
    else:
        assert row.word in {"served", "no effect"}
        assert chat == BASE


def test_the_page_has_the_words_for_servers_that_speak_responses() -> None:
    stated = words("Servers that speak Responses")
    assert stated == {name: one.native for name, one in TREATMENTS.items() if one.native != "passed"}


@pytest.mark.parametrize("name", [name for name in TREATMENTS if "." not in name])
def test_a_server_that_speaks_responses_is_asked_what_the_page_says(
    scripted: Service, upstream: ScriptedUpstream, name: str
) -> None:
    upstream.default(native_answers.answering(native_answers.message("Hello")))
    wanted = ASKING[name] | earlier(scripted, NATIVE, name)
    asked = asked_upstream(scripted, upstream, base(NATIVE) | wanted)
    if name in words("Servers that speak Responses"):
        ours = {"store": False, "stream": True, "stream_options": {"include_obfuscation": False}}
        assert asked.get(name) == ours.get(name)
    elif name == "model":
        assert asked[name] == BASE["model"]
    elif name == "input":
        assert [item["content"] for item in asked[name]] == [[{"type": "input_text", "text": "Hello"}]]
    else:
        assert asked[name] == wanted[name]


@pytest.mark.parametrize("kind", words("Tools"))
def test_a_server_that_speaks_responses_gets_every_type_of_tool(
    scripted: Service, upstream: ScriptedUpstream, kind: str
) -> None:
    upstream.default(native_answers.answering(native_answers.message("Hello")))
    tool = {"type": kind, **(TOOL_FIELDS.get(kind) or {"setting": "MARK"})}
    assert asked_upstream(scripted, upstream, base(NATIVE) | {"tools": [tool]})["tools"] == [tool]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_embedded_engine_does_what_the_chats_row_says(embedded: Service, row: ResponsesRow) -> None:
    reply = embedded.post(PATH, base(EMBEDDED) | ASKING[row.name] | earlier(embedded, EMBEDDED, row.name))
    known = CHAT_ROWS.get(row.chat)
    if row.word == "refused" or (row.word == "passed" and known is not None and known.embedded == "refused"):
        assert (reply.status, reply.error["param"], reply.error["code"]) == (400, row.name, "unsupported_parameter")
        return
    assert reply.status == 200, reply.body
    if not ASKING[row.name].get("stream"):
        assert_valid_response(reply.json)


def test_every_type_of_tool_and_of_item_has_a_row() -> None:
    assert sorted(words("Tools")) == sorted(kind.__struct_config__.tag for kind in get_args(Tool))
    assert sorted(words("Input items")) == sorted(kind.__struct_config__.tag for kind in get_args(Item))


TOOL_FIELDS: dict[str, dict[str, Any]] = {
    "function": FUNCTION,
    "custom": {"name": "look"},
    "namespace": {"name": "eyes", "description": "Sees", "tools": [FUNCTION]},
    "mcp": {"server_label": "a", "server_url": "http://127.0.0.1:9/mcp"},
}


@pytest.mark.parametrize("kind", words("Tools"))
def test_a_tool_is_taken_where_the_page_says_so(
    bought: Service, embedded: Service, upstream: ScriptedUpstream, kind: str
) -> None:
    word, tool = words("Tools")[kind], {"type": kind, **TOOL_FIELDS.get(kind, {})}
    body = base(BOUGHT) | {"tools": [tool]}
    if word == "refused" or kind == "mcp":
        reply = bought.post(PATH, body)
        param = "tools[0].server_url" if kind == "mcp" else "tools[0].type"  # servers that answer: test_turns.py
        assert (reply.status, reply.error["param"]) == (400, param)
        return
    as_chat = "function" if kind == "namespace" else kind
    assert [one["type"] for one in asked_upstream(bought, upstream, body)["tools"]] == [as_chat]
    own = embedded.post(PATH, body | {"model": EMBEDDED})
    if word == "honoured":
        assert own.status == 200, own.body
    else:
        assert word == "passed on"
        assert (own.status, own.error["param"]) == (400, "tools[0].type"), own.body


CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "c", "name": "look", "input": "a"}
QUESTION = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "n", "arguments": "{}"}
ITEMS: dict[str, list[dict[str, Any]]] = {
    "message": [{"role": "assistant", "content": "MARK"}],
    "function_call": [CALL | {"arguments": "MARK"}, {"type": "function_call_output", "call_id": "c", "output": ""}],
    "function_call_output": [CALL, {"type": "function_call_output", "call_id": "c", "output": "MARK"}],
    "custom_tool_call": [
        CUSTOM_CALL | {"input": "MARK"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": ""},
    ],
    "custom_tool_call_output": [CUSTOM_CALL, {"type": "custom_tool_call_output", "call_id": "c", "output": "MARK"}],
    "reasoning": [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "MARK"}]},
        {"role": "assistant", "content": "Hello"},
    ],
    "compaction": compacted([], "MARK", "cmp_1"),
    "mcp_call": [
        {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "n", "arguments": "{}", "output": "MARK"}
    ],
    "mcp_list_tools": [
        {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": [{"name": "MARK", "input_schema": {}}]}
    ],
    "mcp_approval_request": [QUESTION | {"name": "MARK"}],
    "mcp_approval_response": [
        QUESTION,
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False, "reason": "MARK"},
    ],
    "item_reference": [{"type": "item_reference", "id": "msg_kept"}],
    **{str(kind.__struct_config__.tag): [{"type": kind.__struct_config__.tag}] for kind in get_args(Hosted)},
}


@pytest.mark.parametrize("kind", words("Input items"))
def test_a_model_is_told_of_an_item_what_the_page_says(bought: Service, upstream: ScriptedUpstream, kind: str) -> None:
    word = words("Input items")[kind]
    kept = {"id": "msg_kept", "role": "user", "content": "MARK"}
    assert bought.post("/v2/conversations", {"items": [kept]}).status == 200
    body = base(BOUGHT) | {"input": [*ITEMS[kind], {"role": "user", "content": "Hi"}]}
    if word == "refused":
        reply = bought.post(PATH, body)
        assert (reply.status, reply.error["param"]) == (400, "input[0].type")
        return
    assert word in {"told", "not told"}
    assert ("MARK" in json.dumps(asked_upstream(bought, upstream, body)["messages"])) == (word == "told")
