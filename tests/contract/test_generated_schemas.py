"""Whatever schema an application writes, an answer or a call that came to its end is valid by it.

SCHEMAS and FORCED_CALLS in the environment say for how many generated schemas; the acceptance run has 200 and 100.
`pytest -rP` shows how many of them came to their end.
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from jsonschema import ValidationError

from json_schemas import Schema, assert_holds, drawn, object_schemas
from service import Service
from specification import assert_valid, read_sse

MODEL = "SmolLM2-135M-Instruct"
CHAT = "/v2/chat/completions"
SCHEMAS = int(os.environ.get("SCHEMAS", "40"))
FORCED_CALLS = int(os.environ.get("FORCED_CALLS", "20"))
SLOTS = 16  # of the embedded model: so many answers are written at once
PATIENCE_S = 300  # for the last of many answers on a machine that has other work, too
ENDED = 0.6  # the share of answers that must end by themselves, else the test would say little
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What became of one request: how it ended, and what is wrong with it if anything is."""

    reason: str
    fault: str | None


def cut_off(schema: Schema, text: str) -> Outcome:
    sys.stdout.write(f"cut off: {text!r}\n{json.dumps(schema)}\n")
    return Outcome("length", None)


def judged(schema: Schema, text: str, reason: str) -> Outcome:
    """Whether a text that ended is JSON, and valid by the schema; one that was cut off is not asked."""
    if reason == "length":
        return cut_off(schema, text)
    try:
        assert_holds(schema, json.loads(text))
    except (json.JSONDecodeError, ValidationError) as error:
        return Outcome(reason, f"{type(error).__name__}: {str(error).splitlines()[0]}\n{text!r}\n{json.dumps(schema)}")
    return Outcome(reason, None)


def all_at_once(ask: Callable[[int, Schema], Outcome], schemas: list[Schema]) -> list[Outcome]:
    with ThreadPoolExecutor(SLOTS) as pool:
        return list(pool.map(ask, range(len(schemas)), schemas))


def assert_all_hold(outcomes: list[Outcome], wanted: str) -> None:
    ended = sum(outcome.reason == wanted for outcome in outcomes)
    sys.stdout.write(f"{ended} of {len(outcomes)} ended with {wanted}\n")
    faults = [outcome.fault for outcome in outcomes if outcome.fault is not None]
    assert not faults, f"{len(faults)} of {len(outcomes)} do not hold:\n" + "\n\n".join(faults)
    assert ended >= ENDED * len(outcomes), f"only {ended} of {len(outcomes)} ended with {wanted}"


def answer_to(service: Service, position: int, schema: Schema) -> Outcome:
    named = {"name": "answer", "strict": True, "schema": schema}
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Answer with an example."}],
        "response_format": {"type": "json_schema", "json_schema": named},
        "temperature": 1,
        "seed": position,
        "max_tokens": 200,
    }
    reply = service.post(CHAT, body, timeout_s=PATIENCE_S)
    if reply.status != 200:
        return Outcome("refused", f"{reply.status}: {reply.error['message']}\n{json.dumps(schema)}")
    (choice,) = assert_valid("CreateChatCompletionResponse", reply.json)["choices"]
    return judged(schema, choice["message"]["content"], choice["finish_reason"])


def test_every_answer_that_ended_is_valid_by_its_schema(embedded: Service) -> None:
    outcomes = all_at_once(lambda at, schema: answer_to(embedded, at, schema), drawn(object_schemas(depth=3), SCHEMAS))
    assert len(outcomes) == SCHEMAS
    assert_all_hold(outcomes, "stop")


def test_a_character_that_the_model_has_no_tokens_for_is_refused_and_never_written_wrong(embedded: Service) -> None:
    lacked = "\U000ab318"  # of a plane without characters: SmolLM2's vocabulary has no byte 0xF2
    schema = {"type": "object", "properties": {"x": {"const": lacked}}, "required": ["x"]}
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Answer."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
    reply = embedded.post(CHAT, body)
    assert (reply.status, reply.error["param"]) == (400, "response_format")
    assert "no tokens" in reply.error["message"]


def calls_of(service: Service, body: dict[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """The functions called in an answer, streamed or whole, and how it ended."""
    with service.send("POST", CHAT, body, timeout_s=PATIENCE_S) as exchange:
        data = exchange.read()
        assert exchange.status == 200, data.decode()
    if not body["stream"]:
        (choice,) = assert_valid("CreateChatCompletionResponse", json.loads(data))["choices"]
        assert choice["message"]["content"] is None, "there is text beside the calls"
        return [call["function"] for call in choice["message"]["tool_calls"]], choice["finish_reason"]
    *events, done = read_sse(data)
    assert done == "[DONE]"
    calls: list[dict[str, Any]] = []
    reason = None
    for event in events:
        (choice,) = assert_valid("CreateChatCompletionStreamResponse", json.loads(event))["choices"]
        assert not choice["delta"].get("content"), f"markup or text in content: {choice['delta']}"
        reason = choice["finish_reason"] or reason
        for piece in choice["delta"].get("tool_calls") or ():
            if piece["index"] == len(calls):
                calls.append({"name": piece["function"]["name"], "arguments": ""})
            calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    return calls, reason


def call_of(service: Service, position: int, schema: Schema, *, named: bool, stream: bool) -> Outcome:
    other = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "additionalProperties": False}
    parameters = {"use": schema, "count": other}
    tools = [{"type": "function", "function": {"name": name, "parameters": parameters[name]}} for name in parameters]
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Use the function, with an example."}],
        "tools": tools,
        "tool_choice": {"type": "function", "function": {"name": "use"}} if named else "required",
        "parallel_tool_calls": False,
        "stream": stream,
        "temperature": 1,
        "seed": position,
        "max_tokens": 400,
    }
    try:
        calls, reason = calls_of(service, body)
    except AssertionError as error:
        return Outcome("refused", f"{error}\n{json.dumps(schema)}")
    if reason == "length":
        return cut_off(schema, json.dumps(calls))
    # A named function's call ends with "stop" in OpenAI's own API, too; both are in its schema.
    if len(calls) != 1 or reason not in {"tool_calls", "stop"} or (named and calls[0]["name"] != "use"):
        return Outcome(str(reason), f"ended with {reason} and the calls {calls}\n{json.dumps(schema)}")
    return judged(parameters[calls[0]["name"]], calls[0]["arguments"], "tool_calls")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("named", [False, True], ids=["required", "named"])
def test_every_forced_call_that_ended_is_valid_by_its_schema(embedded: Service, named: bool, stream: bool) -> None:
    # The model reads the schema of a call: small ones, for reading is what takes the time.
    schemas = drawn(object_schemas(depth=1), FORCED_CALLS)[2 * named + stream :: 4]
    outcomes = all_at_once(lambda at, schema: call_of(embedded, at, schema, named=named, stream=stream), schemas)
    assert len(outcomes) >= FORCED_CALLS // 4
    assert_all_hold(outcomes, "tool_calls")
