"""JSON Schemas as applications write them for `strict` answers, generated, awkward names and values included.

It knows the subset of JSON Schema that is promised: objects, arrays, enums, const, anyOf, bounds, patterns, formats and
references. Whatever it draws can be satisfied, in few tokens. It knows no service.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

Schema = dict[str, Any]

FORMATS = ("date", "time", "email", "ipv4", "ipv6", "uuid")
PATTERNS = (
    "^[a-z]{1,6}$",
    "^[A-Z]{2}-[0-9]{3}$",
    "^(red|green|blue)$",
    r"^\d{4}$",
    "^a.b$",
    r'^"[^"]{1,3}\\$',
    r'^("[^"\\]{0,4}"|\\[^ \n]|\t\d?)$',
    r"^[^\\/]{1,3}\n?$",
)
TRICKY_NAMES = ("a b", 'quo"te', "back\\slash", "naïve", "名", "$ref", "type", "properties", "const", "a/b~c", "é")
TRICKY_WORDS = (
    "",
    " ",
    'say "hi"',
    "a\\b",
    "line\nbreak",
    "\t",
    "日本",
    "👩‍👩‍👧",
    "</tool_call>",
    "{}",
    "null",
    "\x1f",
)

_checker = FormatChecker(formats=("date", "email", "ipv4", "ipv6", "uuid"))
# Characters that are not assigned are a 400 with a model that has no tokens for their bytes.
_words = st.sampled_from(TRICKY_WORDS) | st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=6)
_names = st.sampled_from(("name", "city", "count", "id", "tags", "x")) | st.sampled_from(TRICKY_NAMES)
_numbers = st.integers(-1000, 1000) | st.sampled_from((0.5, -0.25, 1e3, 12.75))
_values = st.none() | st.booleans() | _numbers | _words | st.lists(st.integers(0, 9), max_size=2)
_values |= st.dictionaries(st.sampled_from(("a", "b")), st.integers(0, 9), max_size=2)


def assert_holds(schema: Schema, instance: Any) -> None:
    """The instance is valid by the schema, formats included."""
    Draft202012Validator(schema, format_checker=_checker).validate(instance)


def drawn(strategy: st.SearchStrategy[Schema], count: int) -> list[Schema]:
    """`count` different schemas, the same ones every time; the simple ones that come first are left out."""
    found: dict[str, Schema] = {}

    @settings(
        max_examples=3 * count + 10,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(schema: Schema) -> None:
        Draft202012Validator.check_schema(schema)
        found[json.dumps(schema)] = schema

    collect()
    return list(found.values())[-count:]


@st.composite
def object_schemas(draw: st.DrawFn, *, depth: int) -> Schema:
    """An object, as the root of an answer or the parameters of a function, with definitions that refer to others.

    `depth` is how many levels of objects and arrays there may be below it.
    """
    definitions: dict[str, Schema] = {}
    for name in draw(st.lists(st.sampled_from(("node", "leaf", "odd name")), max_size=2, unique=True)):
        definitions[name] = draw(_schemas(min(depth, 1), tuple(definitions)))
    schema = draw(_objects(depth, tuple(definitions)))
    if draw(st.integers(0, 9)) == 9:
        schema["properties"]["self"] = {"anyOf": [{"type": "null"}, {"$ref": "#"}]}
    return schema | ({"$defs": definitions} if definitions else {})


def _schemas(depth: int, definitions: tuple[str, ...]) -> st.SearchStrategy[Schema]:
    kinds = [_scalars(), _scalars(), _choices()]
    if definitions:
        places = [f"#/$defs/{name.replace(' ', '%20')}" for name in definitions]
        kinds.append(st.sampled_from(places).map(lambda place: {"$ref": place}))
    if depth:
        inner = st.deferred(lambda: _schemas(depth - 1, definitions))
        kinds += [_objects(depth, definitions), _arrays(inner), _alternatives(inner)]
    return st.one_of(kinds)


@st.composite
def _objects(draw: st.DrawFn, depth: int, definitions: tuple[str, ...]) -> Schema:
    names = draw(st.lists(_names, max_size=4, unique=True))
    properties = {name: draw(_schemas(max(depth - 1, 0), definitions)) for name in names}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := [name for name in names if draw(st.integers(0, 3))]:
        schema["required"] = draw(st.permutations(required))
    return schema


@st.composite
def _arrays(draw: st.DrawFn, items: st.SearchStrategy[Schema]) -> Schema:
    least = draw(st.integers(0, 2))
    schema: Schema = {"type": "array", "items": draw(items), "maxItems": least + draw(st.integers(0, 2))}
    return schema | ({"minItems": least} if least else {})


@st.composite
def _alternatives(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    return {"anyOf": draw(st.lists(inner, min_size=1, max_size=3))}


@st.composite
def _choices(draw: st.DrawFn) -> Schema:
    if draw(st.booleans()):
        return {"const": draw(_values)}
    return {"enum": draw(st.lists(_values, min_size=1, max_size=5, unique_by=repr))}


@st.composite
def _integers(draw: st.DrawFn) -> Schema:
    low = draw(st.integers(-1200, 1200))
    high = low + draw(st.sampled_from((0, 1, 9, 100, 12345)))
    bounds = draw(
        st.sampled_from(
            (
                {"minimum": low, "maximum": high},
                {"exclusiveMinimum": low - 1, "maximum": high},
                {"minimum": low, "exclusiveMaximum": high + 1},
            )
        )
    )
    return {"type": "integer", **bounds}


@st.composite
def _decimals(draw: st.DrawFn) -> Schema:
    low = draw(st.sampled_from((-100, -1.5, 0, 0.001, 3, 99.5)))
    high = low + draw(st.sampled_from((0.5, 1, 2.25, 1000)))
    bounds: tuple[Callable[[], Schema], ...] = (
        lambda: {"minimum": low, "maximum": high},
        lambda: {"exclusiveMinimum": low, "exclusiveMaximum": high},
        lambda: {"multipleOf": 0.5, "minimum": low, "maximum": high},
    )
    return {"type": "number", **draw(st.sampled_from(bounds))()}


@st.composite
def _strings(draw: st.DrawFn) -> Schema:
    form = draw(st.integers(0, 2))
    if form == 0:
        return {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))}
    if form == 1:
        return {"type": "string", "format": draw(st.sampled_from(FORMATS))}
    most = draw(st.integers(0, 12))
    return {"type": "string", "maxLength": most, "minLength": draw(st.integers(0, min(most, 4)))}


def _scalars() -> st.SearchStrategy[Schema]:
    plain = st.sampled_from(({"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"], "maxLength": 5}))
    return st.one_of(_integers(), _decimals(), _strings(), plain.map(dict))
