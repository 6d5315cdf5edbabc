"""Patterns mean to our engine what they mean to ECMA-262, whatever JSON makes of the characters that they match."""

import json
import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundament.backends.grammar import Held, compiled, json_grammar
from fundament.backends.patterns import UnsupportedPattern, held_name_pattern, held_patterns

# Texts of up to two of these characters, which JSON writes in every way that it has.
TEXTS = tuple("".join(text) for length in range(3) for text in product('"\\ab1-[\n\x01é', repeat=length))
ITEMS = ('"', r"\\", "a", "1", r"\[", "é", r"\n", r"\x01", r"\u00e9", r"\-", "a-b", r"\x00-\x1f", r"\x00", " -~")
SETS = (r"\d", r"\D", r"\w", r"\W", r"\S", r"\s")
_characters = st.sampled_from(
    ('"', r"\\", "a", "b", "1", "-", "é", r"\n", r"\x01", r"\[", r"\u0022", r"\x00", "]", "}")
)
_classes = st.builds(
    lambda caret, items: f"[{caret}{''.join(items)}]",
    st.sampled_from(("", "^")),
    st.lists(st.sampled_from(ITEMS + SETS), min_size=1, max_size=4),
)
_atoms = st.one_of(_characters, _classes, st.sampled_from((*SETS, ".")))
_pieces = st.builds("{}{}".format, _atoms, st.sampled_from(("", "", "*", "+", "?", "{1,2}", "{2}", "*?")))
_sequences = st.lists(_pieces, min_size=1, max_size=3).map("".join)
_groups = st.builds("({}{}|{})".format, st.sampled_from(("", "?:")), _sequences, _sequences)
PATTERNS = st.builds(
    "{}{}{}".format, st.sampled_from(("", "^")), st.one_of(_sequences, _groups), st.sampled_from(("", "$"))
)


def allows(schema: dict[str, object], *texts: str) -> list[bool]:
    """Which of the texts of JSON the engine could write under a schema."""
    grammar = compiled(json_grammar((schema, True)))
    if grammar.is_error():
        assert "Regex is empty" in grammar.get_error()
        return [False for _ in texts]
    helds = [(Held(grammar), text) for text in texts]
    return [held.follow(text) and held.may_end for held, text in helds]


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(PATTERNS)
def test_a_text_is_made_where_its_pattern_matches_it(pattern: str) -> None:
    found = allows({"type": "string", "pattern": pattern}, *(json.dumps(text, ensure_ascii=False) for text in TEXTS))
    wanted = [re.search(pattern.removesuffix("$") + r"\Z" * pattern.endswith("$"), text, re.ASCII) for text in TEXTS]
    assert [text for text, one in zip(TEXTS, found, strict=True) if one] == [
        text for text, one in zip(TEXTS, wanted, strict=True) if one
    ]


@pytest.mark.parametrize(
    ("pattern", "text", "allowed"),
    [
        (r'^"[^"]{1,3}\\$', r'"\"a\\"', True),
        (r'^"[^"]{1,3}\\$', r'"\"\\\\"', True),
        (r'^"[^"]{1,3}\\$', r'"\""', False),
        (r'^"[^"]{1,3}\\$', r'"\"\"\\"', False),
        (r'^[^"]$', r'"\u0001"', True),
        (r'^[^"]$', r'"\u0000"', False),
        (r'^[^"]$', r'"\u0022"', False),
        (r"^[^\\]$", r'"\\"', False),
        (r'^([\x00-\x0f"\\]|[\x10-\x1f])$', r'"\""', True),
        (r"^([\x00-\x0f]|[\x10-\x1f])$", r'"\""', False),
        (r"^(\0|[\x01-\x1f])$", r'"\""', False),
        (r"^\p{Cc}$", r'"\""', False),
        (r"^\p{Lu}$", '"É"', True),
        (r"^\P{Lu}$", '"É"', False),
        (r"^.$", r'"\r"', False),
        (r"^.$", '"\u2028"', False),
        (r"^\s$", '"\u0085"', False),
        (r"^\s$", '"\ufeff"', True),
        (r"^\S$", '"\ufeff"', False),
        (r"^\w$", '"é"', False),
        (r"^[[a]b]$", '"[b]"', True),
        (r"^[[a]b]$", '"a"', False),
        (r"^[a&&b]$", '"a"', True),
        (r"^[a-z--b]$", '"c"', True),
        (r"^[\w-.]$", '"-"', True),
        (r"^\cJ$", r'"\n"', True),
        (r"^\ud83d\ude00$", '"😀"', True),
        (r"^[\ud83d\ude00]$", '"😀"', True),
        (r"^\u{1f600}$", '"😀"', True),
        (r"^{a}/$", '"{a}/"', True),
        ("^(?<y>a)$", '"a"', True),
        ("^(?P<y>a)$", '"a"', True),
    ],
)
def test_a_pattern_is_read_as_ecma_262_reads_it(pattern: str, text: str, allowed: bool) -> None:
    assert allows({"type": "string", "pattern": pattern}, text) == [allowed]


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("a(?=b)", "(?=b)"),
        ("a(?!b)", "(?!b)"),
        ("(?<=a)b", "(?<=a)b"),
        ("(?i)a", "(?i)a"),
        (r"a\b", r"\b"),
        (r"(a)\1", r"\1"),
        (r"\za", r"\za"),
        (r"\00", r"\00"),
        ("[]a]", "[]a]"),
        ("[^]", "[^]"),
        ("[b-a]", "b-a]"),
        (r"[a-\d]", r"\d]"),
        ("[a", ""),
        ("a{,3}", "{,3}"),
        ("a++", "++"),
        ("^*", "^*"),
        ("a\\", "\\"),
        (r"\u{110000}", r"\u{110000}"),
    ],
)
def test_a_pattern_that_cannot_be_held_to_is_refused_from_the_place_on(pattern: str, place: str) -> None:
    with pytest.raises(UnsupportedPattern) as caught:
        held_patterns(pattern)
    assert str(caught.value) == f"the pattern '{pattern}' is not supported from '{place}' on"


def test_a_character_that_must_not_stand_alone_is_not_replaced_by_its_companion() -> None:
    texts = r'"\"a"', r'"\u0002a"', r'"\"b"', "null"
    assert allows({"type": ["string", "null"], "pattern": '^"[ab]$'}, *texts) == [True, False, True, True]
    others = {"allOf": [{"maxLength": 2}, {"pattern": "a$"}]}
    assert allows({"type": ["string", "null"], "pattern": '^"[ab]$', **others}, *texts) == [True, False, False, True]


def test_a_class_that_would_lose_a_character_is_refused_where_names_are_told_apart() -> None:
    assert held_name_pattern(r"^[^_]\S.\D$")
    for pattern in ('[^"]', r"\p{L}", r"\0", r"[\0-\x1f]"):
        with pytest.raises(UnsupportedPattern, match="is supported in the patterns of texts, and not of names"):
            held_name_pattern(f"^{pattern}$")
