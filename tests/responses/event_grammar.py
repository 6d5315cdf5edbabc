"""The order of a response's events, as a grammar of its own, and the numbers in them.

It knows Open Responses' state machines and nothing of the code that makes the events.
"""

import re
from collections.abc import Sequence
from typing import Any

WORDS = {
    "response.output_item.added": "[",
    "response.output_item.done": "]",
    "response.content_part.added": "(",
    "response.content_part.done": ")",
}


def argument(events: str) -> str:
    return rf"(response\.{events}\.delta )*response\.{events}\.done "


def part(events: str) -> str:
    return rf"\( {argument(events)}\) "


MESSAGE = rf"\[message (({part('output_text')})|({part('refusal')}))+\]message "
REASONING = rf"\[reasoning ({part('reasoning_text')})+\]reasoning "
# Reasoning that only its server can read: of it, the summary is told, or nothing.
SUMMARY = (
    r"response\.reasoning_summary_part\.added "
    rf"{argument('reasoning_summary_text')}response\.reasoning_summary_part\.done "
)
SEALED = rf"\[sealed ({SUMMARY})*\]sealed "
SEARCH = (
    r"\[web_search_call response\.web_search_call\.in_progress (response\.web_search_call\.searching )?"
    r"(response\.web_search_call\.completed )?\]web_search_call "
)
FUNCTION = rf"\[function_call {argument('function_call_arguments')}\]function_call "
CUSTOM = rf"\[custom_tool_call {argument('custom_tool_call_input')}\]custom_tool_call "
LISTING = r"response\.mcp_list_tools"
LIST = rf"\[mcp_list_tools {LISTING}\.in_progress {LISTING}\.(completed|failed) \]mcp_list_tools "
QUESTION = r"\[mcp_approval_request \]mcp_approval_request "
# A call of an MCP server stays open while others are told; that its two halves belong together, `_assert_halves` sees.
CALL = rf"\[mcp_call response\.mcp_call\.in_progress {argument('mcp_call_arguments')}"
CALL_END = r"(response\.mcp_call\.(completed|failed) )?\]mcp_call "
ITEMS = rf"({MESSAGE}|{REASONING}|{SEALED}|{SEARCH}|{FUNCTION}|{CUSTOM}|{LIST}|{QUESTION}|{CALL}|{CALL_END})*"
BEGINNING = r"response\.created (response\.queued )?"
STREAM = re.compile(
    rf"{BEGINNING}(response\.in_progress {ITEMS}response\.(completed|incomplete|failed) |response\.failed )"
)
CANCELLED = re.compile(rf"{BEGINNING}(response\.in_progress {ITEMS})?")


def assert_in_order(events: Sequence[dict[str, Any]], *, cancelled: bool = False) -> None:
    """The events are one whole stream: in the grammar's order, numbered without gaps, each in its item and part."""
    sentence = "".join(f"{_word(event)} " for event in events)
    assert (CANCELLED if cancelled else STREAM).fullmatch(sentence), f"not in order: {sentence}"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    halves = [event for event in events if _is_second_half(event)]
    _assert_places([event for event in events if event not in halves])
    _assert_halves(events, halves)


def _word(event: dict[str, Any]) -> str:
    word = WORDS.get(event["type"], event["type"])
    if "item" not in event:
        return word
    is_sealed = event["item"]["type"] == "reasoning" and "content" not in event["item"]
    return word + ("sealed" if is_sealed else event["item"]["type"])


def _is_second_half(event: dict[str, Any]) -> bool:
    return event["type"] in {"response.mcp_call.completed", "response.mcp_call.failed"} or (
        event["type"] == "response.output_item.done" and event["item"]["type"] == "mcp_call"
    )


def _assert_halves(events: Sequence[dict[str, Any]], halves: Sequence[dict[str, Any]]) -> None:
    """Each call of an MCP server ends once, after its arguments, in its own place, with the status that was told."""
    whole = [event for event in events if event["type"] == "response.mcp_call_arguments.done"]
    ends = [event for event in halves if "item" in event]
    assert sorted(event["item"]["id"] for event in ends) == sorted(event["item_id"] for event in whole)
    for end in ends:
        begin = next(event for event in whole if event["item_id"] == end["item"]["id"])
        told = [event for event in halves if event.get("item_id") == end["item"]["id"]]
        assert {event["output_index"] for event in [*told, end]} == {begin["output_index"]}
        numbers = [event["sequence_number"] for event in [begin, *told, end]]
        assert numbers == sorted(numbers)
        status = told[0]["type"].rpartition(".")[2] if told else "incomplete"
        assert end["item"]["status"] == status


def _assert_places(events: Sequence[dict[str, Any]]) -> None:
    output_index, content_index, item_id = -1, -1, ""
    seen: set[str] = set()
    for event in events:
        if event["type"] == "response.output_item.added":
            output_index, content_index, item_id = output_index + 1, -1, event["item"]["id"]
            assert item_id not in seen, f"two items with the id {item_id}"
            seen.add(item_id)
        if event["type"] == "response.content_part.added":
            content_index += 1
        expected = {"output_index": output_index, "content_index": content_index, "item_id": item_id}
        assert {name: event[name] for name in expected if name in event} == {
            name: value for name, value in expected.items() if name in event
        }
        if "item" in event:
            assert event["item"]["id"] == item_id
