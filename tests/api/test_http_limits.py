"""What a client may take of a worker: connections, and time for a head, for a body, and for taking its answer."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from fundament.api.edge import Edge
from raw_http import GET, LIMITS, Echo, post, served


async def test_a_head_that_is_late_closes_the_connection() -> None:
    limits = replace(LIMITS, head_timeout_s=0.15)
    async with served(Edge(Echo()), limits) as connect, connect() as silent, connect() as slow, connect() as second:
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


async def test_a_connection_is_kept_for_a_while_after_its_last_answer() -> None:
    async with served(Edge(Echo()), keep_alive_s=0.3) as connect, connect() as once, connect() as again:
        started_at = time.monotonic()
        for peer in (once, again):
            peer.send(GET)
            await peer.answer()
        await asyncio.sleep(0.2)
        again.send(GET)
        await again.answer()
        assert await once.ended() == b""
        assert 0.28 < time.monotonic() - started_at < 0.45
        assert await again.ended() == b""
        assert 0.48 < time.monotonic() - started_at < 1


async def test_a_connection_in_use_is_not_idle_however_long_that_takes() -> None:
    echo = Echo()
    async with served(Edge(echo), keep_alive_s=0.1) as connect, connect() as slow, connect() as trickling:
        for peer in (slow, trickling):
            peer.send(GET)
            await peer.answer()
        slow.send(post("/slow", b"x"))
        trickling.send(GET[:10])
        await asyncio.sleep(0.35)
        echo.go.set()
        trickling.send(GET[10:])
        assert (await slow.answer())[0] == (await trickling.answer())[0] == 200
        assert await slow.ended() == await trickling.ended() == b""


async def test_an_answer_may_take_longer_than_a_head_or_a_body() -> None:
    echo = Echo()
    limits = replace(LIMITS, head_timeout_s=0.1, body_timeout_s=0.1)
    async with served(Edge(echo), limits) as connect, connect() as peer:
        peer.send(post("/slow", b"x"))
        await asyncio.sleep(0.05)
        peer.send(b"\r\n")  # what old clients send after a body
        await asyncio.sleep(0.25)
        echo.go.set()
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize("pace_s", [0.02, None], ids=["that trickles in", "that never comes"])
async def test_a_body_that_is_late_is_answered_408_and_the_connection_closed(pace_s: float | None) -> None:
    async with served(Edge(Echo()), replace(LIMITS, body_timeout_s=0.2)) as connect, connect() as peer:
        started_at = time.monotonic()
        peer.send(post("/a", b"x" * 1000)[:-990])
        for _ in range(8 if pace_s else 0):
            peer.send(b"x")
            await asyncio.sleep(pace_s or 0)
        status, headers, body = await peer.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["error"]["code"] == "request_timeout"
        assert await peer.ended() == b""
        assert 0.15 < time.monotonic() - started_at < 1


async def test_the_rest_of_a_body_that_was_refused_cannot_hold_the_connection() -> None:
    async with served(Edge(Echo()), replace(LIMITS, body_timeout_s=0.2)) as connect, connect() as peer:
        peer.send(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000000\r\n\r\n")
        assert (await peer.answer())[0] == 413
        started_at = time.monotonic()
        while not peer.reader.at_eof() and time.monotonic() - started_at < 2:
            peer.send(b"x")
            await asyncio.sleep(0.02)
        assert time.monotonic() - started_at < 1


async def test_a_body_in_time_may_wait_for_the_answer_before_it() -> None:
    echo = Echo()
    async with served(Edge(echo), replace(LIMITS, body_timeout_s=0.1)) as connect, connect() as peer:
        second = post("/b", b"x" * 200_000)
        peer.send(post("/slow", b"1") + second[:1000])
        await asyncio.sleep(0.25)
        peer.send(second[1000:])
        echo.go.set()
        answers = [await peer.answer() for _ in range(2)]
    assert [json.loads(body)["path"] for _, _, body in answers] == ["/slow", "/b"]


async def test_a_connection_too_many_is_told_so_and_closed() -> None:
    async with served(Edge(Echo()), replace(LIMITS, max_connections=2)) as connect:
        async with connect() as first, connect() as second:
            for peer in (first, second):
                peer.send(GET)
                assert (await peer.answer())[0] == 200
            async with connect() as third:
                status, headers, body = await third.answer()
                assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
                assert json.loads(body)["error"]["code"] == "overloaded"
                assert await third.ended() == b""
            first.send(GET)
            assert (await first.answer())[0] == 200
        await asyncio.sleep(0.05)
        async with connect() as later:
            later.send(GET)
            assert (await later.answer())[0] == 200


FLOOD_BYTES = 100_000_000  # the kernel takes some of them in the client's place


class Flood:
    """Answers with more than a client takes that does not read: in pieces, or whole. Knows when it was over."""

    def __init__(self) -> None:
        self.ended = False
        self.connection: Any = None

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        pieces = 500 if scope["path"] == "/stream" else 1
        self.connection = scope["connection"]
        if scope["path"] == "/little":  # so little that the transport does not ask to pause
            self.connection.transport.set_write_buffer_limits(high=2 * FLOOD_BYTES)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        piece = b"x" * (FLOOD_BYTES // pieces)
        try:
            for number in range(pieces):
                await send({"type": "http.response.body", "body": piece, "more_body": number < pieces - 1})
                await asyncio.sleep(0)
        finally:
            self.ended = True


@pytest.mark.parametrize("path", ["/stream", "/whole", "/little"])
async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(path: str) -> None:
    flood = Flood()
    async with served(Edge(flood), replace(LIMITS, write_timeout_s=0.2)) as connect, connect() as peer:
        peer.writer.transport.pause_reading()
        peer.send(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode())
        async with asyncio.timeout(10):
            while not (flood.ended and flood.connection.lost):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.05)
        peer.writer.transport.resume_reading()
        assert len(await peer.ended(10)) < FLOOD_BYTES


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it() -> None:
    async with served(Edge(Flood()), replace(LIMITS, write_timeout_s=0.3)) as connect, connect() as peer:
        peer.send(b"GET /whole HTTP/1.1\r\nhost: x\r\n\r\n")
        received, started_at = 0, time.monotonic()
        while time.monotonic() - started_at < 1:
            received += len(await peer.reader.read(500_000))
            await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            while piece := await peer.reader.read(1_000_000):
                received += len(piece)
        assert received > FLOOD_BYTES
