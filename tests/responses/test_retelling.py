"""A stream that is broken off after any of its events: what was told is put together again, and closed."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import native_answers
from fundament.responses.events import event_of, sse
from fundament.responses.fold import Event
from fundament.responses.items import Json
from fundament.responses.retelling import Retelling
from responses.chat_chunks import Said, chats, chunks_of
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from responses.mcp_servers import Serving
from responses.talks import ADD, SAY, call, mcp, talk, turn
from responses.test_fold import fed, new_fold
from responses.test_relayed import ITEMS, relayed, theirs
from specification import assert_valid_event

KEPT_LAST = (".delta", ".in_progress", "arguments.done", "output_item.done")  # others are kept with what follows
ERROR: Json = {"code": "server_error", "message": "It died."}


def assert_closed(batches: Sequence[list[Event]], response: Json, *, broken_off: bool = False) -> None:
    """The first batches, which were kept, and the end that is made of them are one whole stream, however it ends."""
    kept = [event for batch in batches for event in batch]
    for status in ("failed", "cancelled"):
        told = Retelling(response, [event_of(sse(event)) for event in kept])
        assert told.deltas == sum(event["type"].endswith(".delta") for event in kept)
        ending = told.end(status, ERROR if status == "failed" else None)
        for event in ending:
            assert_valid_event(event)
        events = [*kept, *ending]
        assert_in_order(events, cancelled=status == "cancelled", broken_off=broken_off)
        amount = fold_events(events)
        assert amount["output"] == told.response["output"]
        for item in told.response["output"]:
            # A patch is `completed` or nothing that a client could take for an end.
            assert item["type"] == "apply_patch_call" or item.get("status") in {
                "completed",
                "incomplete",
                "failed",
                None,
            }
        if status == "failed":
            assert amount == events[-1]["response"] == told.response
            assert (amount["status"], amount["error"]) == ("failed", ERROR)


@settings(deadline=None, max_examples=30)
@given(chats, st.floats(0, 1))
def test_what_is_broken_off_is_closed(chat: list[Said], share: float) -> None:
    fold = new_fold()
    batches = [fold.queue(), fold.start()]
    response = fold.response
    batches += [fed(fold, [chunk]) for chunk in chunks_of(chat)]
    assert_closed(batches[: max(1, round(share * len(batches)))], response)


async def test_what_is_broken_off_among_calls_of_servers_is_closed(server: Serving) -> None:
    asks = mcp(server, require_approval={"always": {"tool_names": ["fail"]}, "never": {"tool_names": ["add"]}})
    calls = [*ADD, *call("mcp__s__add", 1, a=2, b=2)]
    for tools in ([mcp(server, require_approval="never")], [asks]):
        said = await talk(server, turn(*calls), SAY, tools=tools)
        created, beginning = said.events[:2]
        for end in range(2, len(said.events)):
            if said.events[end - 1]["type"].endswith(KEPT_LAST):
                assert_closed([[created, beginning], said.events[2:end]], created["response"])


def relayed_events(items: Sequence[Json]) -> tuple[list[Event], Json]:
    """What is told of the response that another server makes of the items, and the response before its beginning."""
    fold = relayed(background=True)
    events = fold.queue()
    response = fold.response
    for event in theirs(list(items)):
        events += fold.start() if event["type"] == "response.in_progress" else fold.feed(event)
    return events, response


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item['type']}-{item['id']}")
def test_an_item_of_any_kind_is_closed_after_any_event(item: Json) -> None:
    events, response = relayed_events([item])
    for end in range(len(events)):
        assert_closed([events[:end]], response, broken_off=True)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(ITEMS), unique_by=lambda item: item["id"], max_size=5), st.floats(0, 1, exclude_max=True)
)
def test_items_of_all_kinds_are_closed_after_any_event(items: list[Json], share: float) -> None:
    events, response = relayed_events(items)
    assert_closed([events[: int(share * len(events))]], response, broken_off=True)


def broken_after(happened: str, *items: Json) -> Json:
    """The last item as it is closed after the last event of this type."""
    events, response = relayed_events(items)
    place = max(place for place, event in enumerate(events) if event["type"] == f"response.{happened}")
    told = Retelling(response, events[: place + 1])
    told.end("failed", ERROR)
    return told.response["output"][-1]


@pytest.mark.parametrize("item", [native_answers.web_search("x"), native_answers.image_generation()])
def test_what_cannot_be_incomplete_has_failed(item: Json) -> None:
    assert broken_after(f"{item['type']}.in_progress", item)["status"] == "failed"


def test_half_a_patch_is_not_complete() -> None:
    assert broken_after("output_item.added", native_answers.apply_patch("+x"))["status"] == "in_progress"


@pytest.mark.parametrize("kind", ["web_search_call", "file_search_call", "code_interpreter_call", "mcp_call"])
def test_what_was_told_to_be_complete_is_complete(kind: str) -> None:
    [item] = [item for item in ITEMS if item["type"] == kind]
    assert broken_after(f"{kind}.completed", item)["status"] == "completed"


def test_a_list_of_tools_that_were_not_told_is_no_list() -> None:
    for happened in ("in_progress", "completed"):
        assert broken_after(f"mcp_list_tools.{happened}", native_answers.mcp_list_tools())["error"]


@pytest.mark.parametrize(
    ("item", "happened", "kept"),
    [
        (native_answers.reasoning("Hm.", "So."), "reasoning_summary_text.delta", "So."),
        (native_answers.thoughts("Hm", "m."), "reasoning_text.delta", "Hmm."),
        (native_answers.refusal("I am ", "sorry."), "refusal.delta", "I am sorry."),
        (native_answers.annotated("One", " two"), "output_text.annotation.added", "https://a.example"),
        (native_answers.probable("One", " two"), "output_text.delta", "'token': ' two'"),
        (native_answers.code_interpreter("print(", "1)"), "code_interpreter_call_code.delta", "print(1)"),
        (native_answers.custom_tool_call("a", "b"), "custom_tool_call_input.delta", "ab"),
        (native_answers.mcp_call("{", "}"), "mcp_call_arguments.delta", "{}"),
        (native_answers.shell_call("ls -l"), "shell_call_command.delta", "ls -l"),
    ],
)
def test_all_that_was_said_is_kept(item: Json, happened: str, kept: str) -> None:
    assert kept in str(broken_after(happened, item))


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_what_was_complete_stays_complete(status: str) -> None:
    fold = new_fold()
    chat: list[Any] = [Said("reasoning_content", ("hm",)), Said("content", ("Hel", "lo"))]
    events = [*fold.start(), *fed(fold, chunks_of(chat))]
    told = Retelling(fold.response, events)
    told.end(status)
    thought, said = told.response["output"]
    assert (thought["status"], said["status"]) == ("completed", "incomplete")
    assert said["content"][0]["text"] == "Hello"
