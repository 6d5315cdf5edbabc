"""How the admin API reads a request and answers it: who asks, the body as a type, JSON. It knows no endpoint."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.api.requests import decode_object, read_body
from fundament.errors import InvalidChange, InvalidRequest, NotFound, UnknownRecord
from fundament.protocol.validation import checked

T = TypeVar("T")
BODY_LIMIT_BYTES = 64 * 1024


def endpoint(handler: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """The handler as an endpoint; what an operator wants wrongly is told as a client's fault."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await handler(Request(scope, receive))
        except InvalidChange as error:
            raise InvalidRequest(str(error), code="invalid_change") from None
        except UnknownRecord as error:
            raise NotFound(str(error), code="not_found") from None
        await response(scope, receive, send)

    return call


async def read(request: Request, type: type[T]) -> T:
    """The body as `type`; no body counts as an empty object. Raises InvalidRequest and BodyTooLarge."""
    body = await read_body(request.scope, request.receive, BODY_LIMIT_BYTES)
    return checked(decode_object(body) if body else {}, type)


def answer(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def actor_of(request: Request) -> str:
    """Who asks, for the audit log: there is one admin key, so it is the address that tells."""
    return f"admin key: {address_of(request.scope)}"


def address_of(scope: Scope) -> str:
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else "unknown"
