"""The parameters that OpenAI does not know and docs/parameters.md names do on the embedded model what they say."""

import json
from typing import Any

import pytest

from effects import BOTH, PATHS, SEEDS, request, text
from service import Service

# Each of them alone makes the hottest sampling as greedy as temperature 0.
NARROWING: dict[str, dict[str, Any]] = {"top_k": {"top_k": 1}, "min_p": {"min_p": 1.0}}
LARK = "%llguidance {}\nstart: /[ab]{5}/\n"
GBNF = 'root ::= "aa" [bc] [bc] "d"'


@pytest.mark.parametrize("endpoint", BOTH)
@pytest.mark.parametrize("name", NARROWING)
def test_a_narrow_choice_is_greedy_however_hot(embedded: Service, endpoint: str, name: str) -> None:
    greedy = text(embedded, endpoint)
    assert {text(embedded, endpoint, temperature=2, seed=seed, **NARROWING[name]) for seed in SEEDS} == {greedy}
    wide: dict[str, Any] = {"top_k": 0} if name == "top_k" else {"min_p": 0}
    assert len({text(embedded, endpoint, temperature=2, seed=seed, **wide) for seed in SEEDS}) > 1


@pytest.mark.parametrize("endpoint", BOTH)
@pytest.mark.parametrize("name", ["repeat_penalty", "repetition_penalty"])
def test_a_penalty_of_repetitions_makes_a_text_of_new_words(embedded: Service, endpoint: str, name: str) -> None:
    def variety(penalty: float) -> float:
        words = text(embedded, endpoint, max_tokens=40, **{name: penalty}).split()
        return len(set(words)) / len(words)

    assert variety(1.8) > variety(0.5)
    assert text(embedded, endpoint, **{name: 1}) == text(embedded, endpoint)


@pytest.mark.parametrize("endpoint", BOTH)
@pytest.mark.parametrize(("grammar", "letters"), [(LARK, "ab"), (GBNF, "abcd")], ids=["lark", "gbnf"])
def test_a_grammar_holds_the_text(embedded: Service, endpoint: str, grammar: str, letters: str) -> None:
    for seed in SEEDS:
        written = text(embedded, endpoint, grammar=grammar, temperature=1, seed=seed)
        assert len(written) == 5
        assert set(written) <= set(letters)


def test_a_grammar_beside_another_form_is_refused(embedded: Service) -> None:
    body = request("chat", grammar=LARK, response_format={"type": "json_object"})
    reply = embedded.post(PATHS["chat"], body)
    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")
    assert "grammar" in json.dumps(reply.error)


@pytest.mark.parametrize("endpoint", BOTH)
@pytest.mark.parametrize("grammar", ["root ::= (", "%llguidance {}\nstart: nothing\n", "\x00", "root ::= missing"])
def test_a_grammar_that_cannot_be_compiled_is_refused_by_name(embedded: Service, endpoint: str, grammar: str) -> None:
    reply = embedded.post(PATHS[endpoint], request(endpoint, grammar=grammar))
    assert (reply.status, reply.error["param"]) == (400, "grammar")
