"""What every endpoint reads of a request: its credential, its body, the JSON in it. It knows no endpoint."""

from collections.abc import Awaitable
from typing import Any, cast

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.errors import BodyTooLarge, InvalidRequest, MethodNotAllowed

MOST_VALUES = 2_000_000
_FEW_BYTES = 1024 * 1024  # so much cannot have too many values
_decode = msgspec.json.Decoder().decode
_KINDS = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


class ClientLeft(Exception):
    """The client closed its connection before its request was complete: the edge says nothing to nobody."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header, its name in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: it is, or says that it will be, larger than `limit_bytes`.
        ClientLeft: the client went away.
    """
    declared = header(scope, b"content-length")
    if declared is not None and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        if not more and not parts:
            return part
        parts.append(part)
    return b"".join(parts)


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        InvalidRequest: it is no JSON, or no object; the message says where.
        BodyTooLarge: it has more values than any prompt: `[[],[],…` takes thirty times its size in memory.
    """
    if len(body) > _FEW_BYTES and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise BodyTooLarge(
            f"The JSON body of your request has more than {MOST_VALUES} values.", code="request_too_large"
        )
    try:
        decoded = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            f"library correctly. The API expects a JSON payload, but what was sent was not valid JSON: {reason}.)"
        ) from None
    if not isinstance(decoded, dict):
        kind = next((noun for type, noun in _KINDS.items() if isinstance(decoded, type)), "null")
        raise InvalidRequest(f"The JSON body of your request must be an object, but it is {kind}.")
    return cast("dict[str, Any]", decoded)


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body of your request is larger than {limit_bytes} bytes, which is the limit.", code="request_too_large"
    )


class Methods:
    """The endpoints of one path, by method."""

    def __init__(self, **endpoints: ASGIApp) -> None:
        self._endpoints = dict(endpoints)
        if "GET" in endpoints:
            self._endpoints["HEAD"] = endpoints["GET"]
        self._allow = ", ".join(sorted(self._endpoints))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            raise MethodNotAllowed(
                f"Not allowed to {scope['method']} on {scope['path']} (allowed: {self._allow}).", self._allow
            )
        return endpoint(scope, receive, send)
