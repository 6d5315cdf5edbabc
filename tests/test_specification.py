"""The oracles themselves: each must be able to say no."""

import json
import re
from typing import Any

import pytest

from scripted_answers import DONE, chat_answer, chat_events, completion_events, event
from specification import assert_valid, assert_valid_stream, read_sse


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
