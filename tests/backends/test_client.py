"""The HTTP client against real sockets: every framing of what comes, and every way in which it breaks."""

import asyncio
import socket

import pytest

from backends.http_peers import FINAL, ask, connected, raw_server, read_request, says
from fundament.errors import UpstreamFailure, UpstreamUnreachable
from scripted_answers import Answer, Barrier, Close, Hang, Pause, Reset, json_answer, sse_answer
from scripted_upstream import ScriptedUpstream

# What is sent, and every framing of what comes


async def test_a_post_carries_the_clients_headers_its_length_and_its_body(upstream: ScriptedUpstream) -> None:
    upstream.default(json_answer({"ok": True}))
    async with connected(f"http://user:password@127.0.0.1:{upstream.port}/prefix/v1/") as client:
        response = await client.post("/chat", b'{"a":"\xc3\xbc"}')
        assert (response.status, await response.read()) == (200, b'{"ok":true}')
        assert response.headers[b"content-type"] == b"application/json"
        response.close()
        response = await client.get("/health")
        await response.read()
        response.close()
    post, get = upstream.requests
    assert (post.method, post.target, post.body) == ("POST", "/prefix/v1/chat", b'{"a":"\xc3\xbc"}')
    assert post.headers == {
        "host": f"127.0.0.1:{upstream.port}",
        "accept-encoding": "identity",
        "user-agent": "fundament",
        "authorization": "Bearer secret",
        "content-type": "application/json",
        "content-length": "10",
    }
    assert (get.method, get.target, get.body) == ("GET", "/prefix/v1/health", b"")
    assert "content-length" not in get.headers


STEPS = [b"one ", b"", "zw\u00f6lf ".encode(), b"three"]
BODY = b"".join(STEPS)


@pytest.mark.parametrize("trickle", [False, True])
@pytest.mark.parametrize("framing", ["content-length", "chunked", "until-close"])
async def test_a_body_of_any_framing_arrives_whole(upstream: ScriptedUpstream, framing: str, trickle: bool) -> None:
    answer = Answer(STEPS, framing=framing, trickle=trickle, status=418)  # type: ignore[arg-type]
    upstream.answer(answer, answer)
    async with connected(upstream.base_url) as client:
        for _ in range(2):
            response = await client.post("/x", b"{}")
            assert (response.status, await response.read()) == (418, BODY)
            assert await response.chunk() == b""
            response.close()
    assert upstream.connections == (2 if framing == "until-close" else 1)
    assert not upstream.abandoned


@pytest.mark.parametrize("framing", ["content-length", "chunked", "until-close"])
async def test_an_empty_body_is_a_body(upstream: ScriptedUpstream, framing: str) -> None:
    upstream.answer(Answer([b""], framing=framing))  # type: ignore[arg-type]
    async with connected(upstream.base_url) as client:
        assert await ask(client) == b""


