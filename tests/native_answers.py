"""What a server answers that speaks Responses itself, streamed or whole as it is asked: OpenAI's bodies and events.

It knows OpenAI's wire, as its API sent it in 2026, and nothing of the service. Ids and times are constants, and none of
them may reach a client but those of encrypted items.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from scripted_answers import Answer, Step, encode, json_answer, sse_answer
from scripted_upstream import Request

Json = dict[str, Any]
PATH = "/v1/responses"
UPSTREAM_ID = "resp_0a1b2c"
SEALED = "gAAAAABo-encrypted"
USAGE: Json = {
    "input_tokens": 21,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 13,
    "output_tokens_details": {"reasoning_tokens": 7},
    "total_tokens": 34,
}


# Items


def message(*pieces: str, id: str = "msg_0a1") -> Json:
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(pieces)}
    return _pieces({"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}, pieces)


def reasoning(*summary: str, id: str = "rs_0a1") -> Json:
    """What the model thought; encrypted if that is asked for."""
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": id, "type": "reasoning", "summary": parts, "encrypted_content": SEALED}


def function_call(call_id: str, name: str, arguments: str, id: str = "fc_0a1") -> Json:
    half = len(arguments) // 2
    item = {"id": id, "type": "function_call", "status": "completed", "call_id": call_id, "name": name}
    return _pieces({**item, "arguments": arguments}, (arguments[:half], arguments[half:]))


def web_search(query: str, id: str = "ws_0a1") -> Json:
    action = {"type": "search", "query": query, "queries": [query]}
    return {"id": id, "type": "web_search_call", "status": "completed", "action": action}


def annotated(*pieces: str, id: str = "msg_0a1") -> Json:
    """A message that cites its sources."""
    said = message(*pieces, id=id)
    cited = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}
    said["content"][0]["annotations"] = [cited, {**cited, "title": "B"}]
    return said


def probable(*pieces: str, id: str = "msg_0a1") -> Json:
    """A message with the logprobs of its tokens."""
    said = message(*pieces, id=id)
    said["content"][0]["logprobs"] = [
        {"token": piece, "logprob": -0.5, "bytes": [*piece.encode()], "top_logprobs": []} for piece in pieces
    ]
    return said


def refusal(*pieces: str, id: str = "msg_0a1") -> Json:
    part = {"type": "refusal", "refusal": "".join(pieces)}
    return _pieces({"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}, pieces)


def thoughts(*pieces: str, id: str = "rs_0a2") -> Json:
    """Reasoning that everybody can read."""
    part = {"type": "reasoning_text", "text": "".join(pieces)}
    return _pieces({"id": id, "type": "reasoning", "summary": [], "content": [part]}, pieces)


def custom_tool_call(*pieces: str, id: str = "ctc_0a1") -> Json:
    item = {"id": id, "type": "custom_tool_call", "call_id": "call_c", "name": "write", "input": "".join(pieces)}
    return _pieces(item, pieces)


def mcp_call(*pieces: str, id: str = "mcp_0a1") -> Json:
    item = {"id": id, "type": "mcp_call", "server_label": "s", "name": "roll", "arguments": "".join(pieces)}
    told = {"status": "completed", "approval_request_id": None, "output": "4", "error": None}
    return _pieces(item | told, pieces)


def mcp_list_tools(id: str = "mcpl_0a1") -> Json:
    tool = {"name": "roll", "description": "Rolls.", "input_schema": {"type": "object"}, "annotations": None}
    return {"id": id, "type": "mcp_list_tools", "server_label": "s", "tools": [tool]}


def mcp_approval_request(id: str = "mcpr_0a1") -> Json:
    return {"id": id, "type": "mcp_approval_request", "server_label": "s", "name": "roll", "arguments": "{}"}


def file_search(query: str, id: str = "fs_0a1") -> Json:
    found = {"file_id": "file_1", "filename": "a.txt", "score": 0.5, "text": "A", "attributes": {}}
    return {"id": id, "type": "file_search_call", "status": "completed", "queries": [query], "results": [found]}


def code_interpreter(*pieces: str, id: str = "ci_0a1") -> Json:
    item = {"id": id, "type": "code_interpreter_call", "status": "completed", "container_id": "cntr_1"}
    return _pieces({**item, "code": "".join(pieces), "outputs": [{"type": "logs", "logs": "1"}]}, pieces)


def image_generation(id: str = "ig_0a1") -> Json:
    return {"id": id, "type": "image_generation_call", "status": "completed", "result": "aW1hZ2U="}


def shell_call(*commands: str, id: str = "sh_0a1") -> Json:
    action = {"commands": list(commands), "timeout_ms": None, "max_output_length": None}
    item = {"id": id, "type": "shell_call", "status": "completed", "call_id": "call_s", "environment": None}
    return {**item, "action": action}


def apply_patch(diff: str, id: str = "apc_0a1") -> Json:
    operation = {"type": "create_file", "path": "a.txt", "diff": diff}
    return {"id": id, "type": "apply_patch_call", "status": "completed", "call_id": "call_p", "operation": operation}


def of_every_kind() -> list[Json]:
    """Items with ids of their own."""
    return [
        reasoning("Hm.", "So.", id="rs_1"),
        reasoning(id="rs_2"),
        thoughts("Hm", "m.", id="rs_3"),
        message("One", " two", id="msg_1"),
        annotated("One", " two", id="msg_2"),
        probable("One", " two", id="msg_3"),
        refusal("I am ", "sorry.", id="msg_4"),
        function_call("call_1", "look", '{"a": 1}'),
        custom_tool_call("a", "b"),
        web_search("x"),
        file_search("x"),
        code_interpreter("print(", "1)"),
        image_generation(),
        mcp_list_tools(),
        mcp_approval_request(),
        mcp_call("{", "}"),
        shell_call("ls -l", "pwd"),
        apply_patch("+x"),
    ]


# Answers


def answering(
    *items: Json, status: str = "completed", pause: Sequence[Step] = (), then: Sequence[Step] | None = None, **told: Any
) -> Callable[[Request], Answer]:
    """The items as a response.

    `pause` are steps before the first delta's successor; `then` what comes in place of the last item's end.
    """

    def answer(request: Request) -> Answer:
        asked = request.json
        shown = [_shown(item, asked) for item in items]
        end = response(asked, status=status, output=[_told(item) for item in shown], usage=USAGE, **told)
        if not asked.get("stream"):
            return json_answer(end)
        steps: list[Step] = list(events(asked, shown, end))
        deltas = [place for place, step in enumerate(steps) if isinstance(step, bytes) and b".delta\n" in step[:70]]
        if pause:
            steps[deltas[0] + 1 : deltas[0] + 1] = pause
        return sse_answer(steps if then is None else [*steps[: deltas[-1] + 1], *then])

    return answer


def events(asked: Json, items: Sequence[Json], end: Json) -> list[bytes]:
    """The events of a stream, numbered."""
    begun = response(asked, status="in_progress")
    told: list[Json] = [{"type": f"response.{name}", "response": begun} for name in ("created", "in_progress")]
    for index, item in enumerate(items):
        place = {"output_index": index, "item_id": item["id"]}
        # The document has no id in the events of commands.
        without = ("response.output_item.", "response.shell_call_command.")
        told += [
            {**one, **({"output_index": index} if one["type"].startswith(without) else place)}
            for one in _item_events(item)
        ]
    told.append({"type": f"response.{end['status']}", "response": end})
    return [event({**one, "sequence_number": number}) for number, one in enumerate(told)]


def event(data: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), encode(data))


def response(asked: Json, **told: Any) -> Json:
    """The response object, as OpenAI's API has it."""
    reasons = {"effort": "medium", "summary": None, **(asked.get("reasoning") or {})}
    return {
        "id": UPSTREAM_ID,
        "object": "response",
        "created_at": 1767225600,
        "status": "completed",
        "background": False,
        "billing": {"payer": "developer"},
        "completed_at": 1767225601 if told.get("status") == "completed" else None,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "model": asked["model"],
        "output": [],
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "reasoning": reasons,
        "safety_identifier": None,
        "service_tier": asked.get("service_tier", "default"),
        "store": False,
        "temperature": asked.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": [_shown_tool(tool) for tool in asked.get("tools", [])],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": asked.get("truncation", "disabled"),
        "usage": None,
        "user": None,
        "metadata": {},
    } | told


