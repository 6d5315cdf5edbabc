"""How the wire types become the schemas of the reference, each field with its description.

It knows every type that the document shows and nothing of operations. The words are in `descriptions.py`.
"""

import re
from typing import Any, get_args

import msgspec
from msgspec import Struct

from fundament.api.descriptions import DESCRIPTIONS
from fundament.protocol import answers, conversations, responses_answers
from fundament.protocol.chat import ChatRequest
from fundament.protocol.completions import CompletionRequest
from fundament.protocol.responses import CompactRequest, ResponsesRequest
from fundament.protocol.responses_events import ResponseEvent
from fundament.protocol.responses_items import Hosted

Json = dict[str, Any]

_TYPES: tuple[type[Struct], ...] = (
    ChatRequest,
    CompletionRequest,
    ResponsesRequest,
    CompactRequest,
    conversations.NewConversation,
    conversations.ConversationChange,
    conversations.ItemsToAdd,
    answers.ChatCompletion,
    answers.ChatCompletionChunk,
    answers.Completion,
    answers.Model,
    answers.ModelList,
    answers.UsageReport,
    answers.ErrorResponse,
    answers.Liveness,
    answers.Readiness,
    responses_answers.Response,
    responses_answers.DeletedResponse,
    responses_answers.InputTokens,
    responses_answers.CompactedResponse,
    responses_answers.ItemList,
    responses_answers.Conversation,
    responses_answers.DeletedConversation,
)
_MAY_LACK_TYPE = ("Message", "ItemReference")  # `protocol/responses.py` tells them apart without it
_HOSTED = tuple(kind.__name__ for kind in get_args(Hosted))  # whose fields are not checked
_QUALIFIED = re.compile(rb"fundament\.protocol\.(\w+)\.(\w+)")


def schemas() -> Json:
    """The schema of each type, and of those within it, by name."""
    found = _found()
    for name in _MAY_LACK_TYPE:
        found[name]["required"].remove("type")
    for name in _HOSTED:
        found[name]["properties"] = {"type": found[name]["properties"]["type"]}
    for name, schema in found.items():
        schema.pop("description", None)  # docstrings are for who reads the code
        if "title" in schema:
            schema["title"] = name
        for field, value in schema.get("properties", {}).items():
            schema["properties"][field] = _tidy(value)
            if description := DESCRIPTIONS.get(f"{name}.{field}") or DESCRIPTIONS.get(field):
                schema["properties"][field]["description"] = description
    return found


def _found() -> Json:
    """As msgspec makes them, but with short names: of two types with one name, that of the Responses API says so."""
    (*_, item, event), components = msgspec.json.schema_components(
        (*_TYPES, responses_answers.KeptItem, ResponseEvent),
        schema_hook=lambda _: {"description": "Any value."},
        ref_template="#/components/schemas/{name}",
    )
    text = msgspec.json.encode({**components, "KeptItem": item, "ResponseEvent": event})
    return msgspec.json.decode(_QUALIFIED.sub(_short_name, text))


def _short_name(qualified: re.Match[bytes]) -> bytes:
    return b"Responses" * qualified[1].startswith(b"responses") + qualified[2]


def _tidy(schema: Json) -> Json:
    """The same schema as people write it: kinds of value named, null beside the kind, no null as default."""
    schema = {name: value for name, value in schema.items() if (name, value) != ("default", None)}
    if "enum" in schema:
        return {"type": "string", **schema}
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            schema[keyword] = _tidy(schema[keyword])
    if "anyOf" not in schema:
        return schema
    options = [_tidy(option) for option in schema.pop("anyOf")]
    kinds = [option for option in options if option != {"type": "null"}]
    if len(kinds) == len(options) or len(kinds) > 1 or "$ref" in kinds[0]:
        return schema | {"anyOf": options}
    kind = schema | kinds[0]
    if "type" not in kind:
        return {**kind, "anyOf": [*kind["anyOf"], {"type": "null"}]}
    if "enum" in kind:
        kind["enum"] = [*kind["enum"], None]
    return kind | {"type": [kind["type"], "null"]}
