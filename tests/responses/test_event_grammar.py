"""The grammar and the client themselves: a stream that is out of order must be refused."""

from typing import Any

import pytest

from responses.chat_chunks import chunk
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from responses.test_fold import told

CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
EVENTS, RESPONSE = told(
    [chunk(reasoning_content="hm"), chunk(content="x"), chunk(refusal="no"), chunk(tool_calls=[CALL])]
)


def numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


@pytest.mark.parametrize("index", range(len(EVENTS)), ids=lambda index: EVENTS[index]["type"])
def test_a_stream_with_an_event_left_out_or_moved_is_refused(index: int) -> None:
    assert_in_order(EVENTS)
    rest = [*EVENTS[:index], *EVENTS[index + 1 :]]
    if not EVENTS[index]["type"].endswith(".delta"):  # a text or a call may be empty
        with pytest.raises(AssertionError):
            assert_in_order(numbered(rest))
    with pytest.raises(AssertionError):
        assert_in_order(rest)
    with pytest.raises(AssertionError):
        assert_in_order(numbered([*rest, EVENTS[index]] if index < len(rest) else [EVENTS[index], *rest]))


@pytest.mark.parametrize("field", ["output_index", "content_index", "item_id", "sequence_number"])
def test_an_event_in_the_wrong_place_is_refused(field: str) -> None:
    for index, event in enumerate(EVENTS):
        if field in event:
            wrong = [*EVENTS[:index], {**event, field: "other" if field == "item_id" else 99}, *EVENTS[index + 1 :]]
            with pytest.raises(AssertionError):
                assert_in_order(wrong)


@pytest.mark.parametrize("index", [i for i, event in enumerate(EVENTS) if event["type"].endswith(".delta")])
def test_a_lost_delta_is_seen_by_the_client(index: int) -> None:
    assert fold_events(EVENTS) == RESPONSE
    with pytest.raises(AssertionError):
        fold_events([*EVENTS[:index], *EVENTS[index + 1 :]])
