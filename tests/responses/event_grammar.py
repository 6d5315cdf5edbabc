"""The order of a response's events, as a grammar of its own, and the numbers in them.

It knows Open Responses' state machines and nothing of the code that makes the events.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

WORDS = {
    "response.output_item.added": "[",
    "response.output_item.done": "]",
    "response.content_part.added": "(",
    "response.content_part.done": ")",
}


def argument(events: str) -> str:
    return rf"(response\.{events}\.delta )*response\.{events}\.done "


def part(text: str) -> str:
    return rf"\( {text}\) "


TEXT = r"(response\.output_text\.(delta|annotation\.added) )*response\.output_text\.done "
# Reasoning that only its server can read: of it, the summary is told, or nothing.
SUMMARY = (
    r"response\.reasoning_summary_part\.added "
    rf"{argument('reasoning_summary_text')}response\.reasoning_summary_part\.done "
)
SEALED = rf"\[sealed ({SUMMARY})*\]sealed "
FUNCTION = rf"\[function_call {argument('function_call_arguments')}\]function_call "
CUSTOM = rf"\[custom_tool_call {argument('custom_tool_call_input')}\]custom_tool_call "
COMMAND = rf"response\.shell_call_command\.added {argument('shell_call_command')}"
SHELL = rf"\[shell_call ({COMMAND})*\]shell_call "
PATCH = r"\[apply_patch_call \]apply_patch_call "
QUESTION = r"\[mcp_approval_request \]mcp_approval_request "
CALL_END = r"(response\.mcp_call\.(completed|failed) )?\]mcp_call "


def items(*, broken_off: bool) -> str:
    """What is told of items; what is broken off may have ended before that was told with which it begins."""
    parts, begun = ("*", "?") if broken_off else ("+", "")
    message = rf"\[message (({part(TEXT)})|({part(argument('refusal'))})){parts}\]message "
    reasoning = rf"\[reasoning ({part(argument('reasoning_text'))}){parts}\]reasoning "

    def tool(item: str, *happens: str, ending: str = r"(response\.{}\.completed )?") -> str:
        inner = "".join(happens) + ending.format(item)
        return rf"\[{item} (response\.{item}\.in_progress ){begun}{inner}\]{item} "

    def state(item: str, name: str, times: str = "?") -> str:
        return rf"(response\.{item}\.{name} ){times}"

    tools = [
        *(tool(item, state(item, "searching")) for item in ("web_search_call", "file_search_call")),
        tool(
            "code_interpreter_call",
            argument("code_interpreter_call_code"),
            state("code_interpreter_call", "interpreting"),
        ),
        tool(
            "image_generation_call",
            state("image_generation_call", "generating"),
            state("image_generation_call", "partial_image", "*"),
        ),
        tool("mcp_list_tools", ending=r"response\.{}\.(completed|failed) "),
    ]
    # A call of an MCP server stays open while others are told; that its two halves belong together, `_assert_halves`
    # sees.
    call = rf"\[mcp_call (response\.mcp_call\.in_progress ){begun}{argument('mcp_call_arguments')}"
    others = [SEALED, FUNCTION, CUSTOM, SHELL, PATCH, QUESTION, CALL_END]
    return f"({'|'.join([message, reasoning, call, *tools, *others])})*"


BEGINNING = r"response\.created (response\.queued )?"


@cache
def stream(*, cancelled: bool, broken_off: bool) -> re.Pattern[str]:
    told = rf"response\.in_progress {items(broken_off=broken_off)}"
    if cancelled:
        return re.compile(rf"{BEGINNING}({told})?")
    return re.compile(rf"{BEGINNING}({told}response\.(completed|incomplete|failed) |response\.failed )")


def assert_in_order(events: Sequence[dict[str, Any]], *, cancelled: bool = False, broken_off: bool = False) -> None:
    """The events are one whole stream: in the grammar's order, numbered without gaps, each in its item and part.

    `broken_off` says that it may have been ended between any two events.
    """
    sentence = "".join(f"{_word(event)} " for event in events)
    grammar = stream(cancelled=cancelled, broken_off=broken_off)
    assert grammar.fullmatch(sentence), f"not in order: {sentence}"
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
