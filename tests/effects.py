"""Asking the embedded model with one parameter changed, and saying which parameter a test shows the effect of.

It knows the two endpoints and how to read their answers; it does not know what a parameter should do.
"""

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from service import Service
from specification import assert_valid

MODEL = "SmolLM2-135M-Instruct"
PATHS = {"chat": "/v2/chat/completions", "completions": "/v2/completions"}
SCHEMAS = {"chat": "CreateChatCompletionResponse", "completions": "CreateCompletionResponse"}
BOTH = ("chat", "completions")
SAID = "Once upon a time"
USER = {"role": "user", "content": SAID}
SEEDS = (1, 2, 3, 4)
Test = Callable[..., None]


def effect_of(name: str, *endpoints: str) -> Callable[[Test], Test]:
    """The test shows the parameter's effect on these endpoints."""

    def mark(test: Test) -> Test:
        vars(test)["shows"] = {(endpoint, name) for endpoint in endpoints}
        return pytest.mark.parametrize("endpoint", endpoints)(test)

    return mark


def request(endpoint: str, **fields: Any) -> dict[str, Any]:
    said = {"messages": [USER]} if endpoint == "chat" else {"prompt": SAID}
    body = {"model": MODEL, "max_tokens": 12, "temperature": 0, **said, **fields}
    return {name: value for name, value in body.items() if value is not None}


def answer(service: Service, endpoint: str, **fields: Any) -> dict[str, Any]:
    reply = service.post(PATHS[endpoint], request(endpoint, **fields))
    assert reply.status == 200, reply.body
    return assert_valid(SCHEMAS[endpoint], reply.json)


def texts(service: Service, endpoint: str, **fields: Any) -> list[str]:
    """The texts of all choices, in the order of their index."""
    choices = sorted(answer(service, endpoint, **fields)["choices"], key=lambda choice: choice["index"])
    return [choice["text"] if endpoint == "completions" else choice["message"]["content"] for choice in choices]


def text(service: Service, endpoint: str, **fields: Any) -> str:
    (only,) = texts(service, endpoint, **fields)
    return only


def message(service: Service, **fields: Any) -> dict[str, Any]:
    return answer(service, "chat", **{"max_tokens": 60, **fields})["choices"][0]["message"]


def prompt_tokens(service: Service, endpoint: str, **fields: Any) -> int:
    return answer(service, endpoint, max_tokens=1, **fields)["usage"]["prompt_tokens"]


def token_ids(service: Service, of: str) -> list[int]:
    """The model's tokens of a text, asked directly of its engine."""
    engine = json.loads((service.data / "run" / "engines.json").read_bytes())[MODEL]
    connection = http.client.HTTPConnection("127.0.0.1", engine["port"], timeout=10)
    try:
        sent = {"Authorization": f"Bearer {engine['api_key']}", "Content-Type": "application/json"}
        connection.request("POST", "/tokenize", json.dumps({"content": of}), sent)
        return json.loads(connection.getresponse().read())["tokens"]
    finally:
        connection.close()
