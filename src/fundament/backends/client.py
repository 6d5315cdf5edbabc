"""HTTP/1.1 to one upstream: pooled connections, whole and streamed answers, time limits, prompt cancellation.

It knows HTTP framing (parsed by httptools, Node's llhttp) and nothing of OpenAI. Everything runs in the event loop's
own thread: see docs/decisions/0002-http-in-one-thread.md for what that buys.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from fundament.errors import (
    RequestError,
    UpstreamConnectTimeout,
    UpstreamFailure,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from fundament.outbox import Outbox

BUFFER_LIMIT_BYTES = 256 * 1024  # a reader this far behind stops the upstream's socket
SWEEP_INTERVAL_S = 0.5
IDLE_CONNECTION_S = 60.0
LINGER_S = 1.0
_SHORTEST_SECRET_BYTES = 8  # "EMPTY", as vLLM's documentation calls it, hides nothing


class Connection(asyncio.Protocol):
    """One connection: writes a request, collects the parts of its answer, and wakes whoever waits for them."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def __init__(self, idle_timeout_s: float, outbox: Outbox) -> None:
        self.loop = asyncio.get_running_loop()
        self.idle_timeout_s = idle_timeout_s
        self._outbox = outbox
        self._request = b""
        self.closed = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.headers_complete = False
        self.complete = False
        self.reusable = False
        self.received = False
        self.failure: RequestError | None = None
        self.chunks: list[bytes] = []
        self.buffered_bytes = 0
        self.paused = False
        self.waiter: asyncio.Future[None] | None = None
        self.on_end: Callable[[Connection], None] | None = None
        self.deadline = 0.0

    def request(self, data: bytes, first_byte_timeout_s: float) -> None:
        """Starts a new exchange on this connection."""
        self._reset()
        self.deadline = self.loop.time() + first_byte_timeout_s
        self._request = data
        self._outbox.add(self)

    def flush(self) -> None:
        """Writes the request; the outbox calls it."""
        if not self.closed:
            self.transport.write(self._request)
        self._request = b""

    async def wait(self) -> None:
        """Returns when something arrived, or the connection ended."""
        self.waiter = self.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def fail(self, failure: RequestError) -> None:
        """Ends the exchange with `failure`."""
        if self.failure is None:
            self.failure = failure
        self.abort()
        self._wake()

    def abort(self) -> None:
        self.closed = True
        self.transport.abort()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from asyncio's

    def data_received(self, data: bytes) -> None:
        self.received = True
        if self.on_end is None:
            self.deadline = self.loop.time() + self.idle_timeout_s
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(UpstreamFailure("The upstream answered with something that is not HTTP.", code="upstream_error"))
            return
        if self.buffered_bytes > BUFFER_LIMIT_BYTES and not self.paused and not self.closed:
            self.paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.headers_complete and not self.complete and exc is None and self._ends_at_close():
            self.complete = True
        if not self.complete and self.failure is None:
            self.failure = UpstreamFailure(
                "The upstream closed the connection before its answer was complete.", code="upstream_error"
            )
        self._wake()
        if self.on_end is not None:
            self.on_end(self)

    def _ends_at_close(self) -> bool:
        """An answer with neither length nor chunks ends with its connection (RFC 9112, section 6.3)."""
        return b"content-length" not in self.headers and b"transfer-encoding" not in self.headers

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self.complete:
            raise UpstreamFailure("The upstream sent an answer that was not asked for.")  # ends the parsing

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        self.headers_complete = self.status >= 200

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)
        self.buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        if self.status < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
            self.headers = {}
            return
        self.complete = True
        self.reusable = self.parser.should_keep_alive()
        if self.on_end is not None:
            self.on_end(self)

    def take(self) -> bytes:
        """What has arrived of the body, and lets more come."""
        data = b"".join(self.chunks) if len(self.chunks) > 1 else self.chunks[0]
        self.chunks = []
        self.buffered_bytes = 0
        if self.paused:
            self.paused = False
            self.deadline = self.loop.time() + self.idle_timeout_s  # it was us that kept silent
            if not self.closed:
                self.transport.resume_reading()
        return data


