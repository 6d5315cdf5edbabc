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
        told += [{**one, **(place if "item" not in one else {"output_index": index})} for one in _item_events(item)]
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


def _inner_events(item: Json) -> tuple[list[Json], Json]:
    """The events between an item's beginning and its end, and in what it differs at its beginning."""
    match item["type"]:
        case "message":
            return _text_events(item, item["content"][0]), {"content": []}
        case "reasoning":
            told: list[Json] = []
            for index, part in enumerate(item["summary"]):
                name, place = "response.reasoning_summary", {"summary_index": index}
                told += [
                    {"type": f"{name}_part.added", **place, "part": {**part, "text": ""}},
                    {"type": f"{name}_text.delta", **place, "delta": part["text"]},
                    {"type": f"{name}_text.done", **place, "text": part["text"]},
                    {"type": f"{name}_part.done", **place, "part": part},
                ]
            return told, {"summary": []}
        case "function_call":
            name = "response.function_call_arguments"
            deltas = [{"type": f"{name}.delta", "delta": piece} for piece in item["_pieces"]]
            end = {"type": f"{name}.done", "arguments": item["arguments"], "name": item["name"]}
            return [*deltas, end], {"arguments": ""}
        case _:
            states = ("in_progress", "searching", "completed")
            return [{"type": f"response.{item['type']}.{state}"} for state in states], {}


def _text_events(item: Json, part: Json) -> list[Json]:
    place = {"content_index": 0}
    return [
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in item["_pieces"]),
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def decoded(data: bytes) -> Json:
    return json.loads(data.partition(b"data: ")[2])
