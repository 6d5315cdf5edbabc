"""The fold of chunks to events: whatever is said and however it is cut, the events amount to the response."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import construct_type_unchecked
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from fundament.errors import InvalidRequest, RequestError, ServerFailure, UpstreamFailure, UpstreamRefused
from fundament.protocol.responses import validate
from fundament.responses.chunks import decode_chunk, read_chunk
from fundament.responses.fold import Event, ResponseFold
from fundament.responses.resource import new_response
from responses.chat_chunks import Said, chat_logprobs, chats, chunk, chunks_of, expected_output
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from specification import assert_valid_event, assert_valid_response

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
STATUS = {"stop": "completed", "tool_calls": "completed", "length": "incomplete", "content_filter": "incomplete"}


def new_id() -> Callable[[str], str]:
    numbers = count()
    return lambda prefix: f"{prefix}_{next(numbers)}"


def new_fold(**parameters: Any) -> ResponseFold:
    request = validate({"model": "m", "input": "x", **parameters})
    return ResponseFold(new_response(request, id="resp_1", created_at=1), new_id())


def fed(fold: ResponseFold, chunks: Sequence[dict[str, Any]]) -> list[Event]:
    return [event for chunk in chunks for event in fold.feed(read_chunk(chunk))]


def told(chunks: Sequence[dict[str, Any]], finish_reason: str | None = "stop") -> tuple[list[Event], dict[str, Any]]:
    """The events of a whole response and the response."""
    fold = new_fold()
    ending = [*chunks, chunk(finish_reason), {"choices": [], "usage": USAGE}]
    events = [*fold.start(), *fed(fold, ending), *fold.finish(2)]
    return events, fold.response


def without_ids(output: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name != "id"} for item in output]


def types(events: Sequence[Event]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


@settings(deadline=None)
@given(chats, st.sampled_from([*STATUS]))
def test_the_fold_of_the_events_is_the_response(chat: list[Said], finish_reason: str) -> None:
    events, response = told(chunks_of(chat), finish_reason)
    for event in events:
        assert_valid_event(event)
    assert_in_order(events)
    assert fold_events(events) == response == events[-1]["response"]
    assert assert_valid_response(response)["status"] == STATUS[finish_reason]


@settings(deadline=None)
@given(chats)
def test_the_response_has_what_the_model_said(chat: list[Said]) -> None:
    _, response = told(chunks_of(chat), "length")
    assert without_ids(response["output"]) == expected_output(chat, last_status="incomplete")


@settings(deadline=None)
@given(chats, st.data())
def test_what_a_chunk_holds_together_is_told_like_chunks_of_their_own(chat: list[Said], data: st.DataObject) -> None:
    """A delta may have text of all kinds and several pieces of calls; their order in it is fixed."""
    apart = chunks_of(chat)
    together: list[dict[str, Any]] = []
    for single in apart:
        delta = single["choices"][0]["delta"]
        if together and data.draw(st.booleans()) and can_join(together[-1]["choices"][0], single["choices"][0]):
            last = together[-1]["choices"][0]["delta"]
            calls = [*last.get("tool_calls", []), *delta.get("tool_calls", [])]
            together[-1] = chunk(**{**last, **delta, **({"tool_calls": calls} if calls else {})})
        else:
            together.append(single)
    assert told(together)[1] == told(apart)[1]


def can_join(choice: dict[str, Any], other: dict[str, Any]) -> bool:
    order = ["role", "reasoning_content", "content", "refusal", "tool_calls"]
    last, first = max(map(order.index, choice["delta"])), min(map(order.index, other["delta"]))
    return not (choice["logprobs"] or other["logprobs"]) and (
        last < first or last == first == order.index("tool_calls")
    )


@settings(deadline=None)
@given(chats, st.integers(0, 30))
def test_at_any_time_the_response_has_what_was_told_so_far(chat: list[Said], cut: int) -> None:
    fold = new_fold()
    events = [*fold.start(), *fed(fold, chunks_of(chat)[:cut])]
    assert fold_events(events) == fold.response
    assert_valid_response(fold.response)
    assert fold.response["status"] == "in_progress"


@settings(deadline=None)
@given(chats, st.integers(0, 30))
def test_a_failure_anywhere_ends_the_stream_in_order(chat: list[Said], cut: int) -> None:
    fold = new_fold()
    events = [*fold.start(), *fed(fold, chunks_of(chat)[:cut]), *fold.fail(ServerFailure("It broke."))]
    for event in events:
        assert_valid_event(event)
    assert_in_order(events)
    assert events[-1]["type"] == "response.failed"
    assert fold_events(events) == fold.response
    assert fold.response["error"] == {"code": "server_error", "message": "It broke."}
    assert all(item["status"] == "incomplete" for item in fold.response["output"][-1:])


@settings(deadline=None)
@given(chats, st.integers(0, 30))
def test_a_cancelled_response_keeps_what_was_told(chat: list[Said], cut: int) -> None:
    fold = new_fold()
    events = [*fold.start(), *fed(fold, chunks_of(chat)[:cut]), *fold.cancel()]
    assert_in_order(events, cancelled=True)
    assert fold_events(events)["output"] == fold.response["output"]
    assert assert_valid_response(fold.response)["status"] == "cancelled"
    assert fold.response["completed_at"] is None


@settings(deadline=None)
@given(chats)
def test_openais_own_client_sees_the_same_response(chat: list[Said]) -> None:
    events, response = told(chunks_of(chat))
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    snapshots: dict[tuple[int, int], str] = {}
    for event in events:
        for seen in state.handle_event(construct_type_unchecked(type_=ResponseStreamEvent, value=event)):
            if seen.type == "response.output_text.delta":
                snapshots[seen.output_index, seen.content_index] = seen.snapshot
    final = state._completed_response
    assert final is not None
    expected = Response.model_validate(response)
    assert final.output_text == expected.output_text
    assert without_parsed(final.to_dict()["output"]) == without_parsed(expected.to_dict()["output"])
    for (output_index, content_index), text in snapshots.items():
        assert response["output"][output_index]["content"][content_index]["text"] == text


def without_parsed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_parsed(inner) for key, inner in value.items() if not key.startswith("parsed")}
    return [without_parsed(inner) for inner in value] if isinstance(value, list) else value


def test_the_events_of_a_short_answer_are_these() -> None:
    events, response = told([chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo")])
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[4] == {
        "type": "response.output_text.delta",
        "sequence_number": 4,
        "item_id": "msg_0",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hel",
        "logprobs": [],
    }
    text = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    message = {"id": "msg_0", "type": "message", "status": "completed", "role": "assistant", "content": [text]}
    assert response["output"] == [message]
    assert response["completed_at"] == 2
    assert response["incomplete_details"] is None


def test_the_usage_has_its_details() -> None:
    assert told([chunk(content="x")])[1]["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 12,
    }


def test_details_that_the_server_did_not_tell_are_zero() -> None:
    fold = new_fold()
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    fed(fold, [chunk("stop", content="x"), {"choices": [], "usage": usage}])
    fold.finish(2)
    assert assert_valid_response(fold.response)["usage"]["input_tokens_details"] == {
        "cached_tokens": 0,
        "cache_write_tokens": 0,
    }


def test_a_usage_that_is_told_early_is_kept() -> None:
    fold = new_fold()
    fed(fold, [{**chunk(content="x"), "usage": USAGE}, chunk("stop")])
    fold.finish(2)
    assert fold.response["usage"]["total_tokens"] == 12


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_incomplete_response_says_why(finish_reason: str, reason: str) -> None:
    events, response = told([chunk(content="x")], finish_reason)
    assert events[-1]["type"] == "response.incomplete"
    assert response["incomplete_details"] == {"reason": reason}
    assert response["output"][0]["status"] == "incomplete"
    assert response["completed_at"] is None


def test_only_the_item_that_was_cut_is_incomplete() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}
    _, response = told([chunk(content="x"), chunk(tool_calls=[call])], "length")
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


@pytest.mark.parametrize("chunks", [[], [chunk(reasoning_content="hm")]])
def test_an_answer_without_words_is_an_empty_message(chunks: list[dict[str, Any]]) -> None:
    events, response = told(chunks)
    assert_in_order(events)
    assert response["output"][-1]["content"][0]["text"] == ""


def test_an_answer_of_calls_has_no_empty_message() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    _, response = told([chunk(tool_calls=[call])], "tool_calls")
    assert [item["type"] for item in response["output"]] == ["function_call"]


@pytest.mark.parametrize("finish_reason", [None, "error", "abort"])
def test_a_stream_that_broke_off_is_a_failed_response(finish_reason: str | None) -> None:
    events, response = told([chunk(content="x")], finish_reason)
    assert events[-1]["type"] == "response.failed"
    assert response["error"] == {"code": "server_error", "message": "The model's server broke off its answer."}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UpstreamRefused(429, "Slow down.", "requests", None, "rate_limit_exceeded"), "rate_limit_exceeded"),
        (InvalidRequest("Too long."), "invalid_prompt"),
        (UpstreamFailure("Broken."), "server_error"),
    ],
)
def test_a_failure_has_a_code_that_openai_knows(failure: RequestError, code: str) -> None:
    fold = new_fold()
    event = [*fold.start(), *fold.fail(failure)][-1]
    assert_valid_event(event)
    assert fold.response["error"] == {"code": code, "message": failure.message}


def test_a_queued_response_starts_later_with_one_created_event() -> None:
    fold = new_fold(background=True)
    queued = fold.queue()
    assert types(queued) == ["created", "queued"]
    assert {event["response"]["status"] for event in queued} == {"queued"} == {fold.response["status"]}
    events = [*queued, *fold.start(), *fed(fold, [chunk("stop", content="x")]), *fold.finish(2)]
    for event in events:
        assert_valid_event(event)
    assert_in_order(events)
    assert events[2]["response"]["status"] == "in_progress"


def test_a_response_may_fail_while_it_is_queued() -> None:
    fold = new_fold(background=True)
    assert_in_order([*fold.queue(), *fold.fail(ServerFailure("The service stopped."))])


def test_a_token_that_is_half_a_character_keeps_its_logprobs() -> None:
    first, second = chat_logprobs("\\xc3"), chat_logprobs("\\xa9")
    events, response = told([chunk(content="", logprobs=first), chunk(content="é", logprobs=second)])
    assert fold_events(events) == response
    assert len(response["output"][0]["content"][0]["logprobs"]) == 2


def test_calls_that_are_all_numbered_zero_are_told_apart_by_their_ids() -> None:
    calls = [{"index": 0, "id": id, "function": {"name": "f", "arguments": f'"{id}"'}} for id in ("a", "b")]
    _, response = told([chunk(tool_calls=calls)], "tool_calls")
    assert [(item["call_id"], item["arguments"]) for item in response["output"]] == [("a", '"a"'), ("b", '"b"')]


def test_a_call_without_an_id_gets_one() -> None:
    pieces = [{"index": 0, "function": {"name": "f", "arguments": "{"}}, {"index": 0, "function": {"arguments": "}"}}]
    _, response = told([chunk(tool_calls=pieces)], "tool_calls")
    assert response["output"][0]["call_id"] == "call_1"
    assert response["output"][0]["arguments"] == "{}"


def test_reasoning_by_its_other_name_is_reasoning() -> None:
    assert told([chunk(reasoning="hm")])[1]["output"][0]["content"] == [{"type": "reasoning_text", "text": "hm"}]


def test_other_choices_are_not_read() -> None:
    other = {"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}
    events, response = told([chunk(content="yes"), {"choices": [other]}])
    assert response["output"][0]["content"][0]["text"] == "yes"
    assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize(("tier", "shown"), [("flex", "flex"), ("on_demand", "default"), (None, "default")])
def test_the_tier_that_served_it_is_told_if_clients_know_it(tier: str | None, shown: str) -> None:
    _, response = told([{**chunk(content="x"), "service_tier": tier}])
    assert assert_valid_response(response)["service_tier"] == shown


@pytest.mark.parametrize(
    ("pieces", "fault"),
    [
        ([{"index": 0, "function": {"arguments": "{}"}}], "without a name"),
        (
            [
                {"index": 0, "id": "a", "function": {"name": "f"}},
                {"index": 1, "id": "b", "function": {"name": "g"}},
                {"index": 0, "function": {"arguments": "{}"}},
            ],
            "that it had left",
        ),
    ],
)
def test_calls_that_make_no_sense_are_the_servers_fault_and_what_was_told_stays(
    pieces: list[dict[str, Any]], fault: str
) -> None:
    fold = new_fold()
    events = [*fold.start(), *fed(fold, [chunk(content="x")])]
    with pytest.raises(UpstreamFailure, match=fault) as caught:
        fold.feed(read_chunk(chunk(tool_calls=pieces)))
    events += fold.fail(caught.value)
    assert_in_order(events)
    assert fold_events(events) == fold.response


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"choices": 1}', b'{"choices": [{"delta": {"content": 1}}]}', b"\xff"]
)
def test_data_that_is_no_chunk_is_the_servers_fault(data: bytes) -> None:
    with pytest.raises(UpstreamFailure, match="cannot be read"):
        decode_chunk(data)


def test_a_decoded_chunk_is_held_to_the_same() -> None:
    assert decode_chunk(b'{"choices": [{"delta": {"content": "x"}}]}') == read_chunk(chunk(content="x"))
    with pytest.raises(UpstreamFailure, match="cannot be read"):
        read_chunk({"choices": [{"delta": {"content": 1}}]})


def test_a_response_that_was_read_does_not_change_afterwards() -> None:
    fold = new_fold()
    events = [*fold.start(), *fed(fold, [chunk(content="x")])]
    before = fold.response
    fed(fold, [chunk(content="y"), chunk("stop")])
    fold.finish(2)
    assert before["status"] == "in_progress"
    assert before["output"][0]["content"][0]["text"] == "x"
    assert events[2]["item"]["content"] == []
