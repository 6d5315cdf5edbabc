"""Every number of the two requests: its bounds, its kind, and null."""

from typing import Any

import pytest

from fundament.protocol import chat, completions
from protocol.openai_words import CHAT, COMPLETION, Validate, out_of_range, refused, wrong_type

RANGES = [
    ("temperature", "decimal", 0, 2),
    ("top_p", "decimal", 0, 1),
    ("frequency_penalty", "decimal", -2, 2),
    ("presence_penalty", "decimal", -2, 2),
    ("min_p", "decimal", 0, 1),
    ("top_k", "integer", -1, None),
    ("n", "integer", 1, 128),
]
CHAT_RANGES = [
    *RANGES,
    ("max_tokens", "integer", 1, None),
    ("max_completion_tokens", "integer", 1, None),
    ("top_logprobs", "integer", 0, 20),
]
COMPLETION_RANGES = [
    *RANGES,
    ("max_tokens", "integer", 0, None),
    ("best_of", "integer", 1, 20),
    ("logprobs", "integer", 0, 5),
]
Case = tuple[Validate, dict[str, Any], str, str, int, int | None]
CASES: list[Case] = [(chat.validate, CHAT, *row) for row in CHAT_RANGES]
CASES += [(completions.validate, COMPLETION, *row) for row in COMPLETION_RANGES]


@pytest.mark.parametrize("case", CASES)
def test_a_number_may_be_at_its_bounds_and_no_further(case: Case) -> None:
    validate, base, name, kind, low, high = case
    base = base | {"logprobs": True} if name == "top_logprobs" else base
    step = 1 if kind == "integer" else 0.5
    validate(base | {name: low})
    under = low - step
    expected = (out_of_range(name, kind, "below", low, under), name, f"{kind}_below_min_value")
    assert refused(validate, base | {name: under}) == expected
    if high is None:
        validate(base | {name: 2**40})
    else:
        validate(base | {name: high})
        for over in (high + step, 10**40):
            expected = (out_of_range(name, kind, "above", high, over), name, f"{kind}_above_max_value")
            assert refused(validate, base | {name: over}) == expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("value", "got"), [("1", "a string"), (True, "a boolean"), ([1], "an array"), ({}, "an object")]
)
def test_a_number_is_not_read_from_anything_else(case: Case, value: object, got: str) -> None:
    validate, base, name, kind, *_ = case
    article = "an" if kind == "integer" else "a"
    expected = (wrong_type(name, f"{article} {kind}", got), name, "invalid_type")
    assert refused(validate, base | {name: value}) == expected


@pytest.mark.parametrize(
    ("validate", "base", "name"),
    [(chat.validate, CHAT, name) for name in ("max_tokens", "n", "seed", "max_completion_tokens")]
    + [(completions.validate, COMPLETION, name) for name in ("max_tokens", "n", "seed", "best_of")],
)
def test_an_integer_is_not_a_decimal(validate: Validate, base: dict[str, Any], name: str) -> None:
    expected = (wrong_type(name, "an integer", "a decimal"), name, "invalid_type")
    for decimal in (1.5, 1e300, float("inf")):
        assert refused(validate, base | {name: decimal}) == expected


@pytest.mark.parametrize("validate", [chat.validate, completions.validate])
def test_every_optional_field_may_be_null_and_no_required_one(validate: Validate) -> None:
    request, base = (
        (chat.ChatRequest, CHAT) if validate is chat.validate else (completions.CompletionRequest, COMPLETION)
    )
    optional = [name for name in request.__struct_fields__ if name not in base]
    validate(base | dict.fromkeys(optional))
    for name in base:
        _, param, code = refused(validate, base | {name: None})
        assert (param, code) == (name, "invalid_type")
        without = {key: value for key, value in base.items() if key != name}
        assert refused(validate, without) == (
            f"Missing required parameter: '{name}'.",
            name,
            "missing_required_parameter",
        )
