"""The HTTP client against real sockets: every framing, every way to break, and what it costs when somebody is slow."""

import asyncio
import gc
import signal
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fundament.backends import client as client_module
from fundament.backends.client import BUFFER_LIMIT_BYTES, Client, Response
from fundament.errors import RequestError, UpstreamFailure, UpstreamTimeout, UpstreamUnreachable
from fundament.outbox import Outbox
from scripted_answers import Answer, Barrier, Close, Hang, Pause, Reset, json_answer, sse_answer
from scripted_upstream import ScriptedUpstream

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(
    base_url: str, *, connect_timeout_s: float = 2, first_byte_timeout_s: float = 5, idle_timeout_s: float = 5
) -> AsyncIterator[Client]:
    client = Client(
        base_url,
        headers={"authorization": "Bearer secret"},
        connect_timeout_s=connect_timeout_s,
        first_byte_timeout_s=first_byte_timeout_s,
        idle_timeout_s=idle_timeout_s,
        outbox=Outbox(first=lambda: None),
    )
    try:
        yield client
    finally:
        client.close()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[str]:
    """A server that does as `serve` says with each connection; gives its base URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=2**24)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(length)


def says(answer: bytes) -> Serve:
    """Every request on every connection gets these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)

    return serve


async def eventually(condition: Callable[[], bool], timeout_s: float = 2.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def ask(client: Client, path: str = "/x") -> bytes:
    response = await client.post(path, b"{}")
    try:
        return await response.read()
    finally:
        response.close()


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
FINAL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-name: final\r\n\r\nok"


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


# Time


@pytest.fixture
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits are enforced every 20 ms instead of every 500."""
    monkeypatch.setattr(client_module, "SWEEP_INTERVAL_S", 0.02)


async def test_a_server_that_does_not_accept_in_time_is_a_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        held = [socket.socket() for _ in range(3)]  # fill the line of the listener, which never accepts
        for one in held:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        async with connected(f"http://127.0.0.1:{port}", connect_timeout_s=0.1) as client:
            started_at = time.monotonic()
            with pytest.raises(UpstreamTimeout) as caught:
                await client.post("/x", b"{}")
            assert 0.08 < time.monotonic() - started_at < 1
        assert (caught.value.status, caught.value.code) == (504, "upstream_timeout")
        for one in held:
            one.close()


@pytest.mark.usefixtures("quick_sweep")
@pytest.mark.parametrize("reused", [False, True])
async def test_a_server_that_does_not_answer_in_time_is_a_timeout_and_asked_once(
    upstream: ScriptedUpstream, reused: bool
) -> None:
    if reused:
        upstream.answer(json_answer({}))
    upstream.default(Answer([Hang()]))
    async with connected(upstream.base_url, first_byte_timeout_s=0.1) as client:
        if reused:
            await ask(client)
        started_at = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await client.post("/x", b"{}")
        assert 0.08 < time.monotonic() - started_at < 0.5
        assert not client._active
    assert len(upstream.requests) == (2 if reused else 1)
    upstream.wait_closed()


@pytest.mark.usefixtures("quick_sweep")
async def test_a_server_that_falls_silent_is_a_timeout_after_what_it_said(upstream: ScriptedUpstream) -> None:
    upstream.answer(sse_answer([b"begin", Hang()]))
    async with connected(upstream.base_url, idle_timeout_s=0.1) as client:
        response = await client.post("/x", b"{}")
        assert await response.chunk() == b"begin"
        with pytest.raises(UpstreamTimeout):
            await response.chunk()
        response.close()
        assert not client._active


@pytest.mark.usefixtures("quick_sweep")
async def test_a_server_that_is_slow_but_never_silent_may_take_its_time(upstream: ScriptedUpstream) -> None:
    steps: list[bytes | Pause] = []
    for _ in range(8):
        steps += [b"piece", Pause(0.05)]
    upstream.answer(sse_answer(steps))
    async with connected(upstream.base_url, first_byte_timeout_s=0.15, idle_timeout_s=0.15) as client:
        assert await ask(client) == b"piece" * 8


@pytest.mark.usefixtures("quick_sweep")
async def test_a_reader_that_takes_its_time_is_not_the_servers_silence(upstream: ScriptedUpstream) -> None:
    size = BUFFER_LIMIT_BYTES + 50_000
    barrier = Barrier()
    upstream.answer(Answer([b"x" * size, barrier, b"end"]))
    async with connected(upstream.base_url, idle_timeout_s=0.1) as client:
        response = await client.post("/x", b"{}")
        await eventually(lambda: response._connection.buffered_bytes == size)
        assert response._connection.paused
        await asyncio.sleep(0.2)  # longer than the server may be silent, but it is us that do not listen
        assert len(await response.chunk()) == size
        asyncio.get_running_loop().call_later(0.06, barrier.release)
        assert await response.read() == b"end"
        response.close()


@pytest.mark.usefixtures("quick_sweep")
async def test_idle_connections_are_closed_after_a_while(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "IDLE_CONNECTION_S", 0.1)
    upstream.default(json_answer({}))
    async with connected(upstream.base_url) as client:
        await ask(client)
        assert len(client._idle) == 1
        await eventually(lambda: not client._idle)
        await eventually(lambda: not upstream._open)


# Leaving early


async def test_closing_a_response_that_is_not_complete_closes_the_connection_at_once(
    upstream: ScriptedUpstream,
) -> None:
    upstream.answer(sse_answer([b"begin", Hang()]))
    async with connected(upstream.base_url) as client:
        response = await client.post("/x", b"{}")
        assert await response.chunk() == b"begin"
        left_at = time.monotonic()
        response.close()
        closed_at = await asyncio.to_thread(upstream.wait_closed)
        assert closed_at - left_at < 0.1
        assert not client._idle


@pytest.mark.parametrize("answer", [Answer([Hang()]), sse_answer([b"begin", Hang()])], ids=["head", "body"])
async def test_cancelling_a_request_closes_the_connection_at_once(upstream: ScriptedUpstream, answer: Answer) -> None:
    upstream.answer(answer)
    async with connected(upstream.base_url) as client:
        task = asyncio.create_task(ask(client))
        await asyncio.to_thread(upstream.wait_requests)
        await asyncio.sleep(0.02)
        left_at = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        closed_at = await asyncio.to_thread(upstream.wait_closed)
        assert closed_at - left_at < 0.1
        assert not client._active


async def test_closing_the_client_ends_every_request_that_is_under_way(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([Hang()]), sse_answer([b"begin", Hang()]))
    async with connected(upstream.base_url) as client:
        waiting = asyncio.create_task(ask(client))
        await asyncio.to_thread(upstream.wait_requests, 1)
        reading = asyncio.create_task(ask(client))
        await asyncio.to_thread(upstream.wait_requests, 2)
        await asyncio.sleep(0.02)
        client.close()
        ends = await asyncio.wait_for(asyncio.gather(waiting, reading, return_exceptions=True), 2)
        assert [type(end) for end in ends] == [UpstreamFailure, UpstreamFailure]


async def test_reading_on_a_connection_that_was_just_cut_is_a_failure_and_not_a_hang(
    upstream: ScriptedUpstream,
) -> None:
    upstream.answer(sse_answer([b"begin", Hang()]))

    def stuck(*_: object) -> None:
        raise AssertionError("it spins")

    async with connected(upstream.base_url) as client:
        response = await client.post("/x", b"{}")
        assert await response.chunk() == b"begin"
        before = signal.signal(signal.SIGALRM, stuck)
        signal.alarm(3)  # a loop that never yields is out of asyncio's reach
        try:
            client.close()
            with pytest.raises(UpstreamFailure):
                await response.chunk()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        response.close()


# The framing's end


async def test_a_connection_that_only_lacks_its_framings_end_lingers_and_is_reused(upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    upstream.answer(sse_answer([b"data: [DONE]\n\n", barrier]), json_answer({}))
    async with connected(upstream.base_url) as client:
        response = await client.post("/x", b"{}")
        assert await response.chunk() == b"data: [DONE]\n\n"
        response.close(wanted_all=True)
        assert not client._idle
        barrier.release()
        await eventually(lambda: len(client._idle) == 1)
        assert not client._active
        await ask(client)
    assert upstream.connections == 1
    assert not upstream.abandoned


@pytest.mark.usefixtures("quick_sweep")
async def test_a_framings_end_that_does_not_come_is_not_waited_for_long(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "LINGER_S", 0.1)
    upstream.answer(sse_answer([b"data: [DONE]\n\n", Hang()]))
    async with connected(upstream.base_url) as client:
        response = await client.post("/x", b"{}")
        await response.chunk()
        response.close(wanted_all=True)
        await asyncio.to_thread(upstream.wait_closed)
        await eventually(lambda: not client._active)
        assert not client._idle


async def endless_after_done(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ne\r\ndata: [DONE]\n\n\r\n")
    await asyncio.sleep(0.02)
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


async def done_and_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: [DONE]\n\n")
    await asyncio.sleep(0.02)


async def done_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ne\r\ndata: [DONE]\n\n\r\n")
    await asyncio.sleep(0.02)
    writer.transport.abort()


@pytest.mark.usefixtures("quick_sweep")
@pytest.mark.parametrize("serve", [endless_after_done, done_and_closed, done_and_reset])
async def test_whatever_a_server_does_after_the_end_no_connection_stays(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "LINGER_S", 0.1)
    async with raw_server(serve) as url, connected(url) as client:
        response = await client.post("/x", b"{}")
        assert await response.chunk() == b"data: [DONE]\n\n"
        response.close(wanted_all=True)
        await eventually(lambda: not client._active)
        assert not client._idle


# Memory


async def test_a_reader_that_does_not_read_stops_the_server() -> None:
    sent = 0
    total = 512 * 2**16

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.transport.set_write_buffer_limits(0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * 2**16)
            await writer.drain()
            sent += 2**16

    async with raw_server(serve) as url, connected(url) as client:
        response = await client.post("/x", b"{}")
        await asyncio.sleep(0.2)
        stopped_at = sent
        assert stopped_at < total / 2
        await asyncio.sleep(0.1)
        assert sent == stopped_at
        assert response._connection.buffered_bytes < 4 * BUFFER_LIMIT_BYTES
        received = 0
        while piece := await response.chunk():
            received += len(piece)
            assert len(piece) < 4 * BUFFER_LIMIT_BYTES
        assert received == total
        response.close()


async def test_a_thousand_mixed_requests_leave_nothing_behind(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SWEEP_INTERVAL_S", 0.02)
    monkeypatch.setattr(client_module, "LINGER_S", 0.05)
    answers = [
        json_answer({"a": 1}),
        sse_answer([b"data: x\n\n", b"data: [DONE]\n\n"]),
        sse_answer([b"data: x\n\n", Hang()]),
        Answer([Hang()]),
        Answer([b"x", Close(), b"y"]),
        Answer([b"x"], framing="until-close"),
        Answer([b"not HTTP\r\n\r\n"], framing="raw"),
        Answer([Reset()]),
    ]

    async def one(client: Client, number: int) -> None:
        response: Response | None = None
        try:
            async with asyncio.timeout(0.05 if number % 3 else 0.2):
                response = await client.post("/x", b"{}")
                piece = await response.chunk()
                while piece and number % 5:
                    piece = await response.chunk()
        except (RequestError, TimeoutError):
            pass
        finally:
            if response is not None:
                response.close(wanted_all=number % 2 == 0)

    async with connected(upstream.base_url, first_byte_timeout_s=0.1, idle_timeout_s=0.1) as client:

        async def batch(start: int) -> None:
            for first in range(start, start + 250, 50):
                upstream.answer(*(answers[number % len(answers)] for number in range(first, first + 50)))
                await asyncio.gather(*(one(client, number) for number in range(first, first + 50)))
            await eventually(lambda: not client._active)

        await batch(0)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        await batch(250)
        await batch(500)
        await batch(750)
        gc.collect()
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        ours = [tracemalloc.Filter(True, client_module.__file__)]
        grown = sum(
            entry.size_diff for entry in after.filter_traces(ours).compare_to(before.filter_traces(ours), "filename")
        )
        assert grown < 300_000, f"the client holds {grown} bytes more"
        assert all(not connection.closed for connection in client._idle)
        assert len(client._idle) <= 50
        upstream.answer(json_answer({}), path="/v1/last")
        assert await ask(client, "/last") == b"{}"
    await eventually(lambda: not upstream._open)
