"""HTTP/1.1 as uvicorn speaks it, with what we want otherwise: bounds in size, number and time, OpenAI's error shape.

It knows uvicorn's protocol class and bytes; it knows no route. How large a body may be is held in `requests.py`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fundament.api.edge import error_body, error_headers, new_request_id
from fundament.errors import InvalidRequest, RequestError, RequestLate, Unavailable
from fundament.outbox import Outbox
from fundament.settings import ServerConfig

HEAD_LIMIT_BYTES = 64 * 1024
_HEAD_IS_COMPLETE = -(2**62)  # so far below the limit that no body, which is bounded elsewhere, reaches it


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may take of a worker.

    Attributes:
        max_connections: more are answered 503 and closed.
        head_timeout_s: for a connection to send its first request's head, and for any head that has begun.
        body_timeout_s: for a whole body, from its head on.
        write_timeout_s: how long a client may take nothing of what waits for it.
    """

    max_connections: int
    head_timeout_s: float
    body_timeout_s: float
    write_timeout_s: float


class GatheringTransport:
    """A transport whose writes go out together at the end of the event loop's turn: an answer's head with its body.

    It cuts the connection of a client that takes nothing of what waits for it.
    """

    __slots__ = (
        "_outbox",
        "_parts",
        "_timer",
        "_transport",
        "_waiting_bytes",
        "_write_timeout_s",
        "head_lines",
        "is_closing",
    )

    def __init__(self, transport: asyncio.Transport, outbox: Outbox, write_timeout_s: float) -> None:
        self._transport = transport
        self._outbox = outbox
        self.is_closing = transport.is_closing  # asked with every answer; `__getattr__` would take its time
        self._write_timeout_s = write_timeout_s
        self._parts: list[bytes] = []
        self.head_lines = b""  # of the next write, which is an answer's head
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0

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
        if self._transport.get_write_buffer_size():
            self.hurry()  # else what nobody takes would keep it open for ever

    def hurry(self) -> None:
        """The client has to take of what waits, from now until `relax`."""
        if self._timer is None:
            self._waiting_bytes = self._transport.get_write_buffer_size()
            self._timer = asyncio.get_running_loop().call_later(self._write_timeout_s, self._look)

    def relax(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if 0 < self._transport.get_write_buffer_size() < self._waiting_bytes:
            self.hurry()
        else:
            self._transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """One client's connection; `scope["connection"]` of its requests.

    `on_lost` is called once when the client closes the connection (or it breaks); `lost` tells that it was.
    """

    outbox: Outbox
    limits: Limits
    on_lost: Callable[[], None] | None = None
    lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's
        super().connection_made(transport)
        self._out = GatheringTransport(transport, self.outbox, self.limits.write_timeout_s)
        self.transport = self._out  # pyright: ignore[reportAttributeAccessIssue] - a transport in all that is used
        self._head_bytes = 0
        self._body_is_due = False
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(self.limits.head_timeout_s, self._head_is_late)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(Unavailable("Too many connections. Please retry.", code="overloaded", retry_after_s=1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._out.relax()
        self.lost = True
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def tell(self, lines: bytes) -> None:
        """Puts header lines, each with its end, into the head of the answer that has not begun.

        They are not looked at one by one, which costs uvicorn as much a line as counting all of a request's limits.
        """
        self._out.head_lines = lines

    def pause_writing(self) -> None:
        super().pause_writing()
        self._out.hurry()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._out.relax()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade() and self.parser.get_method() == b"GET":
                self._stop_timer()
                self._unset_keepalive_if_required()
                self.handle_websocket_upgrade()
            else:
                self._decline_upgrade(data[upgrade.args[0] :])
        else:
            self._bound()

    def _bound(self) -> None:
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self.send_400_response("The head of your request is too large.")
        elif self._timer is not None:
            return
        elif self._body_is_due:
            self._timer = self.loop.call_later(self.limits.body_timeout_s, self._body_is_late)
        elif self._head_bytes > 0 and (not self.cycle or self.cycle.response_complete):
            self._timer = self.loop.call_later(self.limits.head_timeout_s, self._head_is_late)

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
        self._stop_timer()
        self._head_bytes = _HEAD_IS_COMPLETE
        self._body_is_due = True
        cast("dict[str, Any]", self.scope)["connection"] = self
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._stop_timer()
        self._head_bytes = 0
        self._body_is_due = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's own, but with one timer for all that a connection is idle: setting one an answer costs 1 µs."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_in(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        idle = self.cycle.response_complete and self._head_bytes == 0
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if idle and left_s <= 0:
            super().timeout_keep_alive_handler()
        else:
            self._look_in(left_s if idle else self.timeout_keep_alive)

    def _look_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest(msg))

    def _refuse(self, failure: RequestError) -> None:
        """Answers without asking any endpoint, and closes."""
        body = error_body(failure)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", new_request_id().encode()),
            (b"connection", b"close"),
            *error_headers(failure),
        ]
        self.transport.write(STATUS_LINE[failure.status] + b"".join(b"%b: %b\r\n" % header for header in headers))
        self.transport.write(b"\r\n" + body)
        self.transport.close()

    def _head_is_late(self) -> None:
        self._timer = None
        self.transport.close()

    def _body_is_late(self) -> None:
        self._timer = None
        if self.pipeline:  # it was us who did not read on
            self._timer = self.loop.call_later(self.limits.body_timeout_s, self._body_is_late)
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(RequestLate(f"The body of your request did not arrive in {self.limits.body_timeout_s:g} s."))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def http_protocol(outbox: Outbox, limits: Limits) -> type[HttpProtocol]:
    """The protocol class for uvicorn, which makes its instances itself."""
    return type("HttpProtocol", (HttpProtocol,), {"outbox": outbox, "limits": limits})


def limits_of(server: ServerConfig) -> Limits:
    """The limits that are configured."""
    return Limits(
        max_connections=server.max_connections,
        head_timeout_s=server.head_timeout_s,
        body_timeout_s=server.body_timeout_s,
        write_timeout_s=server.write_timeout_s,
    )
