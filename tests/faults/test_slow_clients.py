"""Clients that are slow on purpose, or many: the running service is held up by none of them."""

import contextlib
import gzip
import json
import resource
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from scripted_answers import Hang, chat_answer, chat_events, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Service

TIMEOUT_S = 0.5
CONNECTIONS = 8


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    config = f"""
        [server]
        max_connections = {CONNECTIONS}
        head_timeout_s = {TIMEOUT_S}
        body_timeout_s = {TIMEOUT_S}
        write_timeout_s = {TIMEOUT_S}
        max_body_bytes = 1_000_000
        [[models]]
        id = "m"
        [[models.upstreams]]
        base_url = "{running_upstream.base_url}"
    """
    with Service(tmp_path_factory.mktemp("slow"), config) as service:
        yield service


@contextlib.contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1_000_000):
            received += piece
    return received


def head(service: Service, length: int) -> bytes:
    lines = [
        "POST /v2/chat/completions HTTP/1.1",
        "host: x",
        f"authorization: Bearer {service.key}",
        f"content-length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("sent", [b"", b"GET /v2/models HTTP/1.1\r\nx:"], ids=["nothing", "half a head"])
def test_a_client_that_sends_no_head_is_closed(service: Service, sent: bytes) -> None:
    with connected(service) as connection:
        started_at = time.monotonic()
        connection.sendall(sent)
        assert rest(connection) == b""
        assert TIMEOUT_S * 0.9 < time.monotonic() - started_at < TIMEOUT_S + 2


def test_a_client_that_sends_its_body_byte_by_byte_is_told_and_closed(service: Service) -> None:
    sent = head(service, 1000)
    with connected(service) as connection:
        connection.sendall(sent)
        started_at = time.monotonic()
        while not select.select([connection], [], [], 0.05)[0] and time.monotonic() - started_at < 5:
            connection.sendall(b" ")
        assert connection.recv(12) == b"HTTP/1.1 408"
        assert TIMEOUT_S * 0.9 < time.monotonic() - started_at < TIMEOUT_S + 2


def test_a_stream_that_its_client_does_not_read_ends_and_so_does_the_work_behind_it(
    service: Service, upstream: ScriptedUpstream
) -> None:
    events = chat_events(["x" * 50_000] * 400)
    upstream.answer(sse_answer([*events, Hang()]))
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()
    sent = head(service, len(body)) + body
    with connected(service) as connection:
        connection.sendall(sent)
        upstream.wait_closed(timeout_s=TIMEOUT_S + 5)


def test_more_connections_than_a_worker_takes_are_told_so_and_hold_nobody_up(
    service: Service, upstream: ScriptedUpstream
) -> None:
    service.key  # noqa: B018 - made now, which takes longer than a head may
    with contextlib.ExitStack() as stack:
        several = [stack.enter_context(connected(service)) for _ in range(CONNECTIONS + 3)]
        time.sleep(0.1)
        readable, _, _ = select.select(several, [], [], 0)
        assert [connection.recv(12) for connection in readable] == [b"HTTP/1.1 503"] * 3
    upstream.answer(chat_answer("Hello"))
    messages = [{"role": "user", "content": "x"}]
    assert service.post("/v2/chat/completions", {"model": "m", "messages": messages}).status == 200


def test_a_websocket_message_that_inflates_beyond_the_limit_closes_the_connection(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.key}"}
    with connect(f"ws://127.0.0.1:{service.port}/v2/responses", additional_headers=headers) as peer:
        with contextlib.suppress(ConnectionClosed):
            peer.send("{" + " " * 50_000_000)
        with pytest.raises(ConnectionClosed) as closed:
            peer.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_body_is_never_inflated(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("It was inflated."))
    request = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    body = gzip.compress(b" " * 50_000_000 + request)
    reply = service.post("/v2/chat/completions", body, headers={"Content-Encoding": "gzip"})
    assert reply.status == 400
    assert upstream.requests == []


def test_a_worker_has_file_descriptors_for_all_its_clients(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    config = f"""
        [server]
        max_connections = 300
        [[models]]
        id = "m"
        [[models.upstreams]]
        base_url = "{upstream.base_url}"
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    service = Service(tmp_path / "service", config)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        service.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        (worker,) = service.wait_ready().workers()
        allowed, _ = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        assert allowed >= 2 * 300
        service.stop()
    finally:
        service.destroy()
