"""Grammars that hold our engine to a form: JSON by a schema, calls of functions. Written for llguidance, in its Lark.

llama.cpp decodes under them; the same library, as a Python package, compiles them here first and follows each answer,
because the engine goes on without any grammar when it cannot compile one or one grows too complex. It knows no request;
`tools.py` and `body.py` do.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import llguidance
from llguidance.gbnf_to_lark import any_to_lark

from fundament.errors import InvalidRequest

# OpenAI's own limits for structured outputs; within them a schema compiles in milliseconds.
SCHEMA_LIMIT_CHARACTERS = 120_000
NESTING_LIMIT = 100
ENUM_LIMIT = 1000
# Where schemas meet, each further pattern doubles the time that it takes to see whether any text fits them all.
PATTERNS_LIMIT = 8
ITEMS_LIMIT = 10_000  # of all arrays together: llguidance writes each item out, and ends the process without memory
GRAMMAR_LIMIT_CHARACTERS = 16_000
# Kept compiled: so many grammars, if not longer than this. One takes about 0.5 MB, a long one 3 MB.
COMPILED_LIMIT = 64
KEPT_LIMIT_CHARACTERS = 20_000

CALL_START = "<tool_call>"
CALL_END = "</tool_call>"
NAME_START = '{"name": '
ARGUMENTS_START = ', "arguments": '
CALLS_LIMIT = 8  # a weak model that is allowed several calls would never stop
_HEAD = "%llguidance {}\n"
# A model that may write white space anywhere can write nothing else for ever.
_OPTIONS = {"whitespace_flexible": False, "coerce_one_of": True}


_VALUES = frozenset({"const", "default", "enum", "examples"})  # what is below them is no schema
_EXCLUSIVE_BOUNDS = (("exclusiveMinimum", "minimum", math.inf), ("exclusiveMaximum", "maximum", -math.inf))

Schema = tuple[Mapping[str, Any], bool]
"""A JSON Schema, and whether an answer must hold to all of it."""


def json_grammar(schema: Schema) -> str:
    """A grammar of JSON texts that are valid by `schema`."""
    return f"{_HEAD}start: {_json(*schema)}\n"


def calls_grammar(
    functions: Sequence[tuple[str, Schema]], *, forced: bool, parallel: bool, answer: Schema | None = None
) -> str:
    """A grammar of calls: each function by its name and the schema of its arguments.

    Without `forced`, words are an answer, too: any that do not begin like a call, or JSON by the schema `answer`.
    """
    several = rf' ("\n" call){{0,{CALLS_LIMIT - 1}}}' if parallel else ""
    words = "TEXT" if answer is None else "text"
    rules = [f"start: call{several}" if forced else f"start: {words} | call{several}"]
    if not forced and answer is None:
        rules.append(f"TEXT: /(.|\\n)*/ & ~/{CALL_START}(.|\\n)*/")
    elif not forced and answer is not None:
        rules.append(f"text: {_json(*answer)}")
    rules.append(f'call: "{CALL_START}" ({" | ".join(f"call_{i}" for i in range(len(functions)))}) "{CALL_END}"')
    for position, (name, schema) in enumerate(functions):
        opening = json.dumps(f"{NAME_START}{json.dumps(name)}{ARGUMENTS_START}")
        rules.append(f'call_{position}: {opening} arguments_{position} "}}"')
        rules.append(f"arguments_{position}: {_json(*schema)}")
    return _HEAD + "\n".join(rules) + "\n"


def check_schema(schema: Schema, *, what: str, param: str, code: str | None) -> None:
    """Refuses a schema that the engine could not hold an answer to.

    Args:
        what: names the schema's owner in the message, such as `function 'get_weather'`.

    Raises:
        InvalidRequest: with the place in the schema and the reason.
    """
    if reason := _too_much(schema[0]) or _fault(json_grammar(schema)):
        raise InvalidRequest(f"Invalid schema for {what}: {reason}.", param=param, code=code)


def own_grammar(text: str) -> str:
    """A client's grammar, in llama.cpp's GBNF or llguidance's Lark, as the engine gets it.

    Raises:
        InvalidRequest: it cannot be compiled; the message says why.
    """
    if len(text) > GRAMMAR_LIMIT_CHARACTERS:
        reason = f"it has {len(text)} characters; at most {GRAMMAR_LIMIT_CHARACTERS} are supported"
        raise InvalidRequest(f"Invalid 'grammar': {reason}.", param="grammar", code="invalid_value")
    try:
        grammar = any_to_lark(text)
        reason = "for JSON Schemas there is 'response_format'" if "%json" in text else _fault(grammar)
    except RecursionError:
        grammar, reason = "", "it is nested too deeply"
    except Exception as error:  # noqa: BLE001 - what the converter raises for a rule that is missing
        grammar, reason = "", str(error).partition("\n")[0]
    if reason:
        raise InvalidRequest(f"Invalid 'grammar': {reason}.", param="grammar", code="invalid_value")
    return grammar if grammar.startswith("%llguidance") else _HEAD + grammar


def compiled(grammar: str) -> llguidance.LLMatcher:
    """The grammar over bytes, of which every text consists. Takes a millisecond, up to one second for a huge schema."""
    return _kept(grammar) if len(grammar) <= KEPT_LIMIT_CHARACTERS else _compiled(grammar)


class Held:
    """Follows the text of one answer through the compiled grammar that it was made under."""

    def __init__(self, grammar: llguidance.LLMatcher) -> None:
        self._matcher = grammar.deep_copy()

    def follow(self, text: str) -> bool:
        """Whether the grammar allows `text` to go on so."""
        piece = list(text.encode())
        return self._matcher.try_consume_tokens(piece) == len(piece)

    @property
    def may_end(self) -> bool:
        return self._matcher.is_accepting()


@lru_cache(maxsize=COMPILED_LIMIT)
def _kept(grammar: str) -> llguidance.LLMatcher:
    return _compiled(grammar)


def _compiled(grammar: str) -> llguidance.LLMatcher:
    return llguidance.LLMatcher(_bytes_as_tokens(), grammar, log_level=0)


@lru_cache(maxsize=1)
def _bytes_as_tokens() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer("byte")


def _fault(grammar: str) -> str | None:
    return _known_fault(grammar) if len(grammar) <= KEPT_LIMIT_CHARACTERS else _found_fault(grammar)


@lru_cache(maxsize=8 * COMPILED_LIMIT)
def _known_fault(grammar: str) -> str | None:
    return _found_fault(grammar)


def _found_fault(grammar: str) -> str | None:
    """Why the engine could not compile it, None if it can."""
    matcher = _compiled(grammar)
    if not matcher.is_error():
        return None
    reason = matcher.get_error()
    reason = reason.partition("failed to compile JSON schema: ")[2] or reason
    return reason.partition("\n")[0].strip().rstrip(".")


def _json(schema: Mapping[str, Any], strict: bool) -> str:
    options = _OPTIONS if strict else {**_OPTIONS, "lenient": True}
    return "%json " + json.dumps({**_with_bounds_for_doubles(schema), "x-guidance": options})


def _with_bounds_for_doubles(schema: Any) -> Any:
    """The schema with exclusive bounds of numbers as bounds a billionth further in.

    A text may have more digits than a double: -99.99999999999999999 is above -100, and every parser makes -100 of it.
    llguidance reads bounds of up to about 14 digits right.
    """
    if isinstance(schema, list):
        return [_with_bounds_for_doubles(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast("dict[str, Any]", schema)
    changed = {key: value if key in _VALUES else _with_bounds_for_doubles(value) for key, value in node.items()}
    if node.get("type") == "integer":
        return changed
    for exclusive, inclusive, towards in _EXCLUSIVE_BOUNDS:
        bound = node.get(exclusive)
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            inside = float(f"{bound + math.copysign(abs(bound) or 1, towards) * 1e-9:.12g}")
            del changed[exclusive]
            other = changed.get(inclusive)
            inner = max if towards > 0 else min
            changed[inclusive] = inner(inside, other) if isinstance(other, int | float) else inside
    return changed


def _too_much(schema: Mapping[str, Any]) -> str | None:
    patterns = 0
    items = 0.0
    schemas_meet = False
    level: list[Any] = [schema]
    for _ in range(NESTING_LIMIT):
        for node in _objects(level):
            values = node.get("enum")
            if isinstance(values, list) and (size := len(cast("list[Any]", values))) > ENUM_LIMIT:
                return f"an enum has {size} values; at most {ENUM_LIMIT} are supported"
            named = node.get("patternProperties")
            patterns += ("pattern" in node) + (len(cast("dict[str, Any]", named)) if isinstance(named, dict) else 0)
            items += _number(node.get("minItems")) + _number(node.get("maxItems"))
            schemas_meet |= "allOf" in node or ("$ref" in node and len(node) > 1)
        level = [child for node in level for child in _children(node)]
        if not level:
            break
    else:
        return f"it is nested more than {NESTING_LIMIT} levels deep"
    if (length := len(json.dumps(schema))) > SCHEMA_LIMIT_CHARACTERS:
        return f"it has {length} characters; at most {SCHEMA_LIMIT_CHARACTERS} are supported"
    if schemas_meet and patterns > PATTERNS_LIMIT:
        return f"it combines schemas and has {patterns} patterns; at most {PATTERNS_LIMIT} are supported then"
    if items > ITEMS_LIMIT:
        return f"its minItems and maxItems add up to {items:.0f}; at most {ITEMS_LIMIT} are supported"
    return None


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0


def _objects(nodes: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if isinstance(node, dict):
            yield cast("dict[str, Any]", node)


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return cast("dict[str, Any]", node).values()
    return cast("list[Any]", node) if isinstance(node, list) else ()