async def test_pieces_are_handed_on_as_they_come(upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    upstream.answer(sse_answer([b"first", barrier, b"second"]))
    async with connected(upstream.base_url) as client:
        response = await client.post("/x", b"{}")
        assert await response.chunk() == b"first"
        assert not barrier._released
        barrier.release()
        assert await response.chunk() == b"second"
        assert await response.chunk() == b""
        response.close()


INTERIM = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\ncontent-length: 99\r\n\r\n"]


@pytest.mark.parametrize("interim", [INTERIM[:1], INTERIM[1:], INTERIM, INTERIM * 2])
async def test_interim_answers_are_passed_over(interim: list[bytes]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in (*interim, FINAL):
                writer.write(piece)
                await asyncio.sleep(0.005)

    async with raw_server(serve) as url, connected(url) as client:
        for _ in range(2):
            response = await client.post("/x", b"{}")
            assert (response.status, await response.read()) == (200, b"ok")
            assert response.headers == {b"content-length": b"2", b"x-name": b"final"}
            response.close()


async def test_an_interim_answer_in_one_packet_with_the_final_one_is_passed_over() -> None:
    async with raw_server(says(b"".join(INTERIM) + FINAL)) as url, connected(url) as client:
        assert await ask(client) == b"ok"


# Connections


async def test_connections_are_reused_and_only_as_many_as_needed_are_opened(upstream: ScriptedUpstream) -> None:
    upstream.default(json_answer({}))
    async with connected(upstream.base_url) as client:
        for _ in range(20):
            await ask(client)
        assert upstream.connections == 1
        await asyncio.gather(*(ask(client) for _ in range(5)))
        assert upstream.connections <= 5
        assert len(client._idle) == upstream.connections


@pytest.mark.parametrize("header", [b"connection: close\r\n", b""])
async def test_a_connection_that_the_server_will_close_is_not_reused(header: bytes) -> None:
    version = b"1.1" if header else b"1.0"
    answer = b"HTTP/%b 200 OK\r\n%bcontent-length: 2\r\n\r\nok" % (version, header)
    async with raw_server(says(answer)) as url, connected(url) as client:
        assert await ask(client) == b"ok"
        assert not client._idle


async def test_a_server_that_closes_an_idle_connection_as_we_write_is_asked_again() -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(FINAL)
        await reader.readexactly(1)  # the next request has begun to come: closing now resets the connection

    async with raw_server(serve) as url, connected(url) as client:
        for _ in range(5):
            assert await ask(client) == b"ok"
    assert len(requests) == 5


async def test_a_server_that_closed_an_idle_connection_is_asked_on_a_new_one() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(FINAL)

    async with raw_server(serve) as url, connected(url) as client:
        for pause_s in (0, 0.02, 0):
            assert await ask(client) == b"ok"
            await asyncio.sleep(pause_s)


async def test_a_request_is_sent_again_only_while_nothing_of_an_answer_came() -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(FINAL)
        requests.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200")

    async with raw_server(serve) as url, connected(url) as client:
        assert await ask(client) == b"ok"
        with pytest.raises(UpstreamFailure):
            await ask(client)
    assert len(requests) == 2


async def test_a_new_connection_that_breaks_is_a_failure_and_not_tried_again(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([Reset()]), Answer([Close()]))
    async with connected(upstream.base_url) as client:
        for _ in range(2):
            with pytest.raises(UpstreamFailure) as caught:
                await ask(client)
            assert not isinstance(caught.value, UpstreamUnreachable)
    assert len(upstream.requests) == 2


async def test_a_refused_connection_is_unreachable_and_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with connected(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(UpstreamUnreachable, match="could not be reached") as caught:
            await client.post("/x", b"{}")
    assert (caught.value.status, caught.value.code) == (502, "upstream_error")


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    async with connected("http://no-such-host.invalid") as client:
        with pytest.raises(UpstreamUnreachable):
            await client.post("/x", b"{}")


async def test_a_server_that_speaks_no_tls_is_unreachable_where_tls_is_wanted() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(serve) as url, connected(url.replace("http:", "https:")) as client:
        with pytest.raises(UpstreamUnreachable):
            await client.post("/x", b"{}")


# Answers that break


BROKEN = {
    "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
    "a bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "a bad length": b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nxx",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_what_is_not_http_is_a_failure_of_the_upstream(answer: bytes) -> None:
    async with raw_server(says(answer)) as url, connected(url) as client:
        with pytest.raises(UpstreamFailure) as caught:
            await asyncio.wait_for(ask(client), 2)
        assert caught.value.code == "upstream_error"
        assert not client._active
        assert not client._idle


@pytest.mark.parametrize("breaks", [Close(), Reset()])
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_a_body_that_breaks_off_is_handed_on_and_then_a_failure(
    upstream: ScriptedUpstream, framing: str, breaks: Close | Reset
) -> None:
    upstream.answer(Answer([b"begin", Pause(0.05), breaks, b"end"], framing=framing))  # type: ignore[arg-type]
    async with connected(upstream.base_url) as client:
        response = await client.post("/x", b"{}")
        assert await response.chunk() == b"begin"
        with pytest.raises(UpstreamFailure):
            await response.chunk()
        response.close()
        assert not client._active
        assert not client._idle


async def test_a_body_until_close_that_is_reset_is_not_complete(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([b"begin", Pause(0.05), Reset()], framing="until-close"))
    async with connected(upstream.base_url) as client:
        with pytest.raises(UpstreamFailure):
            await ask(client)


async def test_a_chunk_that_is_malformed_ends_the_body_with_a_failure() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with raw_server(says(head + b"3\r\nabc\r\nzz\r\n")) as url, connected(url) as client:
        with pytest.raises(UpstreamFailure):
            await ask(client)


async def test_a_body_over_the_limit_is_a_failure_and_cut(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([b"x" * 1000, Hang()]))
    async with connected(upstream.base_url) as client:
        response = await client.post("/x", b"{}")
        with pytest.raises(UpstreamFailure, match="too large"):
            await response.read(limit_bytes=999)
        response.close()


@pytest.mark.parametrize("together", [True, False])
async def test_a_second_answer_that_nobody_asked_for_is_nobodys_answer(together: bool) -> None:
    """Else the next request would get it."""
    unasked = b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\nx-name: unasked\r\n\r\noops"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(FINAL + unasked if together else FINAL)
        if not together:
            await asyncio.sleep(0.02)
            writer.write(unasked)
        await read_request(reader)
        writer.write(FINAL)

    async with raw_server(serve) as url, connected(url) as client:
        for _ in range(2):
            response = await client.post("/x", b"{}")
            assert (response.status, await response.read()) == (200, b"ok")
            response.close()
            await asyncio.sleep(0.05)
            assert all(connection.closed for connection in client._idle)
