"""In what two JSON Schemas differ for who sends a value: `difference` a line, each at the path where it is.

It knows JSON Schema as OpenAPI documents use it (references, unions, constant tags). It knows no schema by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]

LIMITS = ("minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "maxProperties", "pattern")
NUMBERS_OF_64_BITS = 9e18  # a bound that JSON cannot even express is none
TAGS = ("type", "role")


@dataclass
class Shape:
    """What a schema accepts, its unions taken apart: kinds of value, and what is said of each kind."""

    kinds: set[str] = field(default_factory=set)
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: set[str] | None = field(default_factory=set)  # the only strings; None for any
    items: list[Schema] = field(default_factory=list)
    objects: dict[str, list[Schema]] = field(default_factory=dict)  # by their tag, "" where they have none


class Document:
    """An OpenAPI document, to look references up in."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas: dict[str, Schema] = document["components"]["schemas"]

    def schema(self, name: str) -> Schema:
        return self._schemas[name]

    def fields(self, schema: Schema) -> list[str]:
        """The names of an object's properties."""
        return list(self.resolved(schema)["properties"])

    def resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        if "allOf" not in schema:
            return schema
        parts = [self.resolved(part) for part in schema["allOf"]]
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        for part in (*parts, schema):
            merged["properties"] = merged["properties"] | dict(part.get("properties", {}))
            merged["required"] = merged["required"] + list(part.get("required", []))
        return merged

    def shape(self, *schemas: Schema) -> Shape:
        """The union of the schemas."""
        shape = Shape()
        for schema in schemas:
            self._add(shape, self.resolved(schema))
        return shape

    def _add(self, shape: Shape, schema: Schema) -> None:
        options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        if options:
            for option in options:
                self._add(shape, self.resolved(option))
            return
        kinds = schema.get("type", "any")
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            shape.kinds.add(kind)
            if kind == "string":
                allowed = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
                open_ended = allowed is None or shape.texts is None
                shape.texts = None if open_ended else shape.texts | {text for text in allowed if text is not None}
            if kind == "array":
                shape.items.append(schema.get("items", {}))
            if kind == "object":
                shape.objects.setdefault(self._tag(schema), []).append(schema)
            if kind != "null":
                limits = {name: schema[name] for name in LIMITS if name in schema and _counts(schema[name])}
                before = shape.limits.get(kind)
                # Of several alternatives the most generous counts: a limit holds only if all have it.
                shape.limits[kind] = (
                    limits if before is None else {k: v for k, v in limits.items() if before.get(k) == v}
                )

    def _tag(self, schema: Schema) -> str:
        for name in TAGS:
            tag = self.resolved(schema.get("properties", {}).get(name, {}))
            values = tag.get("enum") or ([tag["const"]] if "const" in tag else [])
            if len(values) == 1:
                return f"{name}={values[0]}"
        return ""


def differences(ours: Document, our_schema: Schema, theirs: Document, their_schema: Schema) -> Iterator[str]:
    """Each difference as `path: what ours does`, but for nulls that ours takes in addition (`*: null`), and objects
    that ours closes (`*: closed`)."""
    yield from sorted(set(_differences("", (ours, [our_schema]), (theirs, [their_schema]), 0)))


def _differences(path: str, ours: tuple[Document, list[Schema]], theirs: tuple[Document, list[Schema]], depth: int):
    here, there = ours[0].shape(*ours[1]), theirs[0].shape(*theirs[1])
    if depth > 12 or "any" in there.kinds:
        return
    for kind in sorted(here.kinds - there.kinds):
        if kind == "null":
            yield "*: null"
        elif not (kind == "number" and "integer" in there.kinds):
            yield f"{path}: takes {kind}"
        else:
            yield f"{path}: takes numbers that are not integers"
    for kind in sorted(there.kinds - here.kinds - {"integer" if "number" in here.kinds else ""}):
        yield f"{path}: takes no {kind}"
    yield from _limit_differences(path, here, there)
    if "string" in here.kinds & there.kinds:
        yield from _text_differences(path, here.texts, there.texts)
    if "array" in here.kinds & there.kinds:
        yield from _differences(f"{path}[]", (ours[0], here.items), (theirs[0], there.items), depth + 1)
    if "object" in here.kinds & there.kinds:
        yield from _object_differences(path, (ours[0], here.objects), (theirs[0], there.objects), depth)


