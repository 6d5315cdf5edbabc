"""Tools in namespaces, on their way to a model that knows none: a name of both, and both again in its calls."""

from itertools import count
from typing import Any

import pytest

from fundament.protocol.responses import parse_items, validate
from fundament.responses.chunks import read_chunk
from fundament.responses.fold import ResponseFold
from fundament.responses.resource import new_response
from fundament.responses.tools import namespaced, tool_paths
from fundament.responses.translation import responses_param
from responses.chat_chunks import chunk
from responses.event_client import fold_events
from responses.translated import refusal, translated
from specification import assert_valid_event

NAMESPACE = {
    "type": "namespace",
    "name": "crm",
    "description": "The customers.",
    "tools": [
        {"type": "function", "name": "find", "description": "Finds one.", "strict": False},
        {"type": "custom", "name": "note"},
    ],
}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": "f", **fields}


def test_a_refusal_names_a_tool_by_its_place_in_the_request() -> None:
    paths = tool_paths(validate({"model": "m", "input": "x", "tools": [NAMESPACE, function()]}).tools or [])
    assert [place.path for place in paths] == ["tools[0].tools[0]", "tools[0].tools[1]", "tools[1]"]
    assert responses_param("tools[1].custom.format", paths) == "tools[0].tools[1].format"
    assert responses_param("tools[2].function.parameters", paths) == "tools[1].parameters"


def test_a_tool_in_a_namespace_has_a_name_of_both() -> None:
    body = translated(tools=[NAMESPACE, function(strict=False)])
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "crm__find", "description": "The customers.\n\nFinds one.", "strict": False},
        },
        {"type": "custom", "custom": {"name": "crm__note", "description": "The customers."}},
        {"type": "function", "function": {"name": "f", "strict": False}},
    ]


def test_calls_of_tools_in_namespaces_are_told_to_the_model_by_that_name() -> None:
    calls = [
        {"type": "function_call", "call_id": "1", "namespace": "crm", "name": "find", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "2", "namespace": "crm", "name": "note", "input": "n"},
    ]
    results = [
        {"type": "function_call_output", "call_id": "1", "output": "a"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": "b"},
    ]
    (message, *_) = translated(input=[*calls, *results])["messages"]
    names = [call[call["type"]]["name"] for call in message["tool_calls"]]
    assert names == ["crm__find", "crm__note"]


@pytest.mark.parametrize("field", ["name", "description", "tools"])
def test_a_namespace_is_held_to_its_shape(field: str) -> None:
    refused = refusal(tools=[{name: value for name, value in NAMESPACE.items() if name != field}])
    assert refused.param == f"tools[0].{field}"


def test_a_call_of_a_tool_in_a_namespace_names_both() -> None:
    request = validate({"model": "m", "input": "x", "tools": [NAMESPACE, function()]})
    numbers = count()
    response = new_response(request, id="resp_1", created_at=1)
    fold = ResponseFold(response, lambda prefix: f"{prefix}_{next(numbers)}", namespaced(request.tools or []))
    functions = [
        {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for index, name in enumerate(["crm__find", "f"])
    ]
    custom = {"index": 2, "id": "call_2", "type": "custom", "custom": {"name": "crm__note", "input": "n"}}
    chunks = [chunk(tool_calls=[call]) for call in (*functions, custom)]
    events = fold.start()
    for part in [*chunks, chunk("tool_calls")]:
        events += fold.feed(read_chunk(part))
    events += fold.finish(2)
    for event in events:
        assert_valid_event(event)
    assert fold_events(events) == fold.response
    calls = [(call.get("namespace"), call["name"]) for call in fold.response["output"]]
    assert calls == [("crm", "find"), (None, "f"), ("crm", "note")]
    assert parse_items(fold.response["output"])