def asked(request: Request) -> Json:
    """What the server was asked, without what is the same always."""
    always = {"store": False, "model": request.json["model"], "stream": request.json["stream"]}
    assert {name: request.json[name] for name in always} == always
    return {name: value for name, value in request.json.items() if name not in {*always, "stream_options"}}


def _shown_tool(tool: Json) -> Json:
    if tool["type"] == "web_search":
        location = {"type": "approximate", "city": None, "country": "US", "region": None, "timezone": None}
        return {"filters": None, "search_context_size": "medium", "user_location": location, **tool}
    if tool["type"] == "function":
        return {"description": None, "strict": True, **tool}
    return tool


def _pieces(item: Json, pieces: Sequence[str]) -> Json:
    return item | {"_pieces": list(pieces)}


def _shown(item: Json, asked: Json) -> Json:
    """Encrypted content is told only if it is asked for."""
    if item["type"] == "reasoning" and "reasoning.encrypted_content" not in asked.get("include", []):
        return {name: value for name, value in item.items() if name != "encrypted_content"}
    return item


def _told(item: Json) -> Json:
    return {name: value for name, value in item.items() if name != "_pieces"}


def _item_events(item: Json) -> list[Json]:
    done = {"type": "response.output_item.done", "item": _told(item)}
    inner, begun = _inner_events(item)
    status = {"status": "in_progress"} if "status" in item else {}
    return [{"type": "response.output_item.added", "item": {**_told(item), **begun, **status}}, *inner, done]


