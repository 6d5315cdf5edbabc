"""The outermost layer: gives each request its id, and each failure OpenAI's shape. Failures are logged here, once.

It knows ASGI and the error tree; it does not know which routes exist.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fundament.api.requests import ClientLeft
from fundament.errors import MethodNotAllowed, NotFound, RateLimited, RequestError, ServerFailure
from fundament.gateway.meter import CLIENT_LEFT
from fundament.telemetry.exchange import Exchange

Headers = Sequence[tuple[bytes, bytes]]
_FAULT = "The server had an error while processing your request. Please retry."
JSON = (b"content-type", b"application/json")
# Unique, not secret: a generator of our own spares a system call a request. Seeded anew in each process.
_random_bits = random.Random().getrandbits  # noqa: S311 - names requests, guards nothing


def error_body(failure: RequestError) -> bytes:
    """`ErrorResponse` of OpenAI's document, as JSON."""
    error = {"message": failure.message, "type": failure.type, "param": failure.param, "code": failure.code}
    return msgspec.json.encode({"error": error})


def error_headers(failure: RequestError) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if failure.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % failure.retry_after_s))
    if isinstance(failure, MethodNotAllowed):
        headers.append((b"allow", failure.allow.encode()))
    if isinstance(failure, RateLimited):
        # OpenAI's clients read these two: the first is exact, the second keeps them from trying again.
        if failure.retry_after_ms is None:
            headers.append((b"x-should-retry", b"false"))
        else:
            headers.append((b"retry-after-ms", b"%d" % failure.retry_after_ms))
        headers += failure.headers
    return headers


async def send_json(send: Send, body: bytes, *, status: int = 200, headers: Headers = ()) -> None:
    """Sends a whole JSON answer."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


def new_request_id() -> str:
    """Begins with the time, so that what is kept by request is appended, not strewn over an index."""
    return f"req_{int(time.time() * 1000):012x}{_random_bits(80):020x}"


class Edge:
    """Wraps the routes. `scope["request_id"]` is the id that the answer carries as `x-request-id`.

    An endpoint sets `scope["metered"]` when the meter knows of its request.

    Args:
        sockets: the endpoints of WebSockets, by path.
        count: told the status of every HTTP request that ended; 499 where the client left before its answer.
        log: told of every HTTP request of which the meter does not know.
    """

    def __init__(
        self,
        app: ASGIApp,
        sockets: Mapping[str, ASGIApp] = MappingProxyType({}),
        *,
        count: Callable[[int], None] | None = None,
        log: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._app = app
        self._sockets = sockets
        self._count = count
        self._log_exchange = log
        self._log: Any = structlog.get_logger("fundament.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await self._connect(scope, receive, send)
            return
        request_id = scope["request_id"] = new_request_id()
        began = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if status is None and message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except RequestError as failure:
            if status is not None:
                raise
            self._note(scope, failure)
            await send_json(send_with_id, error_body(failure), status=failure.status, headers=error_headers(failure))
        except ClientLeft:
            pass
        except Exception:  # the edge: whatever it is, the client gets an answer and the operator a traceback
            self._log.exception("request_failed", request_id=request_id, path=scope["path"])
            if status is not None:
                raise
            failure = ServerFailure(_FAULT)
            await send_json(send_with_id, error_body(failure), status=failure.status)
        finally:
            self._tell(scope, CLIENT_LEFT if status is None else status, began)

    def _tell(self, scope: Scope, status: int, began: float) -> None:
        if self._count is not None:
            self._count(status)
        if self._log_exchange is not None and "metered" not in scope:
            self._log_exchange(
                Exchange(
                    request_id=scope["request_id"],
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    duration_ms=round((time.perf_counter() - began) * 1000, 2),
                )
            )

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: what is raised before it is accepted is an HTTP answer to the handshake."""
        request_id = scope["request_id"] = new_request_id()
        accepted = False

        async def send_with_id(message: Message) -> None:
            nonlocal accepted
            if message["type"] == "websocket.accept":
                accepted = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._sockets.get(scope["path"], _no_socket)(scope, receive, send_with_id)
        except RequestError as failure:
            if accepted:
                raise
            self._note(scope, failure)
            await self._decline(request_id, failure, send)
        except Exception:  # noqa: BLE001 - the edge, as above
            self._log.exception("request_failed", request_id=request_id, path=scope["path"])
            if accepted:
                await send({"type": "websocket.close", "code": 1011})
            else:
                await self._decline(request_id, ServerFailure(_FAULT), send)

    async def _decline(self, request_id: str, failure: RequestError, send: Send) -> None:
        headers = [JSON, (b"x-request-id", request_id.encode()), *error_headers(failure)]
        await send({"type": "websocket.http.response.start", "status": failure.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": error_body(failure)})

    def _note(self, scope: Scope, failure: RequestError) -> None:
        if failure.status >= 500:
            self._log.warning(
                "request_failed",
                request_id=scope["request_id"],
                path=scope["path"],
                status=failure.status,
                code=failure.code,
                error=None if failure.quotes else failure.message,
            )


async def _no_socket(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    raise NotFound(f"Invalid URL (WebSocket {scope['path']})", code="unknown_url")
