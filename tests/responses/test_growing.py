"""Items between their beginning and their end: several at once, seen in the middle, and told in ways that cannot be."""

from copy import deepcopy
from typing import Any

import pytest

from fundament.responses.growing import GrowingOutput

Json = dict[str, Any]
TEXT: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
SUMMARY: Json = {"type": "summary_text", "text": ""}


def added(item_type: str, index: int = 0, **fields: Any) -> Json:
    item = {"id": f"id_{index}", "type": item_type, "status": "in_progress", **fields}
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def told(type: str, index: int = 0, **fields: Any) -> Json:
    return {"type": f"response.{type}", "output_index": index, "item_id": f"id_{index}", **fields}


def grown(*events: Json) -> GrowingOutput:
    output = GrowingOutput()
    for event in events:
        output.take(event)
    return output


MESSAGE = added("message", role="assistant", content=[])
PART = told("content_part.added", content_index=0, part=TEXT)
DELTA = told("output_text.delta", content_index=0, delta="Hel", logprobs=[{"token": "Hel"}])


def test_what_was_opened_last_closes_first() -> None:
    thinking = added("reasoning", summary=[])
    parts = [told("reasoning_summary_part.added", summary_index=index, part=SUMMARY) for index in (0, 1)]
    output = grown(thinking, *parts, added("mcp_call", 1, arguments="", name="roll", server_label="s"))
    closing = output.close()
    assert [(event["type"].removeprefix("response."), event.get("summary_index")) for event in closing] == [
        ("mcp_call_arguments.done", None),
        ("output_item.done", None),
        ("reasoning_summary_text.done", 1),
        ("reasoning_summary_part.done", 1),
        ("reasoning_summary_text.done", 0),
        ("reasoning_summary_part.done", 0),
        ("output_item.done", None),
    ]
    assert [event["item"] for event in closing if "item" in event] == output.items[::-1]
    assert output.close() == []


def test_a_part_that_is_done_is_told_so_once() -> None:
    done = told("content_part.done", content_index=0, part={**TEXT, "text": "Hello"})
    output = grown(MESSAGE, PART, DELTA, done)  # some servers leave out the text's own end
    assert [event["type"] for event in output.close()] == ["response.output_item.done"]
    assert output.items[0]["content"] == [{**TEXT, "text": "Hello"}]


def test_what_was_shown_and_what_was_told_do_not_change() -> None:
    cited = told("output_text.annotation.added", content_index=0, annotation_index=0, annotation={"type": "x"})
    events = [MESSAGE, PART, DELTA, cited]
    kept = deepcopy(events)
    output = grown(*events)
    shown, copy = output.items, deepcopy(output.items)
    assert shown[0]["content"][0] == {
        **TEXT,
        "text": "Hel",
        "annotations": [{"type": "x"}],
        "logprobs": [{"token": "Hel"}],
    }
    for event in (DELTA, cited):
        output.take(event)
    output.close()
    assert (events, shown) == (kept, copy)


def test_what_is_said_after_a_texts_end_is_added_to_it() -> None:
    done = told("output_text.done", content_index=0, text="Hel", logprobs=[])
    more = told("output_text.delta", content_index=0, delta="lo", logprobs=[])
    assert grown(MESSAGE, PART, DELTA, done, more).items[0]["content"][0]["text"] == "Hello"


@pytest.mark.parametrize(
    "event",
    [
        DELTA,
        {**PART, "content_index": 1},
        told("content_part.done", content_index=0, part=TEXT),
        told("output_text.done", content_index=0, text="x"),
        told("output_text.annotation.added", content_index=0, annotation={}),
        told("reasoning_summary_text.delta", summary_index=0, delta="x"),
    ],
)
def test_a_part_that_was_not_added_is_refused(event: Json) -> None:
    with pytest.raises(IndexError):
        grown(MESSAGE, event)


@pytest.mark.parametrize("delta", [None, 1, ["x"]])
def test_a_piece_that_is_no_text_is_refused(delta: object) -> None:
    with pytest.raises(TypeError):
        grown(MESSAGE, PART, {**DELTA, "delta": delta})
    with pytest.raises(TypeError):
        grown(added("function_call", name="f", arguments=delta or 1))


def test_a_part_of_another_items_kind_can_be_closed() -> None:
    output = grown(MESSAGE, {**PART, "part": SUMMARY})
    assert [event["type"] for event in output.close()] == ["response.content_part.done", "response.output_item.done"]
