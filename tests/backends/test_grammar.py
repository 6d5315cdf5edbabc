"""Grammars are the engine's own: what is taken here it can compile, and what it wrote is held against them."""

import importlib.util
import re
import time
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from fundament.backends.choices import EngineChoice
from fundament.backends.embedded import HeldReader
from fundament.backends.grammar import (
    GRAMMAR_LIMIT_CHARACTERS,
    KEPT_LIMIT_CHARACTERS,
    Held,
    compiled,
    held_schema,
    json_grammar,
    own_grammar,
)
from fundament.errors import InvalidRequest

PATTERN = {"type": "string", "pattern": "(a|b)*a(a|b){9}"}


def refusal(schema: dict[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        held_schema((schema, True), what="x", param="p", code=None)
    return caught.value.message


def library(package: str, pattern: str) -> bytes:
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    (path,) = Path(found.origin).parent.glob(pattern)
    return path.read_bytes()


def test_grammars_are_checked_by_the_version_that_the_engine_is_built_with() -> None:
    version = re.compile(rb"derivre-[0-9.]+")  # llguidance's engine of regular expressions, by which it can be told
    engines, ours = (version.findall(file) for file in (library("xllamacpp", "*.so"), library("llguidance", "*.so")))
    assert set(engines) == set(ours) != set()


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "format": "uri"}, "Unknown format: uri"),
        ({"enum": [str(i) for i in range(1001)]}, "an enum has 1001 values; at most 1000 are supported"),
        ({"allOf": [PATTERN] * 9}, "it combines schemas and has 9 patterns; at most 8 are supported then"),
        (
            {"$ref": "#/$defs/a", "title": "x", "$defs": {"a": {"patternProperties": {str(i): {} for i in range(9)}}}},
            "it combines schemas and has 9 patterns; at most 8 are supported then",
        ),
        ({"minItems": 6_000, "items": {"maxItems": 4_001}}, "its minItems and maxItems add up to 10001; at most 10000"),
        ({"type": "integer", "multipleOf": 3, "maximum": -2}, "a 'multipleOf' below zero needs bounds"),
        ({"type": "integer", "multipleOf": 3, "maximum": -2, "minimum": -9999}, "at most 1000 multiples between them"),
        ({"maxItems": 1e300}, "at most 10000 are supported"),
        ({"pattern": "a(?!b)"}, "the pattern 'a(?!b)' is not supported from '(?!b)' on"),
        ({"$defs": {"const": {"pattern": "(?i)a"}}}, "the pattern '(?i)a' is not supported from '(?i)a' on"),
        ({"patternProperties": {'^"a': {}}}, "'\"' is supported in the patterns of texts, and not of names"),
        ({"patternProperties": {"^a": {}}}, "supported only beside 'additionalProperties': false"),
        (
            {"properties": {"a": {}}, "patternProperties": {str(i): {} for i in range(9)}},
            "it combines schemas and has 9 patterns",
        ),
        ({"description": "x" * 120_001}, "it has 120020 characters; at most 120000 are supported"),
    ],
)
def test_a_schema_that_is_too_much_is_refused_with_the_reason(schema: dict[str, Any], reason: str) -> None:
    assert refusal(schema).startswith("Invalid schema for x: ")
    assert reason in refusal(schema)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


