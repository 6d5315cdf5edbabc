"""The oracles: is this body, chunk or stream what OpenAI's own API description says, and nothing more?

It knows the schemas in `spec/`, where the official API departs from them (`DEPARTURES`), and which fields Fundament
adds on purpose (`EXTENSIONS`). It knows no sockets.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

SPECIFICATION = Path(__file__).with_name("spec") / "openai.json"

EXTENSIONS: Mapping[str, frozenset[str]] = {
    # What a model can do, who hosts it and where, and its licence: the models page of the API reference.
    "Model": frozenset({"meta_data"}),
}

DEPARTURES: Mapping[str, str] = {
    # The document has no schema for the chunks of a streamed completion. The official API sends the same object with
    # `finish_reason` null until the end and `usage` null but for the last chunk (`openai.types.Completion`).
    "CreateCompletionStreamResponse": "CreateCompletionResponse",
}


def assert_valid(schema: str, body: Any, *, undeclared: Iterable[str] = ()) -> Any:
    """Return the body if it is valid against `components.schemas[schema]` and has only fields declared there.

    `undeclared` names fields, with their path (`choices[].delta.reasoning_content`), that this body may have besides.
    """
    error = best_match(_validator(schema).iter_errors(body))
    if error is not None:
        raise AssertionError(f"not a valid {schema}: {error.json_path}: {error.message}\n{_show(body)}")
    surplus = set(_undeclared(_reference(schema), body, "")) - set(undeclared)
    if surplus:
        raise AssertionError(f"not in {schema}: {', '.join(sorted(surplus))}\n{_show(body)}")
    return body


def assert_valid_stream(
    kind: Literal["chat", "completions"], data: bytes | Iterable[bytes], *, usage: bool = False
) -> list[dict[str, Any]]:
    """Return the chunks of a complete stream of one choice, each valid and the whole in OpenAI's order.

    Role first (chat), one `finish_reason` and that last, `[DONE]`, one id, one model and one time in all chunks; a last
    chunk with the usage and no choices exactly when `usage` says that the client asked for it.
    """
    schema = "CreateChatCompletionStreamResponse" if kind == "chat" else "CreateCompletionStreamResponse"
    *events, done = read_sse(data)
    assert done == "[DONE]", f"the stream ends with {done!r}, not with [DONE]"
    chunks = [assert_valid(schema, json.loads(event)) for event in events]
    for name in ("id", "model", "created", "object"):
        assert len({chunk[name] for chunk in chunks}) == 1, f"{name} changes within the stream"
    with_choices = chunks[:-1] if usage else chunks
    assert all(len(chunk["choices"]) == 1 for chunk in with_choices), f"a chunk without its choice: {_show(chunks)}"
    if usage:
        assert chunks[-1]["choices"] == [], "the last chunk, with the usage, has no choices"
        assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert all(chunk.get("usage") is None for chunk in with_choices), "usage before the last chunk, or not asked for"
    choices = [chunk["choices"][0] for chunk in with_choices]
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons[-1] is not None and not any(reasons[:-1]), f"finish_reason is not last: {reasons}"
    if kind == "chat":
        roles = [choice["delta"].get("role") for choice in choices]
        assert roles[0] == "assistant" and not any(roles[1:]), f"the role is not in the first delta alone: {roles}"
    return chunks


def read_sse(data: bytes | Iterable[bytes]) -> Iterator[str]:
    """The data of each event, strictly: one `data: ` line and an empty line, nothing else, nothing after `[DONE]`."""
    buffer = b""
    done = False
    for piece in [data] if isinstance(data, bytes) else data:
        buffer += piece
        while (end := buffer.find(b"\n\n")) >= 0:
            event, buffer = buffer[:end], buffer[end + 2 :]
            assert not done, f"an event after [DONE]: {event!r}"
            assert event.startswith(b"data: ") and not set(b"\r\n") & set(event), f"not one data line: {event!r}"
            text = event.removeprefix(b"data: ").decode()
            done = text == "[DONE]"
            yield text
    assert not buffer, f"the stream ends inside an event: {buffer!r}"


@cache
def _document() -> dict[str, Any]:
    document = json.loads(SPECIFICATION.read_bytes())
    schemas = document["components"]["schemas"]
    completion_chunk = deepcopy(schemas[DEPARTURES["CreateCompletionStreamResponse"]])
    choice = completion_chunk["properties"]["choices"]["items"]["properties"]
    choice["finish_reason"] = {"anyOf": [choice["finish_reason"], {"type": "null"}]}
    completion_chunk["properties"]["usage"] = {"anyOf": [completion_chunk["properties"]["usage"], {"type": "null"}]}
    schemas["CreateCompletionStreamResponse"] = completion_chunk
    return document


@cache
def _validator(schema: str) -> Draft202012Validator:
    _resolve(_reference(schema))  # an unknown name fails here, by name
    resource = Resource.from_contents(_document(), default_specification=DRAFT202012)
    registry = Registry().with_resource("openai", resource)
    return Draft202012Validator({"$ref": "openai" + _reference(schema)["$ref"]}, registry=registry)


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _resolve(schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    name = ""
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        schema = _document()["components"]["schemas"][name]
    return name, schema


def _alternatives(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schema and all it is composed of: a field that any of them declares is declared."""
    name, schema = _resolve(schema)
    yield name, schema
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(keyword, ()):
            yield from _alternatives(part)


def _undeclared(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    parts = list(_alternatives(schema))
    if isinstance(value, list):
        items = [part["items"] for _, part in parts if "items" in part]
        for item in value:
            yield from _undeclared({"anyOf": items}, item, f"{path}[]")
    if not isinstance(value, dict) or any(part.get("additionalProperties") for _, part in parts):
        return
    extensions = frozenset[str]().union(*(EXTENSIONS.get(name, ()) for name, _ in parts))
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        declared = [part["properties"][key] for _, part in parts if key in part.get("properties", {})]
        if declared:
            yield from _undeclared({"anyOf": declared}, inner, where)
        elif key not in extensions and any("properties" in part for _, part in parts):
            yield where


def _show(body: Any) -> str:
    text = json.dumps(body, indent=1, ensure_ascii=False)
    return text if len(text) < 4000 else text[:4000] + " …"
