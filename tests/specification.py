"""The oracles: is this body, chunk, event or stream what the API descriptions say, and nothing more?

It knows the schemas in `spec/`, where the official API departs from them or they from each other (`_document`), and
which fields stand in one that another does not have (`EXTENSIONS`). It knows no sockets.
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

SPECIFICATIONS = Path(__file__).with_name("spec")
SPECIFICATION = SPECIFICATIONS / "openai.json"
Document = Literal["openai", "openresponses"]

_OBFUSCATED = (
    *("ResponseTextDeltaEvent", "ResponseRefusalDeltaEvent", "ResponseReasoningTextDeltaEvent"),
    *("ResponseFunctionCallArgumentsDeltaEvent", "ResponseCustomToolCallInputDeltaEvent"),
    "ResponseReasoningSummaryTextDeltaEvent",
)
EXTENSIONS: Mapping[Document, Mapping[str, frozenset[str]]] = {
    "openai": {
        # What a model can do, who hosts it and where, and its licence: the models page of the API reference.
        "Model": frozenset({"meta_data"}),
        # Open Responses requires these of a response, and the official API sends `store`.
        "Response": frozenset({"store", "frequency_penalty", "presence_penalty"}),
        # As the official API sends it, and as all other items have it.
        "CustomToolCall": frozenset({"status"}),
        # Said in words, in `ResponseStreamOptions`; Open Responses has it in the events, but for refusals.
        **dict.fromkeys(_OBFUSCATED, frozenset({"obfuscation"})),
    },
    "openresponses": {
        # OpenAI's document requires these two, and has the others.
        "InputTokensDetails": frozenset({"cache_write_tokens"}),
        "ResponseFunctionCallArgumentsDoneStreamingEvent": frozenset({"name"}),
        "ReasoningBody": frozenset({"status"}),
        "FunctionCall": frozenset({"namespace"}),
        "ResponseResource": frozenset({"conversation", "user"}),
        "ResponseRefusalDeltaStreamingEvent": frozenset({"obfuscation"}),
    },
}

DEPARTURES: Mapping[str, str] = {
    # The document has no schema for the chunks of a streamed completion. The official API sends the same object with
    # `finish_reason` null until the end and `usage` null but for the last chunk (`openai.types.Completion`).
    "CreateCompletionStreamResponse": "CreateCompletionResponse",
}


def assert_valid(schema: str, body: Any, *, undeclared: Iterable[str] = (), document: Document = "openai") -> Any:
    """Return the body if it is valid against `components.schemas[schema]` and has only fields declared there.

    `undeclared` names fields, with their path (`choices[].delta.reasoning_content`), that this body may have besides.
    """
    error = best_match(_validator(document, schema).iter_errors(body))
    if error is not None:
        raise AssertionError(f"not a valid {schema}: {error.json_path}: {error.message}\n{_show(body)}")
    surplus = set(_undeclared(document, _reference(schema), body, "")) - set(undeclared)
    if surplus:
        raise AssertionError(f"not in {schema}: {', '.join(sorted(surplus))}\n{_show(body)}")
    return body


def assert_valid_response(response: dict[str, Any]) -> dict[str, Any]:
    """Return the response object if both documents of the Responses API allow it.

    Open Responses has functions only: what has other tools or items is held to OpenAI's document alone.
    """
    assert_valid("Response", response)
    if not _only_openai([*response["tools"], *response["output"], response["tool_choice"]]):
        assert_valid("ResponseResource", response, document="openresponses")
    return response


def assert_valid_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a streamed response if both documents allow it; a response in it is held to them, too."""
    type = event["type"]
    schemas = {document: _events(document).get(type) for document in ("openai", "openresponses")}
    assert schemas["openai"] is not None, f"no event of a response: {type}"
    assert_valid(schemas["openai"], event)
    if "response" in event:
        assert_valid_response(event["response"])
    elif schemas["openresponses"] is not None and not _only_openai([event.get("item")]):
        assert_valid(schemas["openresponses"], event, document="openresponses")
    return event


