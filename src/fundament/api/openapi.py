"""`GET /openapi.json`: the OpenAPI 3.1 document, made of the wire types that validate requests.

It knows operations, examples and how a type becomes a schema. The words are in `descriptions.py`, the pasted calls in
`samples.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from fundament import __version__
from fundament.api.descriptions import CHAT, COMPLETION, DESCRIPTIONS, OVERVIEW
from fundament.api.examples import (
    chat_answers,
    chat_chunk,
    chat_requests,
    completion_answers,
    completion_chunk,
    completion_requests,
    shown_model,
)
from fundament.api.fixed import Fixed
from fundament.api.samples import (
    Samples,
    chat_samples,
    completion_samples,
    health_samples,
    list_models_samples,
    retrieve_model_samples,
)
from fundament.gateway.catalogue import CatalogueModel
from fundament.protocol import answers
from fundament.protocol.chat import ChatRequest
from fundament.protocol.completions import CompletionRequest

Json = dict[str, Any]

_TYPES: tuple[type[Struct], ...] = (
    ChatRequest,
    CompletionRequest,
    answers.ChatCompletion,
    answers.ChatCompletionChunk,
    answers.Completion,
    answers.Model,
    answers.ModelList,
    answers.ErrorResponse,
    answers.Liveness,
    answers.Readiness,
)
_FAILURES: Mapping[str, tuple[str, str, Json]] = {
    "400": (
        "BadRequest",
        "Malformed, of a wrong type, out of range, unknown or unsupported. `param` names the field.",
        {
            "message": "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "decimal_above_max_value",
        },
    ),
    "401": (
        "Unauthorized",
        "No key, or a wrong one.",
        {
            "message": "Incorrect API key provided: ********. It is unknown to this service, or was revoked.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        },
    ),
    "404": (
        "NotFound",
        "There is no such model.",
        {
            "message": "The model 'gpt-99' does not exist or you do not have access to it.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        },
    ),
    "413": (
        "TooLarge",
        "The body is larger than the service takes.",
        {
            "message": "The body of your request is larger than 33554432 bytes, which is the limit.",
            "type": "invalid_request_error",
            "param": None,
            "code": "request_too_large",
        },
    ),
    "429": (
        "TooManyRequests",
        "The model's vendor refuses more requests for now. `Retry-After` says how long.",
        {"message": "Rate limit reached.", "type": "requests", "param": None, "code": "rate_limit_exceeded"},
    ),
    "5XX": (
        "ServerError",
        (
            "500: the service or the model's engine failed. 502, 504: the model's vendor could not be reached, "
            "answered wrongly or not in time. 503: the model is starting or full; `Retry-After` says when to try again."
        ),
        {
            "message": "The server had an error while processing your request. Please retry.",
            "type": "server_error",
            "param": None,
            "code": None,
        },
    ),
}
_GENERATING = ("400", "401", "404", "413", "429", "5XX")


def openapi(models: Sequence[CatalogueModel]) -> Fixed:
    """The endpoint. Examples and samples name the first model that can do all that they ask for."""
    shown = max(models, key=lambda model: model.open_weights, default=None)
    return Fixed(msgspec.json.encode(document(shown.id if shown else "MODEL")), b"application/json")


def document(model: str) -> Json:
    """The service's OpenAPI document, with examples for `model`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fundament",
            "version": __version__,
            "description": OVERVIEW,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/v2"}, {"url": "/v1", "description": "The same API"}],
        "security": [{"key": []}],
        "tags": [
            {"name": "Chat", "description": "Conversations, with tools and structured output."},
            {"name": "Completions", "description": "Raw text, for models with open weights."},
            {"name": "Models", "description": "What is served here."},
            {"name": "Health", "description": "For load balancers. No key needed."},
        ],
        "paths": _paths(model),
        "components": {
            "schemas": _schemas(),
            "responses": {name: _failure(says, error) for name, says, error in _FAILURES.values()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "The key: `fundament keys create`."}
            },
        },
    }


