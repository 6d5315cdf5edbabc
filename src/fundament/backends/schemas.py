"""JSON Schemas as llguidance can hold to them: within limits, rewritten where it is inexact, widened where it cannot.

It knows JSON Schema and what llguidance makes of it, found by trying; it knows no request. `grammar.py` compiles.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeGuard, cast

from fundament.backends.patterns import UnsupportedPattern, held_name_pattern, held_patterns

# OpenAI's own limits for structured outputs; within them a schema compiles in milliseconds.
SCHEMA_LIMIT_CHARACTERS = 120_000
NESTING_LIMIT = 100
ENUM_LIMIT = 1000
# Where schemas meet, each further pattern doubles the time that it takes to see whether any text fits them all.
PATTERNS_LIMIT = 8
ITEMS_LIMIT = 10_000  # of all arrays together: llguidance writes each item out, and ends the process without memory

_VALUES = frozenset({"const", "default", "enum", "examples"})  # what is below them is no schema
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})  # schemas by names
_SHAPE = _VALUES | {
    *("$defs", "$ref", "additionalProperties", "allOf", "anyOf", "definitions", "description", "items", "oneOf"),
    *("prefixItems", "properties", "required", "title", "type"),
}
_OF_NUMBERS = frozenset({"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_EXCLUSIVE_BOUNDS = (("exclusiveMinimum", "minimum", math.inf), ("exclusiveMaximum", "maximum", -math.inf))

_ONE_SPELLING = r"^[^\x00-\x1f\x7f]*$"  # without what JSON can write in two ways even so

# What the formats of RFC 3339 leave open in llguidance: the year 0, the 29th of February, leap seconds; and fractions
# of seconds without end, which a weak model goes on with until its tokens are spent.
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_FOURTH = "(?:0[48]|[2468][048]|[13579][26])"
_DATE = f"^(?:{_YEAR}-(?:0[13-9]|1[0-2]|02-[01]|02-2[0-8])|(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)-02-29)"
_SECONDS = r"[0-5][0-9](?:\.[0-9]{1,9})?(?:[^0-9.].*)?$"
_FORMATS = {"date": (_DATE,), "time": ("^.{6}" + _SECONDS,), "date-time": (_DATE, "^.{17}" + _SECONDS)}


def prepared(schema: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """The same schema, in words that llguidance reads right: patterns, names, dates, bounds of numbers and multiples.

    Raises:
        UnsupportedPattern: it has a pattern that llguidance could not hold to.
    """

    def change(node: dict[str, Any]) -> dict[str, Any]:
        node = _with_other_names(_with_held_names(node), strict=strict)
        return _with_multiples_listed(_with_bounds_for_doubles(_with_held_texts(node)))

    return cast("dict[str, Any]", _rewritten(dict(schema), change))


def widened(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Ever wider schemas, the last of which llguidance can hold to: each allows whatever `schema` does."""
    if not _is_too_deep(schema):
        yield cast("dict[str, Any]", _rewritten(dict(schema), _without_unsupported_patterns))
        yield cast("dict[str, Any]", _rewritten(dict(schema), _shape))
    yield {"type": "object"} if schema.get("type") == "object" else {}


