"""Our HTTP on a real socket under a real uvicorn: bounded heads, errors in OpenAI's shape, connections that go on."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.api import http as http_module
from fundament.api.edge import Edge, send_json
from fundament.api.http import HEAD_LIMIT_BYTES, http_protocol
from fundament.api.requests import Methods, read_body
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


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[Connect]:
    outbox = Outbox(first=lambda: None)
    config = uvicorn.Config(
        app,
        port=0,
        http=http_protocol(outbox),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
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


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def connect(echo: Echo) -> AsyncIterator[Connect]:
    async with served(Edge(echo)) as connect:
        yield connect


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join(
        [b"POST %b HTTP/1.1" % path.encode(), b"host: x", b"content-length: %d" % len(body), *headers, b"", body]
    )


GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"


def assert_refused(answer: tuple[int, dict[str, str], bytes], message: str) -> None:
    status, headers, body = answer
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    assert (status, json.loads(body)) == (400, {"error": error})
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert headers["x-request-id"].startswith("req_")


TOO_LARGE = "The head of your request is too large."
INVALID = "Invalid HTTP request received."


@pytest.mark.parametrize("piece", [1000, 100_000], ids=["in pieces", "at once"])
@pytest.mark.parametrize("what", ["one header", "many headers", "the path"])
async def test_a_head_over_the_limit_is_refused_once_and_the_connection_closed(
    connect: Connect, what: str, piece: int
) -> None:
    fill = HEAD_LIMIT_BYTES + 1
    head = {
        "one header": b"GET /a HTTP/1.1\r\nx: " + b"y" * fill,
        "many headers": b"GET /a HTTP/1.1\r\n" + b"x: y\r\n" * (fill // 6),
        "the path": b"GET /" + b"y" * fill,
    }[what]
    async with connect() as peer:
        for start in range(0, len(head), piece):
            peer.send(head[start : start + piece])
            await asyncio.sleep(0)
        assert_refused(await peer.answer(), TOO_LARGE)
        assert await peer.ended() == b""


async def test_a_head_just_below_the_limit_is_a_head(connect: Connect) -> None:
    async with connect() as peer:
        peer.send(b"GET /a HTTP/1.1\r\nx: " + b"y" * (HEAD_LIMIT_BYTES - 100) + b"\r\n\r\n")
        assert (await peer.answer())[0] == 200


async def test_a_later_head_is_bounded_as_the_first_is(connect: Connect) -> None:
    async with connect() as peer:
        for _ in range(2):
            peer.send(post("/a", b"x" * 200_000))  # a body does not count
            assert (await peer.answer())[0] == 200
        peer.send(b"GET /a HTTP/1.1\r\nx: " + b"y" * HEAD_LIMIT_BYTES)
        assert_refused(await peer.answer(), TOO_LARGE)


MALFORMED = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "a bad version": b"GET /a HTTP/9\r\n\r\n",
    "a bad method": b"G{T /a HTTP/1.1\r\n\r\n",
    "a bad header": b"GET /a HTTP/1.1\r\nx y\r\n\r\n",
    "a bad length": b"POST /a HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "two lengths": b"POST /a HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    "two framings": b"POST /a HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a path that is none": b"GET http://:x HTTP/1.1\r\n\r\n",
    "a path beyond ASCII": "GET /ü HTTP/1.1\r\n\r\n".encode(),
    "a tunnel": b"CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n",
    "malformed and too large": b"\x16" * (HEAD_LIMIT_BYTES + 1),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_http_is_refused_in_json_once_and_the_connection_closed(
    connect: Connect, data: bytes
) -> None:
    async with connect() as peer:
        peer.send(data)
        assert_refused(await peer.answer(), INVALID)
        assert await peer.ended() == b""


async def test_a_head_that_is_late_closes_the_connection(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "HEAD_TIMEOUT_S", 0.15)
    async with connect() as silent, connect() as slow, connect() as second:
        started_at = time.monotonic()
        second.send(GET)
        await second.answer()
        await asyncio.sleep(0.2)  # between requests there is no hurry
        second.send(b"GET")
        for _ in range(5):
            slow.send(b"G")
            await asyncio.sleep(0.02)
        assert await slow.ended() == b""
        assert await silent.ended() == b""
        assert time.monotonic() - started_at < 1
        assert await second.ended() == b""
        assert 0.3 < time.monotonic() - started_at < 1


async def test_an_answer_may_take_longer_than_a_head(
    connect: Connect, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "HEAD_TIMEOUT_S", 0.1)
    async with connect() as peer:
        peer.send(post("/slow", b"x"))
        await asyncio.sleep(0.05)
        peer.send(b"\r\n")  # what old clients send after a body
        await asyncio.sleep(0.25)
        echo.go.set()
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize("cut", [0, 1, 10, 57, 75, 80])
async def test_a_request_arrives_in_one_packet_or_in_many(connect: Connect, cut: int) -> None:
    data = post("/a", b"0123456789" * 3)
    async with connect() as peer:
        for piece in (data[:cut], data[cut:]):
            peer.send(piece)
            await asyncio.sleep(0.01)
        status, headers, body = await peer.answer()
    assert (status, json.loads(body)["length"]) == (200, 30)
    assert headers["x-request-id"].startswith("req_")


async def test_a_connection_is_kept_alive_and_closed_when_asked(connect: Connect) -> None:
    async with connect() as peer:
        for number in range(20):
            peer.send(post(f"/{number}", b"x" * number))
            assert json.loads((await peer.answer())[2])["length"] == number
        peer.send(b"GET /a HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert (await peer.answer())[1]["connection"] == "close"
        assert await peer.ended() == b""


async def test_pipelined_requests_are_answered_in_their_order(connect: Connect, echo: Echo) -> None:
    async with connect() as peer:
        peer.send(post("/slow", b"1") + post("/stream", b"") + post("/b", b"333") + GET)
        await asyncio.sleep(0.05)
        assert echo.asked == ["/slow"]
        echo.go.set()
        answers = [await peer.answer() for _ in range(4)]
    assert [json.loads(answers[place][2])["path"] for place in (0, 2, 3)] == ["/slow", "/b", "/a"]
    assert answers[1][2] == b"oneHTTP/1.1 twothree"
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 4


async def test_a_pipelined_head_is_bounded_though_an_answer_is_under_way(connect: Connect, echo: Echo) -> None:
    async with connect() as peer:
        peer.send(post("/slow", b"1"))
        await asyncio.sleep(0.02)
        for _ in range(40):
            peer.send(b"GET /a HTTP/1.1\r\n" if _ == 0 else b"x: " + b"y" * 4000 + b"\r\n")
            await asyncio.sleep(0)
        await peer.ended()
        assert echo.asked == ["/slow"]


async def test_head_has_the_headers_of_get_and_no_body(connect: Connect) -> None:
    async with connect() as peer:
        peer.send(b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n")
        status, headers, _ = await peer.answer(head_only=True)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert int(headers["content-length"]) > 10
        peer.send(GET)
        assert json.loads((await peer.answer())[2])["method"] == "GET"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_over_the_limit_is_refused_and_its_rest_is_no_new_request(connect: Connect, framing: str) -> None:
    body = b"x" * (BODY_LIMIT_BYTES * 3)
    head = b"POST /a HTTP/1.1\r\nhost: x\r\n"
    async with connect() as peer:
        if framing == "length":
            peer.send(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        else:
            peer.send(head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        status, _, answer = await peer.answer()
        assert (status, json.loads(answer)["error"]["code"]) == (413, "request_too_large")
        await asyncio.sleep(0.1)
        peer.send(GET)
        assert (await peer.answer())[0] == 200


async def test_a_client_that_expects_100_continue_gets_it_before_its_body_is_read(connect: Connect) -> None:
    async with connect() as peer:
        request = post("/a", b"0123456789", b"expect: 100-continue")
        peer.send(request[:-10])
        async with asyncio.timeout(2):
            assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(request[-10:])
        assert json.loads((await peer.answer())[2])["length"] == 10


@pytest.mark.parametrize("together", [True, False])
async def test_an_upgrade_that_is_only_offered_is_declined_and_the_request_served(
    connect: Connect, together: bool
) -> None:
    """Java's client offers h2c with each request."""
    offer = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAEAAEAAAAIAAAAAAAMAAAAA")
    request = post("/a", b"0123456789", *offer)
    async with connect() as peer:
        for _ in range(2):
            if together:
                peer.send(request)
            else:
                peer.send(request[:-10])
                await asyncio.sleep(0.02)
                peer.send(request[-10:])
            status, _, body = await peer.answer()
            assert (status, json.loads(body)["start"]) == (200, "0123456789")


async def test_a_client_that_leaves_is_noticed_at_once(connect: Connect, echo: Echo) -> None:
    async with connect() as peer:
        peer.send(post("/slow", b"1"))
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    assert echo.left == 1


async def test_an_endpoint_of_one_method_refuses_others_by_name() -> None:
    async with served(Edge(Methods(POST=Echo()))) as connect, connect() as peer:
        for method in (b"GET", b"PUT", b"DELETE", b"OPTIONS"):
            peer.send(method + b" /a HTTP/1.1\r\nhost: x\r\n\r\n")
            status, headers, body = await peer.answer()
            assert (status, headers["allow"]) == (405, "post")
            error = json.loads(body)["error"]
            assert error["message"] == f"Not allowed to {method.decode()} on /a (allowed: POST)."
            assert error["code"] == "method_not_allowed"
        peer.send(post("/a", b""))
        assert (await peer.answer())[0] == 200
