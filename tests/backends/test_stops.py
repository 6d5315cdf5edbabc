"""An answer ends at the first stop sequence in its text, however the text is cut, and loses nothing before it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fundament.backends.choices import EngineChoice, Logprobs, TokenChoice
from fundament.backends.stops import StopReader, text_of

ALPHABET = st.text("ab\n", max_size=12)


def chunk(text: str, *, chat: bool, finish: str | None = None) -> EngineChoice:
    known = Logprobs(content=[TokenChoice(text, -0.5, list(text.encode()))]) if text else None
    if chat:
        return EngineChoice(0, finish, {"content": text} if text else {}, logprobs=known)
    return EngineChoice(0, finish, text=text, logprobs=known)


def read(pieces: Sequence[str], stops: Sequence[str], *, chat: bool = True) -> tuple[str, str | None, list[str]]:
    """The text, how it ended, and the tokens of the log probabilities."""
    reader = StopReader(stops)
    chunks = [chunk(piece, chat=chat) for piece in pieces] + [chunk("", chat=chat, finish="length")]
    seen = [out for one in chunks for out in reader.read(one)]
    reasons = [one.finish_reason for one in seen if one.finish_reason]
    assert len(reasons) == 1
    assert seen[-1].finish_reason == reasons[0]
    tokens = [token.token for one in seen for token in (one.logprobs and one.logprobs.content) or []]
    return "".join(map(text_of, seen)), reasons[0], tokens


@given(
    st.lists(ALPHABET, max_size=8),
    st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=4),
    st.booleans(),
)
@example(["a", "b", "a", "a"], ["ba"], True)
@example(["aab"], ["ab", "aa"], False)
def test_the_text_ends_before_the_first_stop_sequence(pieces: list[str], stops: list[str], chat: bool) -> None:
    whole = "".join(pieces)
    found = [at for stop in stops if (at := whole.find(stop)) >= 0]
    text, reason, tokens = read(pieces, stops, chat=chat)
    # A piece is read before the next: where sequences overlap, the one that is complete first ends the text.
    assert (reason == "stop") == bool(found)
    assert whole.startswith(text)
    if not found:
        assert text == whole
    else:
        assert any(whole[len(text) :].startswith(stop) for stop in stops)
    assert "".join(tokens) == text


def test_a_sequence_that_ends_with_a_piece_is_not_shown_with_it() -> None:
    assert read(["Hello", " wor", "ld. Bye"], ["world."]) == ("Hello ", "stop", ["Hello", " "])


def test_what_cannot_become_a_stop_sequence_is_not_held() -> None:
    reader = StopReader(["xyz"])
    assert [text_of(one) for one in reader.read(chunk("abc", chat=True))] == ["abc"]
    assert reader.read(chunk("ax", chat=True)) == []
    assert [text_of(one) for one in reader.read(chunk("y!", chat=True))] == ["ax", "y!"]


def test_a_call_comes_after_the_words_before_it_and_is_not_searched() -> None:
    reader = StopReader(["xyz"])
    call: dict[str, Any] = {"tool_calls": [{"index": 0, "function": {"arguments": "xyz"}}]}
    assert reader.read(chunk("ax", chat=True)) == []
    out = reader.read(EngineChoice(0, delta=call))
    assert [one.delta for one in out] == [{"content": "ax"}, call]
    assert not reader.ended


def test_after_its_end_an_answer_says_nothing_more() -> None:
    reader = StopReader(["."])
    assert [one.finish_reason for one in reader.read(chunk("a.b", chat=False))] == [None, "stop"]
    assert reader.read(chunk("c", chat=False)) == []
    assert reader.read(chunk("", chat=False, finish="length")) == []


@pytest.mark.parametrize("chat", [True, False])
def test_a_token_in_which_the_text_ends_is_cut_with_its_bytes(chat: bool) -> None:
    reader = StopReader(["è"])
    cut, _ = reader.read(chunk("éàè!", chat=chat))
    assert cut.logprobs is not None
    assert cut.logprobs.content is not None
    assert [(token.token, bytes(token.bytes or ())) for token in cut.logprobs.content] == [("éà", "éà".encode())]
