"""What the HTTP client does when somebody is slow, leaves, or sends too much: its limits of time and memory."""

import asyncio
import gc
import signal
import socket
import time
import tracemalloc

import pytest

from backends.http_peers import Serve, ask, connected, eventually, raw_server, read_request
from fundament.backends import client as client_module
from fundament.backends.client import BUFFER_LIMIT_BYTES, Client, Response
from fundament.errors import RequestError, UpstreamFailure, UpstreamTimeout
from scripted_answers import Answer, Barrier, Close, Hang, Pause, Reset, json_answer, sse_answer
from scripted_upstream import ScriptedUpstream

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
