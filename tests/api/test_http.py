"""Our HTTP on a real socket under a real uvicorn: bounded heads, errors in OpenAI's shape, connections that go on."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from fundament.api.edge import Edge
from fundament.api.http import HEAD_LIMIT_BYTES
from fundament.api.requests import Methods
from raw_http import BODY_LIMIT_BYTES, GET, Connect, Echo, post, served


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def connect(echo: Echo) -> AsyncIterator[Connect]:
    async with served(Edge(echo)) as connect:
        yield connect


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


async def test_a_body_that_says_it_is_over_the_limit_is_refused_before_it_comes(connect: Connect) -> None:
    async with connect() as peer:
        peer.send(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (BODY_LIMIT_BYTES + 1))
        async with asyncio.timeout(5):
            assert (await peer.answer())[0] == 413


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


CHUNKED = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
# Each could be read as two requests by one of two servers, and as one by the other.
AMBIGUOUS = {
    "the same length twice": post("/a", b"xx", b"content-length: 2"),
    "a list of lengths": b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2, 2\r\n\r\nxx",
    "a signed length": b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: +2\r\n\r\nxx",
    "a space before the colon": b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length : 2\r\n\r\nxx",
    "a length and chunks": post("/a", b"0\r\n\r\n", b"transfer-encoding: chunked"),
    "a length and chunks beside an offer": post(
        "/a", b"0\r\n\r\n", b"transfer-encoding: chunked", b"connection: upgrade", b"upgrade: h2c"
    ),
    "chunked twice": CHUNKED + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, but not last": CHUNKED.replace(b"chunked", b"chunked, identity") + b"\r\n0\r\n\r\n",
    "another coding": CHUNKED.replace(b"chunked", b"xchunked") + b"\r\n0\r\n\r\n",
    "a folded header": CHUNKED.replace(b" chunked", b"\r\n chunked") + b"\r\n0\r\n\r\n",
    "bare line feeds": GET.replace(b"\r\n", b"\n"),
    "a bare line feed in a header": b"GET /a HTTP/1.1\r\nhost: x\nx: y\r\n\r\n",
    "a bare carriage return": b"GET /a HTTP/1.1\r\nhost: x\rx: y\r\n\r\n",
    "a NUL": b"GET /a HTTP/1.1\r\nhost: x\0\r\n\r\n",
    "a chunk's size with a sign": CHUNKED + b"\r\n+0\r\n\r\n",
    "a chunk's size with a prefix": CHUNKED + b"\r\n0x0\r\n\r\n",
    "a chunk's size without bound": CHUNKED + b"\r\n1" + b"0" * 16 + b"\r\n",
    "chunks with bare line feeds": CHUNKED + b"\r\n1\nx\n0\n\n",
    "a length among the trailers": CHUNKED + b"\r\n0\r\ncontent-length: 5\r\n\r\n",
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_request_of_two_meanings_is_refused_and_nothing_after_it_is_read(connect: Connect, data: bytes) -> None:
    async with connect() as peer:
        peer.send(data + b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        assert b"/smuggled" not in await peer.ended()


async def test_what_follows_a_request_that_closes_is_not_served(connect: Connect, echo: Echo) -> None:
    async with connect() as peer:
        peer.send(post("/a", b"x", b"connection: close") + GET.replace(b"/a", b"/smuggled"))
        assert (await peer.answer())[0] == 200
        assert await peer.ended() == b""
        assert "/smuggled" not in echo.asked


async def test_a_line_end_in_a_path_begins_no_header_of_the_answer(connect: Connect) -> None:
    async with connect() as peer:
        peer.send(GET.replace(b"/a", b"/a%0d%0aset-cookie:%20x=y%0d%0a%0d%0a"))
        status, headers, body = await peer.answer()
        assert (status, "set-cookie" in headers) == (200, False)
        assert json.loads(body)["path"] == "/a\r\nset-cookie: x=y\r\n\r\n"
