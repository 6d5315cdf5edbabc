"""Whatever a model writes under the grammar of a schema is valid by it: here, anything that the grammar allows."""

import json
import random

import pytest
from llguidance import LLMatcher

from fundament.backends.grammar import Held, compiled, json_grammar
from json_schemas import assert_holds, drawn, object_schemas

SCHEMAS = 150
LONGEST = 400


def written(grammar: LLMatcher, choose: random.Random) -> str | None:
    """A text of the grammar, byte by byte, with a liking for what JSON escapes; None if there is no end in sight."""
    matcher, text = grammar.deep_copy(), bytearray()
    while len(text) < LONGEST:
        mask = matcher.compute_bitmask()
        allowed = [byte for byte in range(256) if mask[byte // 8] >> byte % 8 & 1]
        if matcher.is_accepting() and (not allowed or choose.random() < 0.3):
            return text.decode()
        assert allowed, f"nothing can follow {text.decode()}"
        liked = [byte for byte in allowed if byte in choose.choice((b'"}]', b'"\\0,', bytes(range(256))))]
        text.append(choose.choice(liked or allowed))
        assert matcher.consume_token(text[-1])
    return None


def test_every_text_that_a_grammar_allows_is_valid_by_its_schema() -> None:
    ended = 0
    for position, schema in enumerate(drawn(object_schemas(depth=2), SCHEMAS)):
        choose = random.Random(position)  # noqa: S311 - the same texts every time
        grammar = compiled(json_grammar((schema, True)))
        for text in filter(None, [written(grammar, choose) for _ in range(3)]):
            assert_holds(schema, json.loads(text))
            ended += 1
    assert ended > 2 * SCHEMAS


@pytest.mark.parametrize(
    ("format", "text", "allowed"),
    [
        ("date", "2024-02-29", True),
        ("date", "2000-02-29", True),
        ("date", "2023-02-29", False),
        ("date", "1900-02-29", False),
        ("date", "2023-02-28", True),
        ("date", "0000-01-01", False),
        ("date", "0010-12-31", True),
        ("time", "23:59:59Z", True),
        ("time", "12:00:60Z", False),
        ("time", "12:00:00.123456789-01:30", True),
        ("time", "12:00:00.0123456789Z", False),  # a weak model would never come to the end of it
        ("date-time", "2024-02-29T12:00:00.5+01:00", True),
        ("date-time", "2023-02-29T12:00:00Z", False),
        ("date-time", "2023-02-28T12:00:00.0123456789Z", False),
        ("date-time", "2023-01-31T12:00:60Z", False),
    ],
)
def test_dates_and_times_exist(format: str, text: str, allowed: bool) -> None:
    held = Held(compiled(json_grammar(({"type": "string", "format": format}, True))))
    assert (held.follow(json.dumps(text)) and held.may_end) == allowed
