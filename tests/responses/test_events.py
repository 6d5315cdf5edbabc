"""Events on the wire, and the padding of deltas."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundament.responses.events import obfuscated, sse
from fundament.responses.fold import Event
from responses.chat_chunks import Said, chats, chunks_of
from responses.test_fold import told
from specification import assert_valid_event


def test_an_event_is_its_name_and_its_data() -> None:
    event = {"type": "response.output_text.delta", "delta": "ü\n"}
    data = '{"type":"response.output_text.delta","delta":"ü\\n"}'
    assert sse(event) == f"event: response.output_text.delta\ndata: {data}\n\n".encode()


def test_a_delta_that_is_no_text_has_no_padding() -> None:
    event = {"type": "response.shell_call_output_content.delta", "delta": {"stdout": "x"}}
    assert obfuscated(event) == event


@settings(deadline=None)
@given(chats)
def test_every_event_is_one_frame_that_is_read_back(chat: list[Said]) -> None:
    for event in told(chunks_of(chat))[0]:
        name, data, *rest = sse(event).split(b"\n")
        assert (name, rest) == (b"event: " + event["type"].encode(), [b"", b""])
        assert msgspec.json.decode(data.removeprefix(b"data: ")) == event


@settings(deadline=None)
@given(chats)
def test_padding_adds_to_deltas_only_and_is_valid(chat: list[Said]) -> None:
    for event in told(chunks_of(chat))[0]:
        padded = assert_valid_event(obfuscated(event))
        if event["type"].endswith(".delta"):
            assert (len(padded["delta"]) + len(padded["obfuscation"])) % 16 == 0
            padded = {name: value for name, value in padded.items() if name != "obfuscation"}
        assert padded == event


@settings(deadline=None)
@given(st.text(max_size=40))
def test_deltas_of_similar_lengths_look_alike(text: str) -> None:
    event: Event = {"type": "response.output_text.delta", "delta": text}
    assert len(obfuscated(event)["obfuscation"]) < 16
    assert "obfuscation" not in event


@pytest.mark.parametrize("text", ["", "x" * 16])
def test_a_delta_that_is_long_enough_gets_no_characters(text: str) -> None:
    event: dict[str, Any] = {"type": "response.refusal.delta", "delta": text}
    assert obfuscated(event)["obfuscation"] == ""


def test_the_characters_are_random() -> None:
    event: Event = {"type": "response.output_text.delta", "delta": "x"}
    assert obfuscated(event)["obfuscation"] != obfuscated(event)["obfuscation"]
