"""HTTP/1.1 as uvicorn speaks it, with what we want otherwise: bounded heads, OpenAI's error shape, fewer system calls.

It knows uvicorn's protocol class and bytes; it knows no route. Limits that need a body are in `requests.py`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fundament.api.edge import error_body, new_request_id
from fundament.errors import InvalidRequest
from fundament.outbox import Outbox

HEAD_LIMIT_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 30.0  # for a connection to send its first request's head, and for any head that has begun
_HEAD_IS_COMPLETE = -(2**62)  # so far below the limit that no body, which is bounded elsewhere, reaches it


class GatheringTransport:
    """A transport whose writes go out together at the end of the event loop's turn: an answer's head with its body."""

    __slots__ = ("_outbox", "_parts", "_transport", "head_lines")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._parts: list[bytes] = []
        self.head_lines = b""  # of the next write, which is an answer's head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._outbox.add(self)
        if self.head_lines:
            self._parts += (data[:-2], self.head_lines)
            self.head_lines, data = b"", b"\r\n"
        self._parts.append(data)

    def flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        if self._parts:
            self._outbox.flush()
        self._transport.close()


class HttpProtocol(HttpToolsProtocol):
    """One client's connection; `scope["connection"]` of its requests.

    `on_lost` is called once when the client closes the connection (or it breaks); `lost` tells that it was.
    """

    outbox: Outbox
    on_lost: Callable[[], None] | None = None
    lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's
        super().connection_made(transport)
        self._gathering = GatheringTransport(transport, self.outbox)
        self.transport = self._gathering  # pyright: ignore[reportAttributeAccessIssue] - a transport in all that is used
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self.lost = True
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def tell(self, lines: bytes) -> None:
        """Puts header lines, each with its end, into the head of the answer that has not begun.

        They are not looked at one by one, which costs uvicorn as much a line as counting all of a request's limits.
        """
        self._gathering.head_lines = lines

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade() and self.parser.get_method() == b"GET":
                self._stop_head_timer()
                self.handle_websocket_upgrade()
            else:
                self._decline_upgrade(data[upgrade.args[0] :])
        else:
            self._bound_head()

    def _bound_head(self) -> None:
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self.send_400_response("The head of your request is too large.")
        elif self._head_bytes > 0 and self._head_timer is None and (not self.cycle or self.cycle.response_complete):
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parses the request again as one without the offer of another protocol, with which the parser stops.

        Java's client offers HTTP/2 with every request that it sends without TLS.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("Invalid HTTP request received.")
            return
        headers = [b"%b: %b" % header for header in self.headers if header[0] not in {b"connection", b"upgrade"}]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([b"%b %b HTTP/1.1" % (method, self.url), *headers, b"", rest]))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self.scope["method"] = "GET"  # `data_received` will come back without the offer if it is not taken
            return
        self._stop_head_timer()
        self._head_bytes = _HEAD_IS_COMPLETE
        cast("dict[str, Any]", self.scope)["connection"] = self
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        body = error_body(InvalidRequest(msg))
        lines = (
            "HTTP/1.1 400 Bad Request",
            "content-type: application/json",
            f"content-length: {len(body)}",
            f"x-request-id: {new_request_id()}",
            "connection: close",
        )
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.transport.close()

    def _head_is_late(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def http_protocol(outbox: Outbox) -> type[HttpProtocol]:
    """The protocol class for uvicorn, which makes its instances itself."""
    return type("HttpProtocol", (HttpProtocol,), {"outbox": outbox})