def _rewritten(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The schema after a `change` to each schema in it, the inner ones first."""
    if isinstance(schema, list):
        return [_rewritten(item, change) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    node: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key in _VALUES:
            node[key] = value
        elif key in _NAMED and isinstance(value, dict):
            named = cast("dict[str, Any]", value)
            node[key] = {name: _rewritten(inner, change) for name, inner in named.items()}
        else:
            node[key] = _rewritten(value, change)
    return change(node)


def _with_held_names(node: dict[str, Any]) -> dict[str, Any]:
    """The patterns of names in words of llguidance, which holds a declared property to none of them.

    Where two schemas meet, it does.
    """
    named = node.get("patternProperties")
    if not isinstance(named, dict):
        return node
    held = {held_name_pattern(name): schema for name, schema in cast("dict[str, Any]", named).items()}
    if not node.get("properties"):
        return {**node, "patternProperties": held}
    others = [*_list(node.get("allOf")), {"patternProperties": held}]
    return {**node, "patternProperties": dict.fromkeys(held, True), "allOf": others}


def _with_other_names(node: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    """Names that are not declared as a pattern, for which llguidance writes each character in one way.

    Else it takes them in any spelling, also `"\\u0061"`, which every reader takes for a declared `"a"`. Such a pattern
    is for all names: there can be no other beside it.
    """
    others = node.get("additionalProperties", True)
    if node.get("patternProperties"):
        if strict and others is not False:
            raise UnsupportedPattern("'patternProperties' is supported only beside 'additionalProperties': false")
        return node
    if "properties" not in node and "additionalProperties" not in node:
        return node
    return {**node, "patternProperties": {_ONE_SPELLING: others}, "additionalProperties": False}


def _without_unsupported_patterns(node: dict[str, Any]) -> dict[str, Any]:
    left_out: set[str] = set()
    if isinstance(pattern := node.get("pattern"), str) and not _is_supported(held_patterns, pattern):
        left_out.add("pattern")
    if isinstance(named := node.get("patternProperties"), dict):
        names = cast("dict[str, Any]", named)
        if not all(
            _is_supported(held_name_pattern, name) for name in names
        ):  # what they match is among the others then
            left_out |= {"patternProperties", "additionalProperties"}
    return {key: value for key, value in node.items() if key not in left_out}


def _is_supported(held: Callable[[str], object], pattern: str) -> bool:
    try:
        held(pattern)
    except UnsupportedPattern:
        return False
    return True


def _shape(node: dict[str, Any]) -> dict[str, Any]:
    """What a value consists of, without the finer conditions on it."""
    left_out = {"additionalProperties"} if "patternProperties" in node else set[str]()
    if len(_list(node.get("enum"))) > ENUM_LIMIT:
        left_out.add("enum")
    return {key: value for key, value in node.items() if key in _SHAPE and key not in left_out}


def _with_held_texts(node: dict[str, Any]) -> dict[str, Any]:
    """The pattern and the format in words of llguidance, with what it needs beside them."""
    others: list[str] = []
    if isinstance(format := node.get("format"), str):
        others += _FORMATS.get(format, ())
    if isinstance(pattern := node.get("pattern"), str):
        held, *companions = held_patterns(pattern)
        node = {**node, "pattern": held}
        others += companions
    return {**node, "allOf": [*_list(node.get("allOf")), *({"pattern": other} for other in others)]} if others else node


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _with_bounds_for_doubles(node: dict[str, Any]) -> dict[str, Any]:
    """Exclusive bounds of numbers as bounds a billionth further in.

    A text may have more digits than a double: -99.99999999999999999 is above -100, and every parser makes -100 of it.
    llguidance reads bounds of up to about 14 digits right.
    """
    if node.get("type") == "integer":
        return node
    for exclusive, inclusive, towards in _EXCLUSIVE_BOUNDS:
        bound = node.get(exclusive)
        if _is_number(bound):
            inside = float(f"{bound + math.copysign(abs(bound) or 1, towards) * 1e-9:.12g}")
            node = {key: value for key, value in node.items() if key != exclusive}
            other = node.get(inclusive)
            inner = max if towards > 0 else min
            node[inclusive] = inner(inside, other) if _is_number(other) else inside
    return node


def _with_multiples_listed(node: dict[str, Any]) -> dict[str, Any]:
    """Multiples between two bounds as a list, if they are few.

    llguidance makes no negative multiples, and finds none between bounds like 0.001 and 0.501.
    """
    step, (low, high) = node.get("multipleOf"), _range(node)
    types = node.get("type")
    names = set(cast("list[str]", types)) if isinstance(types, list) else {types}
    if "enum" in node or not names <= {"integer", "number", "null"} or not names - {"null"}:
        return node
    if not _is_number(step) or step <= 0 or math.isinf(low) or math.isinf(high):
        return node
    exact = Decimal(str(step))
    first, last = math.ceil(Decimal(str(low)) / exact), math.floor(Decimal(str(high)) / exact)
    if last - first >= ENUM_LIMIT:
        return node
    multiples = [exact * count for count in range(first, last + 1)]
    values = [int(value) if value == value.to_integral_value() else float(value) for value in multiples]
    allowed: list[Any] = [value for value in values if isinstance(value, int) or "number" in names]
    others = [None] if "null" in names else []
    return {key: value for key, value in node.items() if key not in _OF_NUMBERS} | {"enum": allowed + others}


def _range(node: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the greatest number that the node's bounds allow; exclusive bounds are those of integers."""
    low, high = node.get("minimum"), node.get("maximum")
    low = low if _is_number(low) else -math.inf
    high = high if _is_number(high) else math.inf
    if _is_number(exclusive := node.get("exclusiveMinimum")):
        low = max(low, math.floor(exclusive) + 1)
    if _is_number(exclusive := node.get("exclusiveMaximum")):
        high = min(high, math.ceil(exclusive) - 1)
    return low, high


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def too_much(schema: Mapping[str, Any]) -> str | None:  # noqa: PLR0911 - a list of limits
    """What is too much about a schema, None if nothing is."""
    if _is_too_deep(schema):
        return f"it is nested more than {NESTING_LIMIT} levels deep"
    patterns = 0
    items = 0.0
    endless_multiples = False
    schemas_meet = False
    for level in _levels(schema):
        for node in _objects(level):
            values = node.get("enum")
            if isinstance(values, list) and (size := len(cast("list[Any]", values))) > ENUM_LIMIT:
                return f"an enum has {size} values; at most {ENUM_LIMIT} are supported"
            named = node.get("patternProperties")
            patterns += ("pattern" in node) + (len(cast("dict[str, Any]", named)) if isinstance(named, dict) else 0)
            items += _number(node.get("minItems")) + _number(node.get("maxItems"))
            endless_multiples |= "multipleOf" in node and _has_negative_multiples(node)
            schemas_meet |= "allOf" in node or ("$ref" in node and len(node) > 1)
            schemas_meet |= {"patternProperties", "properties"} <= node.keys()  # by `_with_held_names`
    if (length := len(json.dumps(schema))) > SCHEMA_LIMIT_CHARACTERS:
        return f"it has {length} characters; at most {SCHEMA_LIMIT_CHARACTERS} are supported"
    if schemas_meet and patterns > PATTERNS_LIMIT:
        return f"it combines schemas and has {patterns} patterns; at most {PATTERNS_LIMIT} are supported then"
    if endless_multiples:
        return f"a 'multipleOf' below zero needs bounds with at most {ENUM_LIMIT} multiples between them"
    if items > ITEMS_LIMIT:
        return f"its minItems and maxItems add up to {items:.0f}; at most {ITEMS_LIMIT} are supported"
    return None


def _levels(schema: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Everything in a schema, by how deep it is nested."""
    level: list[Any] = [schema]
    while level:
        yield level
        level = [child for node in level for child in _children(node)]


def _is_too_deep(schema: Mapping[str, Any]) -> bool:
    return any(depth >= NESTING_LIMIT for depth, _ in enumerate(_levels(schema)))


def _has_negative_multiples(node: dict[str, Any]) -> bool:
    """Whether there are only multiples below zero, and they are not listed."""
    bounded = _with_bounds_for_doubles(node)
    return _range(bounded)[1] < 0 and "multipleOf" in _with_multiples_listed(bounded)


def _number(value: Any) -> float:
    return value if _is_number(value) else 0


def _objects(nodes: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if isinstance(node, dict):
            yield cast("dict[str, Any]", node)


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return cast("dict[str, Any]", node).values()
    return cast("list[Any]", node) if isinstance(node, list) else ()
