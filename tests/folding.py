"""What an application makes of a stream: the chunks put together, in the shape of the answer that is not streamed.

It knows OpenAI's two kinds of chunks and nothing of the service; written beside `src`, not out of it.
"""

from typing import Any

Json = dict[str, Any]
_HEAD = ("model", "system_fingerprint")


def folded(kind: str, chunks: list[Json]) -> Json:
    """The body that the chunks amount to, without its ids and its time."""
    choices: dict[int, Json] = {}
    usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for piece in chunk["choices"]:
            new = {"index": piece["index"], "logprobs": None, "finish_reason": None}
            choice = choices.setdefault(piece["index"], new)
            assert choice["finish_reason"] is None, "a piece after the end of its choice"
            if kind == "chat":
                _add_delta(choice.setdefault("message", {}), piece["delta"])
            else:
                choice["text"] = choice.get("text", "") + piece["text"]
            _add_logprobs(choice, piece["logprobs"])
            choice["finish_reason"] = piece["finish_reason"]
    head = {name: chunks[0][name] for name in _HEAD}
    return {**head, "choices": [choices[index] for index in sorted(choices)], "usage": _comparable(usage)}


def without_ids(body: Json) -> Json:
    """A body that was not streamed, as `folded` has it."""
    head = {name: body[name] for name in _HEAD}
    choices = sorted(body["choices"], key=lambda choice: choice["index"])
    for choice in choices:
        for call in choice.get("message", {}).get("tool_calls") or ():
            assert call.pop("id").startswith("call_")
    return {**head, "choices": choices, "usage": _comparable(body["usage"])}


def _comparable(usage: Json | None) -> Json | None:
    """A usage but for the part of the prompt that was found in the cache: the second request finds more of it."""
    if usage is None:
        return None
    return {name: value for name, value in usage.items() if name != "prompt_tokens_details"}


def _add_delta(message: Json, delta: Json) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            _add_calls(message.setdefault("tool_calls", []), value)
        elif name == "function_call":
            call = message.setdefault("function_call", {"name": "", "arguments": ""})
            call["name"] += value.get("name", "")
            call["arguments"] += value.get("arguments", "")
        elif isinstance(message.get(name), str) and value is not None and name != "role":
            message[name] += value
        elif value is not None or name not in message:
            message[name] = value


def _add_calls(calls: list[Json], pieces: list[Json]) -> None:
    for piece in pieces:
        if piece["index"] == len(calls):
            assert piece["id"].startswith("call_")
            assert piece["function"]["name"], "a call's name comes whole, in its first delta"
            calls.append({"type": piece["type"], "function": {"name": piece["function"]["name"], "arguments": ""}})
        calls[piece["index"]]["function"]["arguments"] += piece["function"].get("arguments", "")


def _add_logprobs(choice: Json, logprobs: Json | None) -> None:
    if logprobs is None:
        return
    if choice["logprobs"] is None:
        choice["logprobs"] = {name: list(value) if value is not None else None for name, value in logprobs.items()}
        return
    for name, value in logprobs.items():
        if value is not None:
            choice["logprobs"][name] = [*(choice["logprobs"][name] or []), *value]
