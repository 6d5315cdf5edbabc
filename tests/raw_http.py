"""Our HTTP on a real socket under a real uvicorn, and a client that sends and reads bytes.

It knows the protocol class and a small application that says what it was asked; it knows no endpoint of the service.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.api.edge import send_json
from fundament.api.http import Limits, http_protocol
from fundament.api.requests import read_body
from fundament.api.streaming import ClientWatch
from fundament.outbox import Outbox

BODY_LIMIT_BYTES = 300_000


class Echo:
    """Says what it was asked; `/slow` when `go` is set, `/stream` in pieces. Remembers who left."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.left = 0
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        body = await read_body(scope, receive, BODY_LIMIT_BYTES)
        if scope["path"] == "/slow":
            watch = ClientWatch(scope["connection"])
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.left += watch.left
                return
            finally:
                watch.stop()
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"one", b"HTTP/1.1 two", b"three"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        said = {"method": scope["method"], "path": scope["path"], "length": len(body), "start": body[:20].decode()}
        await send_json(send, json.dumps(said).encode())


class Peer:
    """The client's end of a connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = b""
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readline()
            elif not head_only:
                body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status_line.split()[1]), headers, body

    async def ended(self, timeout_s: float = 2.0) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(timeout_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


Connect = Callable[[], Any]


LIMITS = Limits(max_connections=100, head_timeout_s=30, body_timeout_s=30, write_timeout_s=30)


@asynccontextmanager
async def served(app: ASGIApp, limits: Limits = LIMITS, *, keep_alive_s: float = 30) -> AsyncIterator[Connect]:
    """Our HTTP under a real uvicorn on a real socket; gives a way to connect to it."""
    outbox = Outbox(first=lambda: None)
    config = uvicorn.Config(
        app,
        port=0,
        http=http_protocol(outbox, limits),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=keep_alive_s,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]

    @asynccontextmanager
    async def connect() -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()

    try:
        yield connect
    finally:
        await server.shutdown()


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join(
        [b"POST %b HTTP/1.1" % path.encode(), b"host: x", b"content-length: %d" % len(body), *headers, b"", body]
    )


GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