def _limit_differences(path: str, here: Shape, there: Shape) -> Iterator[str]:
    for kind in sorted(here.kinds & there.kinds - {"null"}):
        mine, other = here.limits[kind], there.limits[kind]
        for name in LIMITS:
            if mine.get(name) != other.get(name):
                yield f"{path}: {kind} {name} {mine.get(name, 'none')}, not {other.get(name, 'none')}"


def _text_differences(path: str, here: set[str] | None, there: set[str] | None) -> Iterator[str]:
    if here == there:
        return
    if here is None:
        yield f"{path}: takes any string"
    elif there is None:
        yield f"{path}: takes only {', '.join(sorted(here))}"
    else:
        if more := sorted(here - there):
            yield f"{path}: takes {', '.join(more)}"
        if less := sorted(there - here):
            yield f"{path}: takes no {', '.join(less)}"


def _object_differences(
    path: str,
    ours: tuple[Document, dict[str, list[Schema]]],
    theirs: tuple[Document, dict[str, list[Schema]]],
    depth: int,
) -> Iterator[str]:
    mine, others = ours[1], theirs[1]
    if len(mine) == len(others) == 1:  # one kind of object: its tag need not tell it from another
        mine, others = {"": next(iter(mine.values()))}, {"": next(iter(others.values()))}
    for tag in sorted(mine.keys() - others.keys()):
        yield f"{path}: takes objects with {tag or 'no tag'}"
    for tag in sorted(others.keys() - mine.keys()):
        yield f"{path}: takes no objects with {tag or 'no tag'}"
    for tag in sorted(mine.keys() & others.keys()):
        where = f"{path}({tag.partition('=')[2]})" if tag and len(mine) > 1 else path
        yield from _fields_differences(where, (ours[0], mine[tag]), (theirs[0], others[tag]), depth)


def _fields_differences(
    path: str, ours: tuple[Document, list[Schema]], theirs: tuple[Document, list[Schema]], depth: int
) -> Iterator[str]:
    mine, others = _properties(ours[1]), _properties(theirs[1])
    closed = all(schema.get("additionalProperties") is False for schema in ours[1])
    if not mine and others:
        yield f"{path}: takes any object"
        return
    if closed and not all(schema.get("additionalProperties") is False for schema in theirs[1]):
        yield "*: closed"
    for name in sorted(mine.keys() - others.keys()):
        if others or closed:
            yield f"{_below(path, name)}: taken"
    missing = sorted(others.keys() - mine.keys())
    if missing and not closed:
        yield f"{path}: other fields not checked"
    for name in missing if closed else ():
        yield f"{_below(path, name)}: not taken"
    required, wanted = _required(ours[1]), _required(theirs[1])
    for name in sorted(required ^ wanted):
        if name in mine and name in others:
            yield f"{_below(path, name)}: {'required' if name in required else 'optional'}"
    for name in sorted(mine.keys() & others.keys()):
        inner = _below(path, name)
        yield from _differences(inner, (ours[0], mine[name]), (theirs[0], others[name]), depth + 1)
    values = [[s["additionalProperties"] for s in side if isinstance(s.get("additionalProperties"), dict)]
              for side in (ours[1], theirs[1])]  # fmt: skip
    if all(values):
        yield from _differences(f"{path}.*", (ours[0], values[0]), (theirs[0], values[1]), depth + 1)


def _properties(schemas: list[Schema]) -> dict[str, list[Schema]]:
    found: dict[str, list[Schema]] = {}
    for schema in schemas:
        for name, value in schema.get("properties", {}).items():
            found.setdefault(name, []).append(value)
    return found


def _required(schemas: list[Schema]) -> set[str]:
    return set.intersection(*(set(schema.get("required", ())) for schema in schemas))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _counts(limit: Any) -> bool:
    return isinstance(limit, str) or abs(limit) < NUMBERS_OF_64_BITS
