"""What raw completions have beside their text: the prompt before it, old probabilities, the best of many."""

from typing import Any

import pytest

from fundament.backends.choices import EngineChoice, FoldedChoice, Logprobs, TextLogprobs, Token, TokenChoice, best
from fundament.backends.text import TextReader, text_request
from fundament.errors import InvalidRequest

MIDDLE = (1, 2, 3)


def refused(**body: Any) -> tuple[str | None, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        text_request({"prompt": "x", **body}, None)
    return caught.value.param, caught.value.code


def test_what_the_engine_cannot_tell_is_refused_by_name() -> None:
    assert refused(suffix="x") == ("suffix", "unsupported_parameter")
    assert refused(echo=True, logprobs=0) == ("logprobs", "unsupported_parameter")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", [[1, "a", 2, "z", 3]]),
        ([7, 8], [[1, 7, 8, 2, "z", 3]]),
        (["a", "b"], [[1, "a", 2, "z", 3], [1, "b", 2, "z", 3]]),
        ([[7], [8, 9]], [[1, 7, 2, "z", 3], [1, 8, 9, 2, "z", 3]]),
    ],
)
def test_a_suffix_is_put_around_each_prompt_by_the_models_tokens(prompt: Any, expected: Any) -> None:
    assert text_request({"prompt": prompt, "suffix": "z"}, MIDDLE) == {"prompt": expected}
    assert text_request({"prompt": prompt, "suffix": ""}, MIDDLE) == {"prompt": prompt}


def test_the_engine_is_asked_for_what_the_answer_is_made_of() -> None:
    assert text_request({"prompt": "x", "echo": True}, None) == {"prompt": "x"}
    assert text_request({"prompt": "x", "logprobs": 0}, None)["logprobs"] == 1
    assert text_request({"prompt": "x", "logprobs": 3}, None)["logprobs"] == 3
    assert text_request({"prompt": "x", "best_of": 3, "n": 2}, None) == {"prompt": "x", "n": 3, "logprobs": 1}
    assert text_request({"prompt": "x", "max_tokens": 0}, None)["max_tokens"] == 1


def chunk(text: str, *likeliest: str, finish: str | None = None) -> EngineChoice:
    others = [Token(other, -1.0 - place) for place, other in enumerate(likeliest)]
    known = Logprobs(content=[TokenChoice(text, -0.5, None, others)]) if text else None
    return EngineChoice(0, finish, text=text, logprobs=known)


def test_probabilities_have_the_old_shape_and_offsets_into_the_text() -> None:
    reader = TextReader(echo="", logprobs=1, silent=False)
    first, second = reader.read(chunk("Hé", "He", "Ho")) + reader.read(chunk("llo", "llo"))
    assert first.text_logprobs == TextLogprobs(["Hé"], [-0.5], [{"He": -1.0, "Hé": -0.5}], [0])
    assert second.text_logprobs == TextLogprobs(["llo"], [-0.5], [{"llo": -0.5}], [2])
    folded = FoldedChoice(0)
    for one in (first, second):
        folded.add(one)
    assert folded.completion(logprobs=True)["logprobs"].text_offset == [0, 2]
    assert folded.completion(logprobs=False)["logprobs"] is None


def test_no_alternatives_were_asked_for_and_none_are_told() -> None:
    (one,) = TextReader(echo="", logprobs=0, silent=False).read(chunk("a", "b"))
    assert one.text_logprobs == TextLogprobs(["a"], [-0.5], [{"a": -0.5}], [0])


def test_the_prompt_comes_once_before_the_answer() -> None:
    reader = TextReader(echo="Once ", logprobs=None, silent=False)
    assert [one.text for piece in ("upon", " a") for one in reader.read(chunk(piece))] == ["Once upon", " a"]


def test_an_answer_of_no_tokens_is_the_prompt_or_nothing() -> None:
    for echo in ("", "Once"):
        reader = TextReader(echo=echo, logprobs=0, silent=True)
        assert reader.read(chunk("upon")) == []
        (end,) = reader.read(chunk("", finish="stop"))
        assert (end.text, end.finish_reason, end.text_logprobs) == (echo, "length", None)


def folded(index: int, *probabilities: float) -> FoldedChoice:
    choice = FoldedChoice(index)
    choice.text_logprobs = TextLogprobs(token_logprobs=list(probabilities))
    return choice


def test_the_best_have_the_highest_probability_per_token() -> None:
    choices = [folded(0, -1, -1), folded(1, -0.9), folded(2, -3), folded(3, -2), folded(4, -0.1, -9), folded(5, -1)]
    kept = best(choices, of=3, keep=2)
    assert [choice.likelihood for choice in kept] == [-0.9, -1, -1, -2]
    assert [choice.index for choice in kept] == [0, 1, 2, 3]
