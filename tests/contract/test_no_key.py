"""No key, no answer: every endpoint of the API, by the service's own document, and before it looks at anything else."""

import json
import socket
from typing import Any

import pytest

from fundament.api.openapi import document
from service import Service
from specification import assert_valid

PATHS: dict[str, dict[str, Any]] = document("open-model")["paths"]
ENDPOINTS = [
    (method.upper(), path)
    for path, item in PATHS.items()
    for method in ("get", "post", "delete")
    if method in item and item[method].get("security") != []
]


def test_only_health_needs_no_key() -> None:
    assert {path for path in PATHS if path not in {path for _, path in ENDPOINTS}} == {"/health/live", "/health/ready"}


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("authorization", ["", "authorization: Bearer sk-fundament-wrong\r\n"], ids=["none", "wrong"])
def test_every_endpoint_asks_for_a_key_and_does_not_wait_for_a_body(
    scripted: Service, base: str, method: str, path: str, authorization: str
) -> None:
    path = base + path.replace("{", "").replace("}", "")
    with socket.create_connection(("127.0.0.1", scripted.port), timeout=10) as connection:
        # The body that is announced never comes.
        connection.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n{authorization}\r\n".encode())
        answer = b""
        while b'"code":' not in answer:
            piece = connection.recv(10_000)
            assert piece, answer
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401"), head
    assert assert_valid("ErrorResponse", json.loads(body))["error"]["code"] == "invalid_api_key"