# Each of these took seconds, or for ever, before there was a bound for it.
HOSTILE: list[dict[str, Any]] = [
    {"allOf": [PATTERN | {"pattern": f"(a|b)*a(a|b){{{i}}}"} for i in range(20)]},
    {"allOf": [PATTERN | {"pattern": f"(a|b)*a(a|b){{{i}}}"} for i in range(8)]},
    nested(5_000),
    {"patternProperties": 5, "enum": 7, "minItems": "x", "properties": [1]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}},
    {"type": "string", "pattern": "(((a{1,100}){1,100}){1,100}){1,100}"},
    {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    {"type": "string", "minLength": 10**9},
    {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(2_000)}},
    {"type": "string", "pattern": '("|[^"]|\\D)' * 3_000},
    {"type": "string", "pattern": 5, "allOf": 5},
    {"type": "string", "pattern": '^"', "allOf": 5},
    {"properties": {"a" * 40: {}}, "patternProperties": {"(a|aa)*b": {}}, "additionalProperties": False},
    {"properties": {f"a{i}": {} for i in range(2_000)}, "patternProperties": {f"^b{i}": {} for i in range(2_000)}},
    {"allOf": [{"properties": {f"p{i}": {}}} for i in range(300)]},
]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("schema", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_schema_is_compiled_widened_or_refused_in_seconds(schema: dict[str, Any], strict: bool) -> None:
    begin = time.monotonic()
    try:
        held_schema((schema, strict), what="x", param="p", code=None)
    except InvalidRequest as refused:
        assert strict
        assert refused.param == "p"
    assert time.monotonic() - begin < 10  # 0.5 s on an idle machine; unbounded, the first of them took minutes


INTEGER = {"type": "integer"}
OPEN = {"type": "object", "properties": {"a": INTEGER, "b/c": INTEGER, "d\n": INTEGER}}
CLOSED = OPEN | {"additionalProperties": False}
NAMED = {"properties": {"xa": {"maxLength": 3}}, "patternProperties": {"^x": {"type": "string"}}}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("schema", "allowed", "forbidden"),
    [
        (OPEN, ['{"a":1,"b/c":1,"d\\n":1}'], ['{"\\u0061":"x"}', '{"b\\/c":"x"}', '{"d\\u000a":"x"}', '{"a":"x"}']),
        (OPEN, ['{"b":"x"}', '{"é":"x"}', '{"\\"\\\\/":"x"}', '{"a":1,"🙂":[]}', '{"":1}'], ['{"\\u00e9":1}']),
        (OPEN | {"additionalProperties": {"type": "string"}}, ['{"a":1,"b":"x"}'], ['{"b":1}', '{"\\u0061":"x"}']),
        (OPEN | {"required": ["z"]}, ['{"a":1,"z":1}', '{"z":1,"y":2}'], ['{"a":1}']),
        (CLOSED, ['{"a":1}', "{}"], ['{"b":1}', '{"\\u0061":1}']),
        ({"allOf": [OPEN, {"additionalProperties": INTEGER}]}, ['{"a":1,"b":1}'], ['{"b":"x"}', '{"\\u0061":"x"}']),
        ({"allOf": [OPEN, CLOSED]}, ['{"a":1}'], ['{"b":1}', '{"a":"x"}']),
        ({"additionalProperties": False, "anyOf": [OPEN]}, ["{}"], ['{"a":1}', '{"b":1}']),
        (OPEN | {"$ref": "#/$defs/x", "$defs": {"x": OPEN}}, ['{"a":1,"b":"x"}'], ['{"a":"x"}', '{"\\u0061":1}']),
        ({"properties": {"properties": INTEGER}}, ['{"properties":1,"b":2}'], ['{"properties":"x"}']),
        (
            NAMED | {"additionalProperties": False},
            ['{"xa":"abc","xb":"abcd"}'],
            ['{"xa":1}', '{"xa":"abcd"}', '{"xb":1}', '{"y":1}'],
        ),
        (
            {"properties": {"xa": INTEGER}, "patternProperties": {"^x": {"maximum": 5}}, "additionalProperties": False},
            ['{"xa":5,"xb":"a"}'],
            ['{"xa":6}', '{"xa":"a"}', '{"\\u0078a":"a"}'],
        ),
    ],
)
def test_names_are_held_to_all_that_is_said_of_them(
    schema: dict[str, Any], allowed: list[str], forbidden: list[str], strict: bool
) -> None:
    grammar = compiled(json_grammar((schema, strict)))
    for text in allowed + forbidden:
        held = Held(grammar)
        assert (held.follow(text) and held.may_end) == (text in allowed), text


LOOK_AHEAD = {"type": "string", "pattern": "a(?!b)"}
ONE_OF_MANY = {"enum": [str(i) for i in range(1001)]}


