"""Calls of functions are read out of a text however it is cut, and nothing that is no call is lost or shown twice."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fundament.backends.calls import CallReader
from fundament.backends.grammar import CALL_END, CALL_START

NAMES = st.from_regex(r"\A[a-zA-Z0-9_-]{1,20}\Z")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
)
ARGUMENTS = st.dictionaries(st.text(), VALUES, max_size=4)


def written(name: str, arguments: str) -> str:
    return f'{CALL_START}{{"name": {json.dumps(name)}, "arguments": {arguments}}}{CALL_END}'


def read(text: str, cuts: Sequence[int], *, legacy: bool = False) -> list[dict[str, Any]]:
    """The deltas of `text`, fed in pieces that end at `cuts`."""
    reader = CallReader(legacy=legacy)
    deltas: list[dict[str, Any]] = []
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        deltas += reader.feed(text[start:end])
    return deltas + reader.finish()


def folded(deltas: list[dict[str, Any]]) -> tuple[str, list[tuple[str, str]]]:
    """Content and calls, put together as a client would."""
    calls: list[list[str]] = []
    for delta in deltas:
        for piece in delta.get("tool_calls", ()):
            if piece["index"] == len(calls):
                assert piece["id"].startswith("call_")
                assert piece["type"] == "function"
                assert piece["function"]["arguments"] == ""
                calls.append([piece["function"]["name"], ""])
            else:
                assert set(piece) == {"index", "function"}
                calls[piece["index"]][1] += piece["function"]["arguments"]
    content = "".join(delta.get("content", "") for delta in deltas)
    return content, [(name, arguments) for name, arguments in calls]


@given(st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=4), st.lists(st.integers(min_value=0)))
def test_calls_are_read_whole_however_they_are_cut(calls: list[tuple[str, dict[str, Any]]], cuts: list[int]) -> None:
    texts = [(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in calls]
    text = "\n".join(written(*call) for call in texts)
    assert folded(read(text, cuts)) == ("", texts)


@given(st.text(), st.lists(st.integers(min_value=0)))
def test_words_pass_unchanged(text: str, cuts: list[int]) -> None:
    assert folded(read(text, cuts)) == (text, [])


@given(st.integers(min_value=0, max_value=40), st.lists(st.integers(min_value=0)))
def test_words_that_begin_like_a_call_are_not_lost(length: int, cuts: list[int]) -> None:
    text = (CALL_START + '{"name": ')[:length][:-1] + "!"
    assert folded(read(text, cuts)) == (text, [])


@given(st.lists(st.integers(min_value=0)))
def test_a_call_that_is_cut_off_shows_what_there_is_and_no_markup(cuts: list[int]) -> None:
    text = written("get_weather", '{"city":"Par')[: -len(CALL_END) - 1]
    assert folded(read(text, cuts)) == ("", [("get_weather", '{"city":"Par')])


def test_the_older_form_has_one_call() -> None:
    first, second = written("a", '{"x":1}'), written("b", "{}")
    deltas = read(f"{first}\n{second}", [30, 35], legacy=True)
    assert deltas[0] == {"function_call": {"name": "a", "arguments": ""}}
    assert "".join(delta["function_call"]["arguments"] for delta in deltas) == '{"x":1}'