def _paths(model: str) -> Json:
    chats, texts = chat_requests(model), completion_requests(model)
    first_chat, first_text = (examples["simple"]["value"] for examples in (chats, texts))
    shown = shown_model(model)
    return {
        "/chat/completions": {
            "post": _operation("Chat", "createChatCompletion", "Create a chat completion", CHAT)
            | _request("ChatRequest", chats)
            | _generated(_answered("ChatCompletion", chat_answers(model)), "ChatCompletionChunk", chat_chunk(model))
            | _sampled(chat_samples(first_chat))
        },
        "/completions": {
            "post": _operation("Completions", "createCompletion", "Create a completion", COMPLETION)
            | _request("CompletionRequest", texts)
            | _generated(_answered("Completion", completion_answers(model)), "Completion", completion_chunk(model))
            | _sampled(completion_samples(first_text))
        },
        "/models": {
            "get": _operation("Models", "listModels", "List the models", "All models that this service offers.")
            | _responses(_answered("ModelList", {"list": {"value": {"object": "list", "data": [shown]}}}), ("401",))
            | _sampled(list_models_samples())
        },
        "/models/{id}": {
            "get": _operation("Models", "retrieveModel", "Retrieve a model", "One model, by id or alias.")
            | {"parameters": [_path_parameter("id", "The model's id or an alias.", model)]}
            | _responses(_answered("Model", {"model": {"value": shown}}), ("401", "404"))
            | _sampled(retrieve_model_samples(model))
        },
        "/health/live": _health("live", "Liveness", "Answers as long as the process does.", {200: {"status": "live"}}),
        "/health/ready": _health(
            "ready",
            "Readiness",
            "200 when every local model answers, else 503.",
            {
                200: {"status": "ready", "models": {model: "ready"}},
                503: {"status": "starting", "models": {model: "starting"}},
            },
        ),
    }


def _operation(tag: str, name: str, summary: str, description: str) -> Json:
    return {"tags": [tag], "operationId": name, "summary": summary, "description": description}


def _request(schema: str, examples: Json) -> Json:
    content = {"application/json": {"schema": _reference(schema), "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def _responses(success: Json, failures: Sequence[str]) -> Json:
    refused = {status: {"$ref": f"#/components/responses/{_FAILURES[status][0]}"} for status in failures}
    return {"responses": {"200": success} | refused}


def _generated(whole: Json, chunk: str, chunk_example: Json) -> Json:
    events = {"text/event-stream": {"schema": _reference(chunk), "examples": chunk_example}}
    success = {"description": "The answer; with `stream`, its events.", "content": whole["content"] | events}
    return _responses(success, _GENERATING)


def _answered(schema: str, examples: Json) -> Json:
    content = {"application/json": {"schema": _reference(schema), "examples": examples}}
    return {"description": "The answer.", "content": content}


def _failure(description: str, error: Json) -> Json:
    example = {"failure": {"value": {"error": error}}}
    return _answered("ErrorResponse", example) | {"description": description}


def _sampled(samples: Samples) -> Json:
    return {"x-codeSamples": samples}


def _path_parameter(name: str, description: str, example: str) -> Json:
    schema = {"type": "string", "minLength": 1}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def _health(name: str, schema: str, description: str, states: Mapping[int, Json]) -> Json:
    operation = _operation("Health", name, schema, description)
    responses = {str(status): _answered(schema, {"state": {"value": state}}) for status, state in states.items()}
    samples = health_samples(f"/health/{name}")
    # No key, and beside the API's two bases.
    return {"servers": [{"url": "/"}], "get": operation | {"security": [], "responses": responses} | _sampled(samples)}


def _reference(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _schemas() -> Json:
    """The types' schemas, each field with its description."""
    _, found = msgspec.json.schema_components(
        _TYPES, schema_hook=lambda _: {"description": "Any value."}, ref_template="#/components/schemas/{name}"
    )
    for name, schema in found.items():
        schema.pop("description", None)  # docstrings are for who reads the code
        for field, value in schema.get("properties", {}).items():
            schema["properties"][field] = _tidy(value)
            if description := DESCRIPTIONS.get(f"{name}.{field}") or DESCRIPTIONS.get(field):
                schema["properties"][field]["description"] = description
    return found


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
