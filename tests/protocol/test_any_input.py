"""Whatever is sent: a request, or the refusal of one. Never another exception."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fundament.api.requests import decode_object
from fundament.errors import InvalidRequest
from fundament.protocol import chat, completions

KEYS = st.sampled_from(sorted({*chat.ChatRequest.__struct_fields__, *completions.CompletionRequest.__struct_fields__}))
WORDS = st.sampled_from(
    ["role", "content", "type", "text", "user", "assistant", "tool", "function", "json_schema", "name", "image_url"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63 - 2, 2**70)
    | st.floats()
    | st.text()  # without lone surrogates, which `decode_object` does not let in
    | WORDS
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(), inner, max_size=3)
)

FULL_CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "a"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "b"},
                {"type": "image_url", "image_url": {"url": "x", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"type": "function", "id": "c", "function": {"name": "f", "arguments": "{}"}},
                {"type": "custom", "id": "d", "custom": {"name": "g", "input": ""}},
            ],
        },
        {"role": "tool", "content": "c", "tool_call_id": "c"},
        {"role": "tool", "content": "d", "tool_call_id": "d"},
    ],
    "logit_bias": {"1": 1.5},
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
    "stop": ["a"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "temperature": 1,
    "logprobs": True,
    "top_logprobs": 2,
}
FULL_COMPLETION: dict[str, Any] = {"model": "m", "prompt": [[1, 2], [3]], "stop": "a", "logit_bias": {"1": 1}}


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        found += paths(inner, (*path, key))
    return found


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def ruled(body: dict[str, Any]) -> None:
    """Validates as both kinds of request; a refusal must be one that can be rendered, and name a field."""
    for validate in (chat.validate, completions.validate):
        try:
            validate(body)
        except InvalidRequest as refusal:
            assert refusal.message
            assert refusal.param


@given(st.dictionaries(KEYS | st.text(), VALUES, max_size=6))
def test_any_object_is_valid_or_refused(body: dict[str, Any]) -> None:
    ruled(body)


@given(st.sampled_from(paths(FULL_CHAT)), VALUES)
@example(("messages", 0, "role"), 5)
@example(("messages", 0, "role"), {"role": []})
@example(("logit_bias", "1"), float("nan"))
def test_a_valid_chat_request_with_one_changed_place_is_valid_or_refused(path: tuple[Any, ...], new: Any) -> None:
    chat.validate(FULL_CHAT)
    ruled(changed(FULL_CHAT, path, new))


@given(st.sampled_from(paths(FULL_COMPLETION)), VALUES)
def test_a_valid_completion_request_with_one_changed_place_is_valid_or_refused(path: tuple[Any, ...], new: Any) -> None:
    completions.validate(FULL_COMPLETION)
    ruled(changed(FULL_COMPLETION, path, new))


@given(st.text(min_size=1), VALUES)
@example("a.b[0].c", "x")
@example("[...]", 500)
@example("` - at `$.stop", 500)
def test_names_that_look_like_paths_confuse_nobody(name: str, value: Any) -> None:
    for place in ("logit_bias", "metadata", "response_format", "stream_options"):
        ruled(FULL_CHAT | {place: {name: value}})
    ruled(FULL_CHAT | {"messages": [{"role": "user", "content": "x", name: value}]})


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        assert isinstance(decode_object(data), dict)
    except InvalidRequest as refusal:
        assert refusal.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b'"\\ud800"',
        b'{"model": "\\udc00\\ud800"}',
        b'{"model": "\xed\xa0\x80"}',
        b'{"model": "\xff"}',
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": 1e999}',
        b'{"seed": 1' + b"0" * 5000 + b"}",
        b'{"model": "m",}',
        b'{"model"',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"tools":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_almost_json_is_refused_with_the_reason(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="could not parse the JSON body") as caught:
        decode_object(data)
    assert caught.value.message.encode()


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_what_is_json_is_decoded_as_json(body: dict[str, Any]) -> None:
    try:
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError):
        return  # lone surrogates and NaN have no JSON
    assert decode_object(data) == json.loads(data)