@pytest.mark.parametrize(
    ("schema", "allowed", "forbidden"),
    [
        (LOOK_AHEAD, '"ab"', "1"),
        ({"properties": {"a": LOOK_AHEAD, "b": {"maximum": 5}}}, '{"a":"ab","b":5}', '{"a":"ab","b":6}'),
        ({"properties": {"a": ONE_OF_MANY, "b": {"type": "integer"}}}, '{"a":"x","b":1}', '{"a":"x","b":"y"}'),
        ({"properties": {"pattern": LOOK_AHEAD}, "required": ["pattern"]}, '{"pattern":"ab"}', "{}"),
        (
            {"type": "object", "patternProperties": {'^"': {"type": "integer"}}, "additionalProperties": False},
            '{"other":1}',
            "[]",
        ),
        (
            {"type": "object", "patternProperties": {"^a": {}, "b$": {}}, "additionalProperties": False, "x": {}},
            '{"ab":1}',
            "[]",
        ),
        ({"type": "array", "minItems": 20_000, "items": {"type": "integer"}}, "[1]", '["a"]'),
        ({"allOf": [PATTERN] * 9}, '"x"', "1"),
        ({"type": "object", "properties": {"a": {"$ref": "elsewhere.json"}}}, '{"a":1}', "[]"),
        ({"type": "text"}, '"x"', "x"),
        ({"const": {"pattern": "a(?!b)"}}, '{"pattern":"a(?!b)"}', "{}"),
        ({"type": "object"} | nested(5_000), '{"a":[]}', "[]"),
    ],
)
def test_a_schema_that_cannot_be_held_to_is_widened_unless_it_is_strict(
    schema: dict[str, Any], allowed: str, forbidden: str
) -> None:
    grammar = compiled(json_grammar(held_schema((schema, False), what="x", param="p", code=None)))
    for text, wanted in ((allowed, True), (forbidden, False)):
        held = Held(grammar)
        assert (held.follow(text) and held.may_end) == wanted
    if "const" not in schema:
        refusal(schema)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("root ::= (", "Expected"),
        ("rule ::= x", "not found"),
        ('rule ::= "x"', "No 'root' rule found"),
        ("", "No 'root' rule found"),
        ("%llguidance {}\nstart: nothing", "nothing"),
        ('%llguidance {}\nstart: %json {"minItems": 1000000000}', "for JSON Schemas there is 'response_format'"),
        ("x" * (GRAMMAR_LIMIT_CHARACTERS + 1), f"at most {GRAMMAR_LIMIT_CHARACTERS} are supported"),
        ("root ::= " + "(" * 5000 + '"a"' + ")" * 5000, "nested too deeply"),
        ("%llguidance {}\nstart: " + "(" * 5000 + '"a"' + ")" * 5000, "too deeply nested"),
    ],
)
def test_a_grammar_that_cannot_be_compiled_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(reason)) as caught:
        own_grammar(text)
    assert (caught.value.param, caught.value.code) == ("grammar", "invalid_value")
    assert "\n" not in caught.value.message


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The grammars whose compiling was begun."""
    texts: list[str] = []

    def counted(tokenizer: LLTokenizer, grammar: str, **options: Any) -> LLMatcher:
        texts.append(grammar)
        return LLMatcher(tokenizer, grammar, **options)

    monkeypatch.setattr("llguidance.LLMatcher", counted)
    return texts


@pytest.mark.parametrize("description", ["", "x" * KEPT_LIMIT_CHARACTERS], ids=["short", "long"])
def test_a_schema_is_compiled_once_for_the_check_and_the_use(description: str, begun: list[str]) -> None:
    schema = {"enum": [f"once {len(description)}"], "description": description}, True
    held_schema(schema, what="x", param="p", code=None)
    assert Held(compiled(json_grammar(schema))).follow('"once')
    assert begun == [json_grammar(schema)]


@pytest.mark.parametrize("text", ['root ::= "once"', 'start: "once"', '%llguidance {}\nstart: "once"'])
def test_a_grammar_is_compiled_once_for_the_check_and_the_use(text: str, begun: list[str]) -> None:
    assert Held(compiled(own_grammar(text))).follow("once")
    assert len(begun) == 1


def test_the_fault_of_a_grammar_is_told_by_its_own_lines() -> None:
    with pytest.raises(InvalidRequest, match=r"at 2\(4\): unknown name"):
        own_grammar("start: a\na: nothing")


@pytest.mark.parametrize("text", ['root ::= "yes" | "no"', 'start: "yes" | "no"', '%llguidance {}\nstart: "yes"'])
def test_a_grammar_is_taken_in_either_language(text: str) -> None:
    held = Held(compiled(own_grammar(text)))
    assert held.follow("ye")
    assert not held.may_end
    assert held.follow("s")
    assert held.may_end


def reader(schema: dict[str, Any]) -> HeldReader:
    return HeldReader(Held(compiled(json_grammar((schema, True)))), "response_format")


def chunk(text: str, finish: str | None = None) -> EngineChoice:
    return EngineChoice(0, finish, {"content": text} if text else {})


def test_an_answer_that_keeps_to_its_grammar_passes_whatever_its_characters() -> None:
    follow = reader({"enum": ["é🙂漢"]})
    for piece in ('"', "é", "🙂漢", '"'):
        assert follow.read(chunk(piece)) == [chunk(piece)]
    assert follow.read(chunk("", "stop")) == [chunk("", "stop")]


@pytest.mark.parametrize("pieces", [['{"a'], ['"', "y"], ['"x'], [""]])
def test_an_answer_that_strays_from_its_grammar_is_no_answer(pieces: list[str]) -> None:
    follow = reader({"enum": ["x"]})
    with pytest.raises(InvalidRequest) as caught:
        for piece in pieces:
            follow.read(chunk(piece))
        follow.read(chunk("", "stop"))
    assert (caught.value.param, caught.value.code) == ("response_format", "form_too_complex")


def test_an_answer_that_is_cut_by_its_limit_may_end_anywhere() -> None:
    follow = reader({"enum": ["x"]})
    follow.read(chunk('"'))
    assert follow.read(chunk("", "length")) == [chunk("", "length")]


@pytest.mark.parametrize(
    ("schema", "text", "allowed"),
    [
        ({"type": "number", "exclusiveMinimum": -100, "maximum": 0}, "-99.9999998", True),
        ({"type": "number", "exclusiveMinimum": -100, "maximum": 0}, "-99.999999999999999999", False),
        ({"type": "number", "exclusiveMaximum": 5, "minimum": 0}, "4.9999998", True),
        ({"type": "number", "exclusiveMaximum": 5, "minimum": 0}, "4.99999999999999999", False),
        ({"type": "integer", "exclusiveMaximum": 5, "minimum": 0}, "4", True),
        ({"type": "integer", "multipleOf": 2, "minimum": -9, "maximum": -1}, "-8", True),
        ({"type": "integer", "multipleOf": 2, "minimum": -9, "maximum": -1}, "-9", False),
        ({"type": "integer", "multipleOf": 2, "exclusiveMinimum": -4, "maximum": 4}, "-4", False),
        ({"type": "integer", "multipleOf": 2, "exclusiveMinimum": -4, "maximum": 4}, "-2", True),
        ({"type": "number", "multipleOf": 0.5, "minimum": -1.5, "maximum": -0.5}, "-1.5", True),
        ({"type": "number", "multipleOf": 0.5, "minimum": -1.5, "maximum": -0.5}, "-1.25", False),
        ({"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 100}, "98", True),
        ({"type": "number", "multipleOf": 0.5, "minimum": 0.001, "maximum": 0.501}, "0.5", True),
        ({"type": "integer", "multipleOf": 1, "exclusiveMinimum": 0.5, "exclusiveMaximum": 1.5}, "1", True),
        ({"type": ["integer", "null"], "multipleOf": 5, "minimum": -5, "maximum": 5}, "null", True),
        ({"type": ["integer", "null"], "multipleOf": 5, "minimum": -5, "maximum": 5}, "-5", True),
        ({"type": ["integer", "string"], "multipleOf": 5, "minimum": 0, "maximum": 5}, '"a"', True),
        ({"type": "integer", "enum": [3, 4, 6], "multipleOf": 2, "minimum": 0, "maximum": 5}, "2", False),
        (
            {"properties": {"const": {"type": "number", "exclusiveMinimum": 5}}},
            '{"const":5.00000000000000000001}',
            False,
        ),
        ({"const": {"exclusiveMinimum": 5}}, '{"exclusiveMinimum":5}', True),
    ],
)
def test_numbers_keep_to_their_bounds_and_steps_as_every_parser_reads_them(
    schema: dict[str, Any], text: str, allowed: bool
) -> None:
    held = Held(compiled(json_grammar((schema, True))))
    assert (held.follow(text) and held.may_end) == allowed
