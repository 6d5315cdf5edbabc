"""Asking the Responses API, with every body and every event held to both specifications; and answers of a chat to it.

It knows the wire and the oracles. It knows nothing of how responses are made or kept.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from booked import records
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from scripted_answers import DONE, Answer, chat_events, encode, event, json_answer, sse_answer, usage
from scripted_upstream import Request, Script
from service import Reply, Service, wait_until
from specification import assert_valid, assert_valid_event, assert_valid_response

Json = dict[str, Any]
PATH = "/v2/responses"
MODEL = "gpt-4.1"
TERMINAL = {"completed", "incomplete", "failed", "cancelled"}


def asked(input: object, **fields: Any) -> Json:
    return {"model": MODEL, "input": input} | fields


# Requests


def respond(service: Service, input: object, **fields: Any) -> Json:
    """The response, made at once."""
    return response_of(service.post(PATH, asked(input, **fields)))


def streamed(service: Service, input: object, **fields: Any) -> list[Json]:
    """The events of a response, from the first to the last."""
    with service.send("POST", PATH, asked(input, stream=True, **fields)) as exchange:
        assert exchange.status == 200, exchange.read()
        assert exchange.headers["content-type"].startswith("text/event-stream")
        return whole_stream(read_events(exchange.events()))


def retrieve(service: Service, id: str) -> Json:
    return response_of(service.request("GET", f"{PATH}/{id}"))


def ended(service: Service, id: str, timeout_s: float = 10) -> Json:
    """The response as soon as it has come to its end."""
    assert wait_until(lambda: retrieve(service, id)["status"] in TERMINAL, timeout_s, every_s=0.05), retrieve(
        service, id
    )
    return retrieve(service, id)


def response_of(reply: Reply) -> Json:
    assert reply.status == 200, reply.body
    return assert_valid_response(reply.json)


def error_of(reply: Reply, status: int) -> Json:
    """The error in an answer, without its message: `param`, `code` and `type`."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    return assert_valid("ErrorResponse", reply.json)["error"]


def output_text(response: Json) -> str:
    """As the official package has it."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"] if part["type"] == "output_text")


# Streams


def read_events(pieces: Iterable[bytes]) -> Iterator[Json]:
    """Each event, strictly: its name, its data and an empty line; there is no `[DONE]`."""
    for piece in pieces:
        name, data, *rest = piece.decode().split("\n")
        assert rest == ["", ""], f"not one event: {piece!r}"
        decoded = json.loads(data.removeprefix("data: "))
        assert name == f"event: {decoded['type']}"
        yield assert_valid_event(decoded)


def whole_stream(events: Iterable[Json], *, cancelled: bool = False) -> list[Json]:
    """The events of a whole stream, in the grammar's order, which amount to the response that ends it."""
    told = list(events)
    assert_in_order(told, cancelled=cancelled)
    amount = fold_events(told)
    assert cancelled or amount == told[-1]["response"]
    return told


def resumed(service: Service, id: str, after: int | None = None) -> list[Json]:
    """The events of a response that is made in the background, until its end."""
    query = "stream=true&include_obfuscation=false" + ("" if after is None else f"&starting_after={after}")
    with service.send("GET", f"{PATH}/{id}?{query}") as exchange:
        assert exchange.status == 200, exchange.read()
        return list(read_events(exchange.events()))


# What the upstream answers


def saying(
    *pieces: str, finish_reason: str = "stop", reasoning: str | None = None, pause: Sequence[Any] = ()
) -> Script:
    """A text, streamed or not as it is asked; `pause` are steps before the last piece of a stream."""

    def answer(request: Request) -> Answer:
        text = "".join(pieces)
        if not request.json.get("stream"):
            message = {"role": "assistant", "content": text, "refusal": None} | _reasoning(reasoning)
            return _whole(message, finish_reason, len(text))
        events = chat_events(pieces, usage_asked=True, finish_reason=finish_reason)
        if reasoning is not None:
            events.insert(1, _chunk(_reasoning(reasoning)))
        return sse_answer([*events[:-3], *pause, *events[-3:], DONE])

    return answer


def calling(*calls: tuple[str, str, str]) -> Script:
    """Calls of functions (`call_id`, name, arguments), streamed or not as it is asked."""

    def answer(request: Request) -> Answer:
        shown = [_call(*call) for call in calls]
        if not request.json.get("stream"):
            return _whole({"role": "assistant", "content": None, "refusal": None, "tool_calls": shown}, "tool_calls", 5)
        events = [_chunk({"role": "assistant", "content": None})]
        for index, (call_id, name, arguments) in enumerate(calls):
            events.append(_chunk({"tool_calls": [{"index": index, **_call(call_id, name, "")}]}))
            half = len(arguments) // 2
            events += [
                _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
                for piece in (arguments[:half], arguments[half:])
            ]
        end = json.loads(chat_events([], usage_asked=True)[-1].removeprefix(b"data: "))
        return sse_answer([*events, _chunk({}, "tool_calls"), event(end | {"usage": usage(9, 5)}), DONE])

    return answer


def _call(call_id: str, name: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _reasoning(text: str | None) -> Json:
    return {} if text is None else {"reasoning_content": text}


def _whole(message: Json, finish_reason: str, completion_tokens: int) -> Answer:
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return json_answer(_body("chat.completion", choice) | {"usage": usage(9, completion_tokens)})


def _chunk(delta: Json, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return b"data: " + encode(_body("chat.completion.chunk", choice)) + b"\n\n"


def _body(object_name: str, choice: Json) -> Json:
    return {
        "id": "chatcmpl-scripted",
        "object": object_name,
        "created": 1767225600,
        "model": MODEL,
        "choices": [choice],
    }


# What was used


def usage_records(service: Service, response_id: str) -> list[Json]:
    """The records of the request that made a response."""
    request_id = f"req_{response_id.partition('_')[2][:32]}"
    return [record for record in records(service) if record["request_id"] == request_id]
