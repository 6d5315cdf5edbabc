"""A result answers a call and a call has its result, as OpenAI words it; and what completions may ask for at once."""

from typing import Any

import pytest

from fundament.protocol import chat, completions
from protocol.openai_words import CHAT, COMPLETION, refused

USER = {"role": "user", "content": "x"}


def calling(*ids: str) -> dict[str, Any]:
    calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "x"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, calling("a"), result("a"), USER],
        [USER, calling("a", "b"), result("b"), result("a")],
        [USER, calling("a"), result("a"), calling("b"), result("b"), {"role": "assistant", "content": "y"}, USER],
        [USER, {"role": "assistant", "content": "y"}, USER],
    ],
)
def test_calls_with_their_results_are_taken(messages: list[dict[str, Any]]) -> None:
    assert len(chat.validate(CHAT | {"messages": messages}).messages) == len(messages)


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        ([USER, result("a")], "messages[1].role", "must be a response to a preceding message with 'tool_calls'"),
        ([result("a")], "messages[0].role", "must be a response to a preceding message with 'tool_calls'"),
        ([USER, calling("a"), result("a"), USER, result("a")], "messages[4].role", "must be a response"),
        (
            [USER, calling("a"), result("b")],
            "messages[2].tool_call_id",
            "'tool_call_id' of 'b' not found in 'tool_calls' of previous message",
        ),
        ([USER, calling("a"), USER], "messages[1].tool_calls", "did not have response messages: a"),
        ([USER, calling("a", "b"), result("a")], "messages[1].tool_calls", "did not have response messages: b"),
        ([USER, calling("a"), calling("b"), result("b")], "messages[1].tool_calls", "response messages: a"),
    ],
)
def test_a_call_or_a_result_alone_is_refused_with_its_place(
    messages: list[dict[str, Any]], param: str, words: str
) -> None:
    message, where, _ = refused(chat.validate, CHAT | {"messages": messages})
    assert where == param
    assert words in message


def test_the_best_of_fewer_than_are_wanted_is_refused() -> None:
    completions.validate(COMPLETION | {"best_of": 2, "n": 2, "stream": True})
    message, param, code = refused(completions.validate, COMPLETION | {"best_of": 1, "n": 2})
    assert (message, param, code) == (
        "Invalid 'best_of': it must not be less than 'n', which is 2.",
        "best_of",
        "invalid_value",
    )


def test_the_best_of_several_cannot_be_streamed() -> None:
    _, param, code = refused(completions.validate, COMPLETION | {"best_of": 2, "stream": True})
    assert (param, code) == ("best_of", "invalid_parameter_combination")


@pytest.mark.parametrize(
    ("prompt", "prompts"), [("a", ["a"]), ([1, 2], [[1, 2]]), (["a", "b"], ["a", "b"]), ([[1], [2]], [[1], [2]])]
)
def test_prompts_are_counted_whatever_they_are_made_of(prompt: Any, prompts: list[Any]) -> None:
    assert completions.prompts_of(prompt) == prompts