def _only_openai(objects: Iterable[Any]) -> bool:
    shared = {"function", "allowed_tools", "message", "reasoning", "function_call", "function_call_output"}
    return any(isinstance(entry, dict) and entry["type"] not in shared for entry in objects)


@cache
def _events(document: Document) -> Mapping[str, str]:
    """The schema of each type of event."""
    schemas = _document(document)["components"]["schemas"]
    return {
        schema["properties"]["type"]["enum"][0]: name
        for name, schema in schemas.items()
        if name.endswith("Event") and "sequence_number" in schema.get("properties", {})
    }


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
def _document(name: Document) -> dict[str, Any]:
    document = json.loads((SPECIFICATIONS / f"{name}.json").read_bytes())
    depart = {"openai": _openai_departures, "openresponses": _open_responses_departures}[name]
    depart(document["components"]["schemas"])
    return document


def _openai_departures(schemas: dict[str, Any]) -> None:
    completion_chunk = deepcopy(schemas[DEPARTURES["CreateCompletionStreamResponse"]])
    choice = completion_chunk["properties"]["choices"]["items"]["properties"]
    choice["finish_reason"] = _nullable(choice["finish_reason"])
    completion_chunk["properties"]["usage"] = _nullable(completion_chunk["properties"]["usage"])
    schemas["CreateCompletionStreamResponse"] = completion_chunk
    # The usage is null until the response is over, as Open Responses has it and the official API sends it.
    schemas["ResponseUsage"] = _nullable(schemas["ResponseUsage"])
    # Open Responses requires the description of a format, null if there is none; the official API sends it like that.
    format = schemas["TextResponseFormatJsonSchema"]["properties"]
    format["description"] = _nullable(format["description"])
    # The logprobs of events have the same fields as those of items, as in Open Responses.
    schemas["ResponseLogProb"] = schemas["LogProb"]


def _open_responses_departures(schemas: dict[str, Any]) -> None:
    # It takes no schema of a format but null.
    schemas["JsonSchemaResponseFormat"]["properties"]["schema"] = {"type": "object", "additionalProperties": True}
    # Its name for the events of reasoning is one that OpenAI's clients do not know.
    for ending in ("Delta", "Done"):
        event = schemas[f"ResponseReasoning{ending}StreamingEvent"]["properties"]
        event["type"]["enum"] = [f"response.reasoning_text.{ending.lower()}"]


def _nullable(schema: Any) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


@cache
def _validator(document: Document, schema: str) -> Draft202012Validator:
    _resolve(document, _reference(schema))  # an unknown name fails here, by name
    resource = Resource.from_contents(_document(document), default_specification=DRAFT202012)
    registry = Registry().with_resource(document, resource)
    return Draft202012Validator({"$ref": document + _reference(schema)["$ref"]}, registry=registry)


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _resolve(document: Document, schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    name = ""
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        schema = _document(document)["components"]["schemas"][name]
    return name, schema


def _alternatives(document: Document, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schema and all it is composed of: a field that any of them declares is declared."""
    name, schema = _resolve(document, schema)
    yield name, schema
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(keyword, ()):
            yield from _alternatives(document, part)


def _undeclared(document: Document, schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    parts = list(_alternatives(document, schema))
    if isinstance(value, list):
        items = [part["items"] for _, part in parts if "items" in part]
        for item in value:
            yield from _undeclared(document, {"anyOf": items}, item, f"{path}[]")
    if not isinstance(value, dict) or any(part.get("additionalProperties", False) is not False for _, part in parts):
        return
    extensions = frozenset[str]().union(*(EXTENSIONS[document].get(name, ()) for name, _ in parts))
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        declared = [part["properties"][key] for _, part in parts if key in part.get("properties", {})]
        if declared:
            yield from _undeclared(document, {"anyOf": declared}, inner, where)
        elif key not in extensions and any("properties" in part for _, part in parts):
            yield where


def _show(body: Any) -> str:
    text = json.dumps(body, indent=1, ensure_ascii=False)
    return text if len(text) < 4000 else text[:4000] + " …"
