"""The scripted upstream for streams: answers every request with 200 events, each its own chunk and its own write.

A process of its own (`python -m benchmarks.sse_upstream PORT`). Reads no more of a request than its length and whether
it asks for usage.
"""

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks import wire

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection, on which a request comes when the one before is answered."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._received = b""

    def answer(self, head: bytes, body: bytes) -> None:
        """Begins the answer to a request that is there."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        if head.startswith(b"GET "):
            self._received = body
            self.transport.write(_HEALTHY)
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._received = body[length:]
        self.answer(head, body)


class Upstream(Connection):
    """Answers with a stream, whatever is asked."""

    def __init__(self, plain: list[bytes], with_usage: list[bytes]) -> None:
        super().__init__()
        self._plain = plain
        self._with_usage = with_usage

    def answer(self, head: bytes, body: bytes) -> None:  # noqa: ARG002 - as declared
        self.transport.write(STREAM_HEAD)
        self._write(self._with_usage if b"include_usage" in body else self._plain, 0)

    def _write(self, chunks: list[bytes], position: int) -> None:
        """One chunk each turn of the loop, so that each is a write of its own and the connections take turns."""
        if self.transport.is_closing():
            return
        if position == len(chunks):
            self.transport.write(STREAM_END)
            return
        self.transport.write(chunks[position])
        self.loop.call_soon(self._write, chunks, position + 1)


def chunked(events: list[bytes]) -> list[bytes]:
    return [b"%x\r\n%s\r\n" % (len(event), event) for event in events]


async def serve(port: int) -> None:
    plain, with_usage = chunked(wire.stream_events(with_usage=False)), chunked(wire.stream_events(with_usage=True))
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(plain, with_usage), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
