"""Sends an exact number of requests over a few connections and looks at every answer: where wrk only knows a duration.

Raw HTTP/1.1 on asyncio, for answers with a `content-length`.
"""

import asyncio
from typing import cast

import uvloop

from benchmarks import UnmeasurableError, wire
from benchmarks.servers import Server

_ANSWERED = b'"finish_reason":"stop"'


def send(server: Server, requests: int, connections: int) -> None:
    """Raises `UnmeasurableError` unless every one is answered with 200 and a whole chat completion."""
    uvloop.run(_send(server, requests, connections))


async def _send(server: Server, requests: int, connections: int) -> None:
    loop = asyncio.get_running_loop()
    budget = _Budget(requests, _request(server))
    opened = [
        loop.create_connection(lambda: _Connection(budget, loop.create_future()), "127.0.0.1", server.port)
        for _ in range(connections)
    ]
    established = await asyncio.gather(*opened)
    try:
        await asyncio.gather(*(connection.finished for _, connection in established))
    finally:
        for transport, _ in established:
            transport.close()
    if budget.answered != requests:
        raise UnmeasurableError(f"{server.name} answered {budget.answered} of {requests} requests")


class _Budget:
    """What the connections share: the request, how many are still to be sent, how many were answered."""

    def __init__(self, requests: int, request: bytes) -> None:
        self.request = request
        self.answered = 0
        self._left = requests

    def take(self) -> bool:
        self._left -= 1
        return self._left >= 0


class _Connection(asyncio.Protocol):
    """Sends one request after the other until the budget is spent."""

    def __init__(self, budget: _Budget, finished: asyncio.Future[None]) -> None:
        self.finished = finished
        self._budget = budget
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are none of asyncio's classes
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0]
        if not head.startswith(b"HTTP/1.1 200 ") or not length:
            self._fail(head)
        elif len(body) >= int(length):
            if len(body) != int(length) or _ANSWERED not in body:
                self._fail(self._received)
                return
            self._received = b""
            self._budget.answered += 1
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(
                UnmeasurableError(f"the connection was closed in the middle of an answer ({exc})")
            )

    def _next(self) -> None:
        if self._budget.take():
            self._transport.write(self._budget.request)
        elif not self.finished.done():
            self.finished.set_result(None)

    def _fail(self, answer: bytes) -> None:
        if not self.finished.done():
            self.finished.set_exception(UnmeasurableError(f"an answer is wrong: {answer.decode(errors='replace')}"))
        self._transport.abort()


def _request(server: Server) -> bytes:
    body = wire.request(stream=False)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\nauthorization: Bearer {server.key}\r\n"
    )
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
