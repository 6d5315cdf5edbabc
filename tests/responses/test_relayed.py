"""The events of another server's response, told as ours: numbers, ids, and an end however it ends."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native_answers
from fundament.errors import UpstreamFailure
from fundament.protocol.responses import validate
from fundament.responses.relayed import RelayedResponse
from fundament.responses.resource import new_response
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from specification import assert_valid_event

Json = dict[str, Any]
ASKED: Json = {"model": "m", "include": ["reasoning.encrypted_content"]}
ITEMS = native_answers.of_every_kind()
CODE = {"id": "ci_1", "type": "code_interpreter_call", "status": "in_progress", "container_id": "c", "outputs": []}


def relayed(**fields: Any) -> RelayedResponse:
    numbers = itertools.count()
    response = new_response(validate({"model": "ours", "input": "x", **fields}), id="resp_ours", created_at=1)
    return RelayedResponse(response, lambda prefix: f"{prefix}_ours{next(numbers)}")


def theirs(items: list[Json]) -> list[Json]:
    end = native_answers.response(
        ASKED,
        output=[{name: value for name, value in item.items() if name != "_pieces"} for item in items],
        usage=native_answers.USAGE,
    )
    return [native_answers.decoded(event) for event in native_answers.events(ASKED, items, end)]


@given(st.lists(st.sampled_from(range(len(ITEMS))), unique=True, max_size=4), st.data())
def test_a_stream_is_whole_wherever_it_breaks_off(chosen: list[int], data: st.DataObject) -> None:
    events = theirs([ITEMS[place] for place in chosen])
    broken = data.draw(st.integers(2, len(events)))
    fold = relayed()
    told = [assert_valid_event(event) for event in fold.start()]
    for event in events[:broken]:
        told += fold.feed(event)
    if fold.status == "in_progress":
        told += fold.fail(UpstreamFailure("Oh."))
    assert_in_order(told, broken_off=broken < len(events))
    assert fold_events(told) == told[-1]["response"]
    assert told[-1]["response"] == fold.response
    assert fold.response["id"] == "resp_ours"
    assert fold.status == ("completed" if broken == len(events) else "failed")


def test_the_end_is_what_the_server_says() -> None:
    *events, end = theirs([native_answers.message("One", " two")])
    fold = relayed()
    fold.start()
    for event in events:
        fold.feed(event)
    end["response"]["output"] = []  # some servers tell the items once only
    [last] = fold.feed(end)
    assert last["response"]["output"][0]["content"][0]["text"] == "One two"
    assert fold.usage is not None and fold.usage.reasoning_tokens == 7


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_code_that_is_being_written_is_kept_when_it_is_cancelled(status: str) -> None:
    fold = relayed(background=True)
    if status == "queued":
        fold.queue()
    fold.start()
    fold.feed({"type": "response.output_item.added", "output_index": 0, "item": CODE})
    for delta in ("print(", "1)"):
        fold.feed(_delta("response.code_interpreter_call_code", delta, obfuscation="xyz"))
    assert fold.response["output"][0]["code"] == "print(1)"
    told = fold.cancel()
    assert [event["type"] for event in told] == [
        "response.code_interpreter_call_code.done",
        "response.output_item.done",
    ]
    assert told[0]["code"] == "print(1)"
    assert (fold.status, fold.response["output"][0]["status"]) == ("cancelled", "incomplete")


def test_a_search_that_breaks_off_has_failed() -> None:
    fold = relayed()
    search = native_answers.web_search("x") | {"status": "in_progress"}
    fold.feed({"type": "response.output_item.added", "output_index": 0, "item": search})
    fold.fail(UpstreamFailure("Oh."))
    assert fold.response["output"][0]["status"] == "failed"  # OpenAI has no incomplete ones


def test_obfuscation_and_what_is_no_event_of_a_response_are_not_told() -> None:
    fold = relayed()
    fold.feed({"type": "response.output_item.added", "output_index": 0, "item": CODE})
    [told] = fold.feed(_delta("response.code_interpreter_call_code", "x", obfuscation="xyz", sequence_number=77))
    assert "obfuscation" not in told and told["sequence_number"] == 1
    assert fold.feed({"type": "keepalive", "sequence_number": 78}) == []


def test_credentials_that_a_server_echoes_are_not_told() -> None:
    tool = {"type": "mcp", "server_label": "a", "headers": {"x": "secret"}, "authorization": "secret"}
    fold = relayed()
    fold.feed({"type": "response.created", "response": native_answers.response({"model": "m"}, tools=[tool])})
    assert fold.response["tools"] == [{"type": "mcp", "server_label": "a"}]


def _delta(name: str, delta: str, **more: Any) -> Json:
    return {"type": f"{name}.delta", "output_index": 0, "item_id": "ci_1", "delta": delta, **more}