# The calls that are told in pieces: by which events, and the states before and after them.
_CALLS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "function_call": ("function_call_arguments", "arguments", (), ()),
    "custom_tool_call": ("custom_tool_call_input", "input", (), ()),
    "mcp_call": ("mcp_call_arguments", "arguments", ("in_progress",), ("completed",)),
    "code_interpreter_call": (
        "code_interpreter_call_code",
        "code",
        ("in_progress",),
        ("interpreting", "completed"),
    ),
}


def _inner_events(item: Json) -> tuple[list[Json], Json]:
    """The events between an item's beginning and its end, and in what it differs at its beginning."""
    kind = item["type"]
    if kind in {"message", "reasoning"}:
        place = "content" if "content" in item else "summary"
        return _part_events(place, item[place], item.get("_pieces")), {place: []}
    if kind not in _CALLS:
        return _tool_events(item)
    name, field, before, after = _CALLS[kind]
    end = {"type": f"response.{name}.done", field: item[field]}
    if kind == "function_call":
        end["name"] = item["name"]
    deltas = [{"type": f"response.{name}.delta", "delta": piece} for piece in item["_pieces"]]
    begun = {field: ""} | {later: None for later in ("output", "outputs") if later in item}
    return [*_states(item, *before), *deltas, end, *_states(item, *after)], begun


def _tool_events(item: Json) -> tuple[list[Json], Json]:
    """The events of tools that tell nothing in pieces."""
    match item["type"]:
        case "file_search_call":
            return _states(item, "in_progress", "searching", "completed"), {"queries": [], "results": None}
        case "image_generation_call":
            image = {"type": "response.image_generation_call.partial_image", "partial_image_index": 0}
            image["partial_image_b64"] = item["result"]
            begun = _states(item, "in_progress", "generating")
            return [*begun, image, *_states(item, "completed")], {"result": None}
        case "mcp_list_tools":
            return _states(item, "in_progress", "completed"), {"tools": []}
        case "shell_call":
            return _command_events(item["action"]["commands"]), {"action": {**item["action"], "commands": []}}
        case "mcp_approval_request" | "apply_patch_call":
            return [], {}
        case _:
            return _states(item, "in_progress", "searching", "completed"), {}


def _states(item: Json, *states: str) -> list[Json]:
    return [{"type": f"response.{item['type']}.{state}"} for state in states]


def _command_events(commands: Sequence[str]) -> list[Json]:
    told: list[Json] = []
    for index, command in enumerate(commands):
        name, place = "response.shell_call_command", {"command_index": index}
        told += [
            {"type": f"{name}.added", **place, "command": ""},
            *({"type": f"{name}.delta", **place, "delta": piece} for piece in (command[:2], command[2:])),
            {"type": f"{name}.done", **place, "command": command},
        ]
    return told


_EVENTS = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
    "summary_text": "response.reasoning_summary_text",
}


def _part_events(place: str, parts: Sequence[Json], pieces: Sequence[str] | None = None) -> list[Json]:
    told: list[Json] = []
    name = "response.content_part" if place == "content" else "response.reasoning_summary_part"
    for index, part in enumerate(parts):
        field = "refusal" if part["type"] == "refusal" else "text"
        begun = {field: ""} | {name: [] for name in ("annotations", "logprobs") if name in part}
        inner = _told_in_part(part, field, pieces or [part[field]])
        at = {"content_index" if place == "content" else "summary_index": index}
        told += [
            {**one, **at}
            for one in (
                {"type": f"{name}.added", "part": part | begun},
                *inner,
                {"type": f"{name}.done", "part": part},
            )
        ]
    return told


def _told_in_part(part: Json, field: str, pieces: Sequence[str]) -> list[Json]:
    name = _EVENTS[part["type"]]
    probable = part.get("logprobs") or [None] * len(pieces)
    deltas: list[Json] = [
        {"type": f"{name}.delta", "delta": piece}
        | ({"logprobs": [one] if one else []} if part["type"] == "output_text" else {})
        for piece, one in zip(pieces, probable, strict=True)
    ]
    annotations = [
        {"type": f"{name}.annotation.added", "annotation_index": index, "annotation": annotation}
        for index, annotation in enumerate(part.get("annotations", ()))
    ]
    end = {"type": f"{name}.done", field: part[field]}
    if part["type"] == "output_text":
        end["logprobs"] = part["logprobs"]
    return [*deltas, *annotations, end]


def decoded(data: bytes) -> Json:
    return json.loads(data.partition(b"data: ")[2])
