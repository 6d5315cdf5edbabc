"""Calls that our engine wrote in its text are the same streamed and whole, wherever the engine and the net cut them."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.played import CUTS, Played, call, cut, refused, run
from backends.test_translate import drain, one_choice, woven
from folding import folded, without_ids
from fundament.backends.call import Call
from fundament.backends.embedded import readers_of
from fundament.backends.grammar import CALL_END, CALL_START
from fundament.backends.profiles import EMBEDDED
from fundament.backends.translate import TranslatedAnswer
from specification import assert_valid, read_sse

VALUES = st.integers() | st.text(max_size=5) | st.sampled_from(["}", '"', "\\", CALL_END, CALL_START, "👩‍👩‍👧", "]}"])
ARGUMENTS = st.dictionaries(st.text(max_size=3), VALUES | st.lists(VALUES, max_size=2), max_size=3)
NAMES = st.sampled_from(["look", "get_weather"])


def written(name: str, arguments: dict[str, Any]) -> str:
    return f'{CALL_START}{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}{CALL_END}'


CALLS = st.lists(st.builds(written, NAMES, ARGUMENTS), min_size=1, max_size=3).map("\n".join)
WORDS = st.text(max_size=12) | st.sampled_from(["<", "<tool", "<tool_call", "a <tool_call>", "<tool_calls>", "\n"])


@st.composite
def texts_in_tokens(draw: st.DrawFn) -> tuple[list[str], str]:
    """What one choice writes, token by token, and how it ends: the limit may end it anywhere."""
    text = draw(CALLS | WORDS)
    finish = draw(st.sampled_from(["stop", "length"]))
    if finish == "length":
        text = text[: draw(st.integers(0, len(text)))]
    edges = sorted({0, len(text), *(at % (len(text) + 1) for at in draw(st.lists(st.integers(0, 300), max_size=30)))})
    return [text[start:end] for start, end in itertools.pairwise(edges)], finish


FUNCTIONS = [{"name": name, "parameters": {"type": "object"}} for name in ("look", "get_weather")]
BODIES: dict[str, dict[str, Any]] = {
    "tools": {"tools": [{"type": "function", "function": function} for function in FUNCTIONS]},
    "functions": {"functions": FUNCTIONS},
}


def answered(asked: Call, pieces: Sequence[bytes]) -> TranslatedAnswer:
    played = Played(pieces).response
    readers = readers_of(EMBEDDED, asked, None, [])
    return TranslatedAnswer(asked, played, "fp_1", refused, lambda: None, readers=readers)


@pytest.mark.parametrize("field", BODIES)
@given(
    choices=st.lists(texts_in_tokens(), min_size=1, max_size=3),
    order=st.lists(st.integers(0, 5), max_size=12),
    logprobs=st.booleans(),
    stop=st.lists(
        st.sampled_from(["}", "a", "<tool", "\n", "name", ">\n"]) | st.text(min_size=1, max_size=3), max_size=2
    ),
    cuts=CUTS,
)
def test_written_calls_are_the_same_streamed_and_whole(
    *,
    field: str,
    choices: list[tuple[list[str], str]],
    order: list[int],
    logprobs: bool,
    stop: list[str],
    cuts: Sequence[int],
) -> None:
    streams = [
        one_choice("chat", index, 5, tokens, finish, logprobs=logprobs)
        for index, (tokens, finish) in enumerate(choices)
    ]
    wire = woven(streams, order)
    body = {**BODIES[field], "logprobs": logprobs, "stop": stop or None}
    asked = call(body=body, n=len(choices), kept=len(choices), include_usage=True)
    whole = assert_valid("CreateChatCompletionResponse", json.loads(run(answered(asked, [wire]).whole)))
    *events, done = read_sse(run(lambda: drain(answered(asked, cut(wire, cuts)))))
    assert done == "[DONE]"
    chunks = [assert_valid("CreateChatCompletionStreamResponse", json.loads(event)) for event in events]
    assert folded("chat", chunks) == without_ids(whole)
    for choice, (tokens, finish) in zip(whole["choices"], choices, strict=True):
        said, text = choice["message"], "".join(tokens)
        calls = said.get("tool_calls") or ([said["function_call"]] if "function_call" in said else [])
        if finish == "stop" and text.endswith(CALL_END) and text.startswith(CALL_START):
            assert calls, "a whole call was not read"
            assert said["content"] is None
            for one in calls:
                assert isinstance(json.loads(one.get("function", one)["arguments"]), dict)
        elif not text.startswith("<") and not any(word in text for word in stop):
            assert (calls, said["content"]) == ([], text), "words were lost"
