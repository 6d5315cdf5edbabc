"""`GET /openapi.json`: the OpenAPI 3.1 document, made of the wire types that validate requests.

It knows the document, and the operations of chats, texts, models and health. Those of responses are in
`responses_operations.py`, the types' schemas in `schemas.py`, the words in `descriptions.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fundament import __version__
from fundament.api.descriptions import CHAT, COMPLETION, OVERVIEW
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
from fundament.api.operations import (
    FAILURES,
    answered,
    failure,
    generated,
    operation,
    path_parameter,
    request,
    responses,
    sampled,
)
from fundament.api.responses_operations import conversation_paths, response_paths
from fundament.api.samples import (
    chat_samples,
    completion_samples,
    health_samples,
    list_models_samples,
    retrieve_model_samples,
)
from fundament.api.schemas import schemas
from fundament.api.usage_operations import usage_paths
from fundament.gateway.catalogue import CatalogueModel

Json = dict[str, Any]


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
            {
                "name": "Responses",
                "description": "Answers that are kept, continued, cancelled, made in the background.",
            },
            {"name": "Conversations", "description": "Items that responses share and add to."},
            {"name": "Completions", "description": "Raw text, for models with open weights."},
            {"name": "Models", "description": "What is served here."},
            {"name": "Usage", "description": "What the key's contract has used. For keys with the scope `usage`."},
            {"name": "Health", "description": "For load balancers. No key needed."},
        ],
        "paths": _paths(model),
        "components": {
            "schemas": schemas(),
            "responses": {name: failure(says, error) for name, says, error in FAILURES.values()},
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
            "post": operation("Chat", "createChatCompletion", "Create a chat completion", CHAT)
            | request("ChatRequest", chats)
            | generated(answered("ChatCompletion", chat_answers(model)), "ChatCompletionChunk", chat_chunk(model))
            | sampled(chat_samples(first_chat))
        },
        "/completions": {
            "post": operation("Completions", "createCompletion", "Create a completion", COMPLETION)
            | request("CompletionRequest", texts)
            | generated(answered("Completion", completion_answers(model)), "Completion", completion_chunk(model))
            | sampled(completion_samples(first_text))
        },
        **response_paths(model),
        **conversation_paths(),
        "/models": {
            "get": operation("Models", "listModels", "List the models", "All models that the key may use.")
            | responses(
                answered("ModelList", {"list": {"value": {"object": "list", "data": [shown]}}}),
                (
                    "401",
                    "403",
                ),
            )
            | sampled(list_models_samples())
        },
        "/models/{id}": {
            "get": operation("Models", "retrieveModel", "Retrieve a model", "One model, by id or alias.")
            | {"parameters": [path_parameter("id", "The model's id or an alias.", model)]}
            | responses(answered("Model", {"model": {"value": shown}}), ("401", "403", "404"))
            | sampled(retrieve_model_samples(model))
        },
        **usage_paths(model),
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


def _health(name: str, schema: str, description: str, states: Mapping[int, Json]) -> Json:
    described = operation("Health", name, schema, description)
    answers = {str(status): answered(schema, {"state": {"value": state}}) for status, state in states.items()}
    samples = health_samples(f"/health/{name}")
    # No key, and beside the API's two bases.
    return {"servers": [{"url": "/"}], "get": described | {"security": [], "responses": answers} | sampled(samples)}
