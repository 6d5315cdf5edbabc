"""The oracles themselves: each must be able to say no."""

import json
import re
from typing import Any

import pytest

from fundament.protocol.responses import validate
from fundament.responses.resource import new_response
from scripted_answers import DONE, chat_answer, chat_events, completion_events, event
from specification import assert_valid, assert_valid_event, assert_valid_response, assert_valid_stream, read_sse


def chat_body() -> dict[str, Any]:
    return json.loads(b"".join(chat_answer("Hello").steps))


def test_a_missing_field_is_named() -> None:
    body = chat_body()
    del body["choices"][0]["message"]["refusal"]
    with pytest.raises(AssertionError, match=r"\$\.choices\[0\]\.message: 'refusal' is a required property"):
        assert_valid("CreateChatCompletionResponse", body)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("timings", lambda body: body),
        ("choices[].stop_token", lambda body: body["choices"][0]),
        ("choices[].message.reasoning_content", lambda body: body["choices"][0]["message"]),
        ("usage.prompt_tokens_details.odd_tokens", lambda body: body["usage"]["prompt_tokens_details"]),
    ],
)
def test_an_undeclared_field_is_named_wherever_it_is(path: str, where: Any) -> None:
    body = chat_body()
    where(body)[path.rpartition(".")[2]] = 1
    with pytest.raises(AssertionError, match=re.escape(f"not in CreateChatCompletionResponse: {path}\n")):
        assert_valid("CreateChatCompletionResponse", body)
    assert assert_valid("CreateChatCompletionResponse", body, undeclared=[path]) is body


def test_an_extension_is_allowed_where_it_is_declared_and_nowhere_else() -> None:
    model = {"id": "m", "object": "model", "created": 1, "owned_by": "us", "meta_data": {"anything": 1}}
    assert_valid("Model", model)
    assert_valid("ListModelsResponse", {"object": "list", "data": [model]})
    with pytest.raises(AssertionError, match="not in CreateChatCompletionResponse: meta_data"):
        assert_valid("CreateChatCompletionResponse", chat_body() | {"meta_data": {}})


def test_an_unknown_schema_fails() -> None:
    with pytest.raises(KeyError, match="NoSuchSchema"):
        assert_valid("NoSuchSchema", {})


def drop(chunks: list[bytes], index: int) -> list[bytes]:
    return [chunk for i, chunk in enumerate(chunks) if i != index % len(chunks)]


def changed(chunk: bytes, **fields: object) -> bytes:
    return event(json.loads(chunk.removeprefix(b"data: ")) | fields)


CHAT = chat_events(["a", "b"], usage_asked=True)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (CHAT, "not with \\[DONE\\]"),
        ([*drop(CHAT, 0), DONE], "the role is not in the first delta alone"),
        ([CHAT[0], *CHAT, DONE], "the role is not in the first delta alone"),
        ([*drop(CHAT, -2), DONE], "finish_reason is not last"),
        ([*CHAT[:-1], CHAT[-2], CHAT[-1], DONE], "finish_reason is not last"),
        ([*drop(CHAT, -1), DONE], "the last chunk, with the usage, has no choices"),
        ([CHAT[0], changed(CHAT[1], id="other"), *CHAT[2:], DONE], "id changes"),
        ([CHAT[0], changed(CHAT[1], object="chat.completion"), *CHAT[2:], DONE], "not a valid"),
        (
            [CHAT[0], changed(CHAT[1], timings={}), *CHAT[2:], DONE],
            "not in CreateChatCompletionStreamResponse: timings",
        ),
        ([*CHAT, DONE, DONE], "after \\[DONE\\]"),
    ],
)
def test_a_stream_that_is_out_of_order_is_refused(chunks: list[bytes], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_valid_stream("chat", chunks, usage=True)


def test_a_usage_that_was_not_asked_for_is_refused() -> None:
    assert_valid_stream("chat", [*CHAT, DONE], usage=True)
    with pytest.raises(AssertionError, match="without its choice"):
        assert_valid_stream("chat", [*CHAT, DONE])


def test_a_completion_stream_may_have_null_finish_reasons_and_a_completion_may_not() -> None:
    chunks = completion_events(["a", "b"])
    assert_valid_stream("completions", [*chunks, DONE])
    with pytest.raises(AssertionError, match="not a valid CreateCompletionResponse"):
        assert_valid("CreateCompletionResponse", json.loads(chunks[0].removeprefix(b"data: ")))


TEXT_DELTA: dict[str, Any] = {
    "type": "response.output_text.delta",
    "sequence_number": 4,
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "x",
    "logprobs": [],
}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "response.telepathy"}, "no event of a response: response.telepathy"),
        ({**TEXT_DELTA, "logprobs": None}, "not a valid ResponseTextDeltaEvent"),
        ({**TEXT_DELTA, "snapshot": "x"}, "not in ResponseTextDeltaEvent: snapshot"),
        ({**TEXT_DELTA, "logprobs": [{"token": "x", "logprob": -1}]}, "'bytes' is a required property"),
        (
            {
                "type": "response.function_call_arguments.done",
                "sequence_number": 4,
                "item_id": "fc_1",
                "output_index": 0,
                "arguments": "{}",
            },
            "'name' is a required property",
        ),
        (
            {
                "type": "response.output_item.added",
                "sequence_number": 2,
                "output_index": 0,
                "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "id": "fc_1"},
            },
            "not a valid ResponseOutputItemAddedStreamingEvent",  # OpenAI's document does not require the status
        ),
    ],
)
def test_an_event_of_a_response_that_one_document_forbids_is_refused(event: dict[str, Any], message: str) -> None:
    assert_valid_event(TEXT_DELTA)
    with pytest.raises(AssertionError, match=message):
        assert_valid_event(event)


@pytest.mark.parametrize(
    "field", ["metadata", "text", "truncation", "top_logprobs", "reasoning", "store", "tool_choice"]
)
def test_a_response_without_a_field_that_one_document_requires_is_refused(field: str) -> None:
    response = new_response(validate({"model": "m", "input": "x"}), id="resp_1", created_at=1)
    assert_valid_response(response)
    del response[field]
    with pytest.raises((AssertionError, KeyError), match=field):
        assert_valid_response(response)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"data: {}\n\ndata: ", "ends inside an event"),
        (b"data: {}\r\n\r\n", "ends inside an event"),
        (b"data:{}\n\n", "not one data line"),
        (b": comment\n\n", "not one data line"),
        (b"event: x\ndata: {}\n\n", "not one data line"),
        (b"data: {}\n\n\n", "ends inside an event"),
    ],
)
def test_loose_event_streams_are_refused(wire: bytes, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        list(read_sse(wire))


def test_events_are_read_across_pieces() -> None:
    wire = 'data: "ü"\n\ndata: [DONE]\n\n'.encode()
    assert list(read_sse(wire[i : i + 1] for i in range(len(wire)))) == ['"ü"', "[DONE]"]