class Response:
    """An answer whose headers have arrived. `close()` must be called in every case."""

    __slots__ = ("_client", "_connection", "headers", "status")

    def __init__(self, client: "Client", connection: Connection) -> None:
        self._client = client
        self._connection = connection
        self.status = connection.status
        self.headers = connection.headers

    async def chunk(self) -> bytes:
        """The next bytes of the body as they come, b"" at its end.

        Raises:
            UpstreamFailure: the connection broke before the end.
            UpstreamTimeout: nothing came for the client's `idle_timeout_s`.
        """
        connection = self._connection
        while not connection.chunks:
            if connection.complete:
                return b""
            if connection.failure is not None:
                raise connection.failure
            await connection.wait()
        return connection.take()

    async def read(self, limit_bytes: int = 256 * 1024 * 1024) -> bytes:
        """The rest of the body.

        Raises:
            UpstreamFailure: as `chunk`, or the body is larger than `limit_bytes`.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self.chunk():
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                raise UpstreamFailure("The upstream's answer is too large.", code="upstream_error")
            if self._connection.complete and not self._connection.chunks:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self, *, wanted_all: bool = False) -> None:
        """Gives the connection back if the answer is complete; otherwise cuts it, which cancels the upstream's work.

        With `wanted_all` the caller has read what it needs, and only the framing's end may be still to come: the
        connection gets a moment to receive it.
        """
        if wanted_all:
            self._client.linger(self._connection)
        else:
            self._client.release(self._connection)


class Client:
    """The connections to one upstream.

    Args:
        base_url: scheme, host, port and path prefix, e.g. `https://api.openai.com/v1`.
        headers: sent with every request (the credential, say).
        connect_timeout_s: to reach the upstream, TLS included.
        first_byte_timeout_s: from the request to the first byte of its answer.
        idle_timeout_s: between two pieces of an answer.
        outbox: through which requests are written.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        connect_timeout_s: float,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
        outbox: Outbox,
    ) -> None:
        url = urlsplit(base_url)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._prefix = url.path.rstrip("/")
        lines = [f"host: {url.netloc.rpartition('@')[2]}", "accept-encoding: identity", "user-agent: fundament"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._header_block = ("\r\n".join(lines) + "\r\n").encode("latin-1")
        self._credential = headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        self._post_heads: dict[str, bytes] = {}
        self._connect_timeout_s = connect_timeout_s
        self._first_byte_timeout_s = first_byte_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._outbox = outbox
        self._idle: list[Connection] = []
        self._active: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def post(self, path: str, body: bytes, traceparent: str | None = None) -> Coroutine[Any, Any, Response]:
        """Sends JSON; returns when the answer's headers are there.

        Args:
            traceparent: the header of W3C Trace Context, if there is one to send.

        Raises:
            UpstreamUnreachable, UpstreamConnectTimeout: no connection; nothing was sent.
            UpstreamFailure: the connection broke before the headers.
            UpstreamTimeout: a time limit passed.
        """
        head = self._post_heads.get(path)
        if head is None:
            line = f"POST {self._prefix}{path} HTTP/1.1\r\n".encode("latin-1")
            head = self._post_heads[path] = line + self._header_block + b"content-type: application/json\r\n"
        if traceparent is not None:
            head = b"%btraceparent: %b\r\n" % (head, traceparent.encode())
        return self._exchange(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))

    def get(self, path: str) -> Coroutine[Any, Any, Response]:
        """As `post`, without a body."""
        line = f"GET {self._prefix}{path} HTTP/1.1\r\n".encode("latin-1")
        return self._exchange(line + self._header_block + b"\r\n")

    async def _exchange(self, request: bytes) -> Response:
        while True:
            connection = self._reuse()
            reused = connection is not None
            if connection is None:
                connection = await self._connect()
            self._active.add(connection)
            try:
                connection.request(request, self._first_byte_timeout_s)
                while not connection.headers_complete and connection.failure is None:
                    await connection.wait()
            except BaseException:
                self.release(connection)
                raise
            if connection.headers_complete:
                return Response(self, connection)
            self.release(connection)
            # A server may close an idle connection in the moment that we write to it; it has then read nothing
            # of the request (RFC 9112, section 9.5).
            if reused and not connection.received and not isinstance(connection.failure, UpstreamTimeout):
                continue
            raise connection.failure or UpstreamFailure("The upstream gave no answer.", code="upstream_error")

    def without_credential(self, text: bytes) -> bytes:
        """The text without our key for the upstream: one that is repeated in an error is not for the client."""
        long = len(self._credential) >= _SHORTEST_SECRET_BYTES
        return text.replace(self._credential, b"***") if long else text

    def _reuse(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_INTERVAL_S, self._sweep, loop)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._idle_timeout_s, self._outbox), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise UpstreamConnectTimeout(
                "The upstream did not accept a connection in time.", code="upstream_timeout"
            ) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UpstreamUnreachable(f"The upstream could not be reached: {reason}.", code="upstream_error") from error
        return connection

    def release(self, connection: Connection) -> None:
        """Keeps a connection whose answer is complete for the next request; cuts any other."""
        self._active.discard(connection)
        if connection.complete and connection.reusable and not connection.closed and not connection.chunks:
            connection.idle_since = connection.loop.time()
            self._idle.append(connection)
        else:
            connection.abort()

    def linger(self, connection: Connection) -> None:
        """Releases the connection as soon as its answer is complete, and cuts it if that takes long."""
        if connection.complete or connection.closed:
            self.release(connection)
        else:
            connection.deadline = connection.loop.time() + LINGER_S
            connection.on_end = self.release

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Enforces time limits for all connections at once: a timer for each read would cost more than the read."""
        now = loop.time()
        for connection in [c for c in self._active if c.deadline < now and not c.complete]:
            if connection.paused and connection.on_end is None:
                continue  # its reader keeps it waiting
            connection.fail(UpstreamTimeout("The upstream did not answer in time.", code="upstream_timeout"))
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since < now - IDLE_CONNECTION_S):
            self._idle.pop(0).abort()
        self._sweeper = loop.call_later(SWEEP_INTERVAL_S, self._sweep, loop)

    def close(self) -> None:
        """Cuts every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._idle, *self._active]:
            connection.abort()
        self._idle.clear()
