"""A cheap HTTP/1.1 client for load: raw requests, whole answers, and the ways of a client that does not behave.

It knows HTTP's framing and nothing of what is asked. No answer, or none that is HTTP, is an `UnmeasurableError`.
"""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, Self

from benchmarks import UnmeasurableError
from benchmarks.token_streams import dechunked

_ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
_TIMEOUT_S = 30.0
_STREAM_END = b"\r\n0\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """The events of a streamed answer, without their empty lines; what follows the last one, if anything."""
        return self.body.removesuffix(b"\n\n").split(b"\n\n")


def request(method: str, path: str, key: str, body: bytes | None = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection; `asked` counts its requests, and `closing` says that the server wants no more of them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.asked = 0
        self.closing = False

    @classmethod
    async def to(cls, port: int) -> Self:
        try:
            return cls(*await asyncio.open_connection("127.0.0.1", port, limit=_ANSWER_LIMIT_BYTES))
        except OSError as error:
            raise UnmeasurableError(f"no connection: {error}") from error

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def ask(self, data: bytes) -> Answer:
        """Sends a request and gives its whole answer."""
        self.asked += 1
        self.send(data)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._answer()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise UnmeasurableError(f"no whole answer to {data[:300]!r}: {error!r}") from error

    async def events(self, count: int) -> bytes:
        """What has come of a stream, head included, as soon as it has so many events."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return b"".join([await self._reader.readuntil(b"\n\n") for _ in range(count)])
        except (OSError, EOFError, TimeoutError) as error:
            raise UnmeasurableError(f"a stream did not get to its event {count}: {error!r}") from error

    def close(self, *, reset: bool = False) -> None:
        """Ends the connection, in order or with a reset."""
        transport = self._writer.transport
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        else:
            transport.close()

    async def _answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 "):
            raise UnmeasurableError(f"an answer is no HTTP: {head[:300]!r}")
        self.closing = b"\r\nconnection: close\r\n" in head
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            body = dechunked((await self._reader.readuntil(_STREAM_END)).removesuffix(_STREAM_END[2:]))
        else:
            length = head.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0]
            body = await self._reader.readexactly(int(length))
        return Answer(int(head[9:12]), body)
