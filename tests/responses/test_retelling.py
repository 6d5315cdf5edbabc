"""A stream that is broken off after any of its events: what was told is put together again, and closed."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from specification import assert_valid_event

KEPT_LAST = (".delta", ".in_progress", "arguments.done", "output_item.done")  # others are kept with what follows
ERROR: Json = {"code": "server_error", "message": "It died."}


def assert_closed(batches: Sequence[list[Event]], response: Json) -> None:
    """The first batches, which were kept, and the end that is made of them are one whole stream, however it ends."""
    kept = [event for batch in batches for event in batch]
    for status in ("failed", "cancelled"):
        told = Retelling(response, [event_of(sse(event)) for event in kept])
        assert told.deltas == sum(event["type"].endswith(".delta") for event in kept)
        ending = told.end(status, ERROR if status == "failed" else None)
        for event in ending:
            assert_valid_event(event)
        events = [*kept, *ending]
        assert_in_order(events, cancelled=status == "cancelled")
        amount = fold_events(events)
        assert amount["output"] == told.response["output"]
        assert {item.get("status") for item in told.response["output"]} <= {"completed", "incomplete", "failed", None}
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
