"""The fold of several turns with tools of MCP servers: in order wherever it ends."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundament.errors import ServerFailure
from fundament.protocol.usage import Usage
from fundament.responses.fold import ResponseFold
from fundament.responses.remote_functions import ListedTool, RemoteFunction, RemoteResult
from responses.chat_chunks import Said, chats, chunk, chunks_of
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from responses.test_fold import fed, new_fold
from specification import assert_valid_event, assert_valid_response

RESULTS = st.sampled_from(
    [RemoteResult("3"), RemoteResult(error={"type": "http_error", "code": 502, "message": "m"}), None]
)


def functions(*, needs_approval: bool) -> dict[str, RemoteFunction]:
    return {"f": RemoteFunction("s", ListedTool("f", {}), needs_approval)}


def assert_whole(fold: ResponseFold, events: Sequence[dict[str, Any]], *, cancelled: bool = False) -> None:
    for event in events:
        assert_valid_event(event)
    assert_in_order(events, cancelled=cancelled)
    assert fold_events(events)["output"] == fold.response["output"]
    assert_valid_response(fold.response)
    assert fold.waiting == []


@settings(deadline=None)
@given(st.lists(chats, min_size=1, max_size=3), st.booleans(), st.data())
def test_turns_may_end_anywhere(turns: list[list[Said]], needs_approval: bool, data: st.DataObject) -> None:
    fold = new_fold()
    events = [*fold.start(), *fold.list_tools("s"), *fold.answer_list([{"name": "f", "input_schema": {}}])]
    for chat in turns:
        fold.next_turn(functions(needs_approval=needs_approval))
        chunks = [*chunks_of(chat), chunk("stop")]
        cut = data.draw(st.integers(0, len(chunks)))
        events += [*fed(fold, chunks[:cut]), *fold.end_turn()]
        asks = any(said.kind in {"custom", "function"} for said in chat)
        assert not fold.hands_over or asks
        if cut < len(chunks):
            break
        for call in list(fold.waiting)[: data.draw(st.integers(0, 3))]:
            events += fold.answer_call(call, data.draw(RESULTS))
        if fold.waiting:
            break
    assert fold_events(events) == fold.response
    match data.draw(st.sampled_from(["finish", "fail", "cancel"])):
        case "finish":
            assert_whole(fold, [*events, *fold.finish(2)])
        case "fail":
            assert_whole(fold, [*events, *fold.fail(ServerFailure("It broke."))])
        case _:
            assert_whole(fold, [*events, *fold.cancel()], cancelled=True)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_list_of_tools_that_nobody_waits_for_has_failed(cancelled: bool) -> None:
    fold = new_fold()
    events = [*fold.start(), *fold.list_tools("s")]
    ending = fold.cancel() if cancelled else fold.fail(ServerFailure("The service stops."))
    assert [event["type"].removeprefix("response.") for event in ending[:2]] == [
        "mcp_list_tools.failed",
        "output_item.done",
    ]
    assert_whole(fold, [*events, *ending], cancelled=cancelled)
    assert fold.response["output"][0]["error"]  # so that a later response asks the server again


@settings(deadline=None)
@given(chats)
def test_who_asks_the_client_hands_over(chat: list[Said]) -> None:
    fold = new_fold()
    fold.next_turn(functions(needs_approval=False))
    fed(fold, [*chunks_of(chat), chunk("stop")])
    fold.end_turn()
    assert fold.hands_over == any(
        said.kind == "custom" or (said.kind == "function" and said.name == "g") for said in chat
    )
    assert len(fold.waiting) == sum(said.kind == "function" and said.name == "f" for said in chat)


def test_a_question_for_an_approval_is_told_when_it_is_whole() -> None:
    fold = new_fold()
    fold.next_turn(functions(needs_approval=True))
    piece = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}
    assert fed(fold, [chunk(tool_calls=[piece])]) == []
    assert fold.response["output"] == []
    told = [
        *fed(fold, [chunk("stop", tool_calls=[{"index": 0, "function": {"arguments": '": 1}'}}])]),
        *fold.end_turn(),
    ]
    assert [event["item"]["arguments"] for event in told] == ['{"a": 1}'] * 2


@pytest.mark.parametrize("told", [(True, True), (True, False), (False, True), (False, False)])
def test_a_turn_that_does_not_tell_its_usage_costs_nothing(told: tuple[bool, bool]) -> None:
    fold = new_fold()
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    for tells in told:
        fold.next_turn({})
        fed(fold, [chunk("stop", content="x"), *([{"choices": [], "usage": usage}] if tells else [])])
        fold.end_turn()
    expected = [None, Usage(3, 2, 5), Usage(6, 4, 10)][sum(told)]
    seen = fold.usage
    assert (seen and seen.total_tokens) == (expected and expected.total_tokens)
    assert (seen.reasoning_tokens if seen else 0) == sum(told)
