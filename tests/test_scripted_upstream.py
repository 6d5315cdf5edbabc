"""The scripted upstream itself: what the other tests rely on."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import openai
import pytest

from scripted_answers import (
    DONE,
    Answer,
    Barrier,
    Close,
    Hang,
    Pause,
    Reset,
    Step,
    chat_answer,
    chat_events,
    chat_stream,
    completion_answer,
    completion_stream,
    error_answer,
    json_answer,
    split_at,
    sse_answer,
)
from scripted_upstream import ScriptedUpstream, parse_request
from specification import assert_valid, assert_valid_stream, read_sse

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


def connect(upstream: ScriptedUpstream) -> socket.socket:
    return socket.create_connection(("127.0.0.1", upstream.port), timeout=5)


def ask(upstream: ScriptedUpstream, path: str = "/v1/chat/completions") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=5)
    try:
        connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def test_answers_are_played_in_the_order_they_were_queued_and_then_the_default(upstream: ScriptedUpstream) -> None:
    upstream.default(json_answer({"answer": "default"}))
    upstream.answer(json_answer({"answer": 1}), json_answer({"answer": 2}, status=201, headers=[("x-extra", "yes")]))
    first, second, third = ask(upstream), ask(upstream), ask(upstream)
    assert [json.loads(body)["answer"] for _, body in (first, second, third)] == [1, 2, "default"]
    assert (second[0].status, second[0].headers["x-extra"]) == (201, "yes")


def test_an_answer_for_a_path_is_kept_for_that_path(upstream: ScriptedUpstream) -> None:
    upstream.answer(json_answer({"answer": "chat"}), path="/v1/chat/completions")
    upstream.default(lambda request: json_answer({"answer": request.path}))
    assert json.loads(ask(upstream, "/v1/completions?x=1")[1]) == {"answer": "/v1/completions"}
    assert json.loads(ask(upstream)[1]) == {"answer": "chat"}


def test_a_request_without_a_script_gets_an_error_that_names_its_path(upstream: ScriptedUpstream) -> None:
    response, body = ask(upstream, "/v1/nothing")
    assert response.status == 500
    assert (
        assert_valid("ErrorResponse", json.loads(body))["error"]["message"]
        == "nothing is scripted for POST /v1/nothing"
    )


def test_requests_are_recorded_as_they_were_sent(upstream: ScriptedUpstream) -> None:
    upstream.default(json_answer({}))
    before = time.monotonic()
    with connect(upstream) as sock:
        sock.sendall(b'POST /v1/x?y=1 HTTP/1.1\r\nHost: h\r\nX-Odd:  two words \r\nContent-Length: 9\r\n\r\n{"a":')
        sock.sendall("ü".encode()[:1])
        time.sleep(0.01)
        sock.sendall(b"1}\r")
        [request] = upstream.wait_requests()
    assert (request.method, request.target, request.path) == ("POST", "/v1/x?y=1", "/v1/x")
    assert request.headers == {"host": "h", "x-odd": "two words", "content-length": "9"}
    assert request.body == b'{"a":\xc31}\r'
    assert before < request.arrived_at < time.monotonic()


@pytest.mark.parametrize("framing", ["content-length", "chunked", "until-close"])
def test_each_framing_carries_the_same_body(upstream: ScriptedUpstream, framing: str) -> None:
    upstream.answer(Answer([b"one", Pause(0.01), b"two"], framing=framing))
    response, body = ask(upstream)
    assert body == b"onetwo"
    assert (response.headers["content-length"], response.headers["transfer-encoding"]) == {
        "content-length": ("6", None),
        "chunked": (None, "chunked"),
        "until-close": (None, None),
    }[framing]


def test_a_connection_is_kept_for_the_next_request(upstream: ScriptedUpstream) -> None:
    upstream.default(Answer([b"ok"], framing="chunked"))
    with connect(upstream) as sock:
        for _ in range(2):
            sock.sendall(REQUEST)
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received += sock.recv(65536)
            assert received.endswith(b"2\r\nok\r\n0\r\n\r\n")
    assert [request.connection for request in upstream.requests] == [1, 1]


def test_no_step_waits_for_an_acknowledgement(upstream: ScriptedUpstream) -> None:
    upstream.default(Answer([b"a", b"b", b"c"], framing="chunked"))
    with connect(upstream) as sock:
        started_at = time.monotonic()
        for _ in range(20):
            sock.sendall(REQUEST)
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received += sock.recv(65536)
        assert time.monotonic() - started_at < 0.4  # a delayed acknowledgement alone takes 40 ms


def test_every_step_arrives_alone_while_the_next_is_held_back(upstream: ScriptedUpstream) -> None:
    barriers = [Barrier(), Barrier()]
    upstream.answer(Answer([b"first", barriers[0], b"second", barriers[1]], framing="chunked"))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        assert barriers[0].reached.wait(5)
        assert sock.recv(65536).endswith(b"\r\n\r\n5\r\nfirst\r\n")
        assert not barriers[1].reached.is_set()
        barriers[0].release()
        assert sock.recv(65536) == b"6\r\nsecond\r\n"
        barriers[1].release()
        assert sock.recv(65536) == b"0\r\n\r\n"


def test_the_head_waits_for_the_first_bytes(upstream: ScriptedUpstream) -> None:
    before, after = Barrier(), Barrier()
    upstream.answer(Answer([before, b"", after, b"body"], framing="chunked"))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        assert before.reached.wait(5)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        sock.settimeout(5)
        before.release()
        assert sock.recv(65536).endswith(b"transfer-encoding: chunked\r\n\r\n")
        after.release()
        assert sock.recv(65536).startswith(b"4\r\nbody\r\n")


def test_a_barrier_released_beforehand_holds_nothing_back(upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    barrier.release()
    upstream.answer(Answer([b"a", barrier, b"b"]))
    assert ask(upstream)[1] == b"ab"


def test_a_reset_is_seen_as_a_reset(upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    upstream.answer(Answer([b"part", barrier, Reset(), b"rest"]))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        assert barrier.reached.wait(5)
        assert sock.recv(65536).endswith(b"content-length: 8\r\n\r\npart")
        barrier.release()
        with pytest.raises(ConnectionResetError):
            sock.recv(65536)
    assert upstream.abandoned == []


def test_a_close_ends_a_chunked_answer_without_its_last_chunk(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([b"part", Close(), b"rest"], framing="chunked"))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        assert read_all(sock).endswith(b"\r\n\r\n4\r\npart\r\n")
    assert upstream.abandoned == []


def test_raw_steps_are_the_whole_wire(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([b"SSH-2.0-", b"x\r\n"], framing="raw"))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        assert read_all(sock) == b"SSH-2.0-x\r\n"


def test_trickled_bytes_arrive_apart(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([b"body"], framing="until-close", trickle=True))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        pieces = []
        while data := sock.recv(65536):
            pieces.append(data)
    assert b"".join(pieces).endswith(b"\r\n\r\nbody")
    assert len(pieces) > 40


@pytest.mark.parametrize("steps", [[Hang()], [b"", Hang()], [b"begun", Hang()], [Pause(60)], [Barrier()]])
@pytest.mark.parametrize("reset", [False, True])
def test_the_moment_the_peer_leaves_is_recorded(upstream: ScriptedUpstream, steps: list[Step], reset: bool) -> None:
    upstream.answer(Answer(steps))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        upstream.wait_requests()
        time.sleep(0.05)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        left_at = time.monotonic()
    assert 0 <= upstream.wait_closed(timeout_s=1) - left_at < 0.05
    assert upstream.abandoned == upstream.requests


def test_a_peer_that_leaves_while_it_is_behind_with_reading_is_noticed(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([b"x" * 1_000_000] * 64))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        sock.recv(10)
        time.sleep(0.05)
    upstream.wait_closed(timeout_s=1)


def test_a_peer_that_has_its_whole_answer_has_not_left_early(upstream: ScriptedUpstream) -> None:
    upstream.answer(json_answer({}))
    ask(upstream)
    with pytest.raises(AssertionError, match="no connection was closed early"):
        upstream.wait_closed(timeout_s=0.05)


def test_waiting_for_requests_that_do_not_come_fails(upstream: ScriptedUpstream) -> None:
    with pytest.raises(AssertionError, match="0 of 1 requests arrived"):
        upstream.wait_requests(timeout_s=0.01)


def test_fifty_connections_are_served_at_once(upstream: ScriptedUpstream) -> None:
    barriers = [Barrier() for _ in range(50)]
    upstream.answer(*(Answer([b"a", barrier, b"b"]) for barrier in barriers))
    bodies: list[bytes] = []
    clients = [threading.Thread(target=lambda: bodies.append(ask(upstream)[1])) for _ in barriers]
    for client in clients:
        client.start()
    assert all(barrier.reached.wait(5) for barrier in barriers)
    for barrier in barriers:
        barrier.release()
    for client in clients:
        client.join()
    assert bodies == [b"ab"] * 50
    assert upstream.connections == 50


def test_a_reset_upstream_is_as_new(upstream: ScriptedUpstream) -> None:
    upstream.answer(Answer([Hang()]), json_answer({}))
    with connect(upstream) as sock:
        sock.sendall(REQUEST)
        upstream.wait_requests()
        upstream.reset()
        assert sock.recv(10) == b""
    assert (upstream.requests, upstream.connections, upstream.abandoned) == ([], 0, [])
    assert ask(upstream)[0].status == 500


def test_leaving_the_context_ends_hanging_answers_and_frees_the_port() -> None:
    with ScriptedUpstream() as upstream:
        upstream.answer(Answer([Hang()]))
        sock = connect(upstream)
        sock.sendall(REQUEST)
        upstream.wait_requests()
        port = upstream.port
    assert sock.recv(10) == b""
    sock.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_incorrect_http_from_the_service_fails_the_test(wire: bytes) -> None:
    upstream = ScriptedUpstream()
    with pytest.raises(AssertionError, match="incorrect HTTP"), upstream, connect(upstream) as sock:
        sock.sendall(wire)
        assert read_all(sock) == b""
    with pytest.raises(ValueError):
        parse_request(wire)


# The builders


def test_split_bytes_are_the_same_bytes_in_other_writes() -> None:
    steps = [b"abc", Pause(1), b"defg"]
    split = split_at(steps, 1, 3, 5, 7, pause_s=0)
    assert split == [b"a", Pause(0), b"bc", Pause(1), b"de", Pause(0), b"fg"]
    assert split_at(steps) == steps


@pytest.mark.parametrize("usage", [False, True])
def test_built_chat_answers_are_valid(usage: bool) -> None:
    assert_valid("CreateChatCompletionResponse", json.loads(b"".join(chat_answer("Hellö").steps)))
    chunks = assert_valid_stream("chat", b"".join(chat_stream(["Hel", "lö"], usage=usage).steps), usage=usage)
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:4]] == ["", "Hel", "lö", None]


@pytest.mark.parametrize("usage", [False, True])
def test_built_completions_are_valid(usage: bool) -> None:
    assert_valid("CreateCompletionResponse", json.loads(b"".join(completion_answer("Hellö").steps)))
    chunks = assert_valid_stream(
        "completions", b"".join(completion_stream(["Hel", "lö"], usage=usage).steps), usage=usage
    )
    assert [chunk["choices"][0]["text"] for chunk in chunks[:2]] == ["Hel", "lö"]


def test_a_built_error_is_valid() -> None:
    body = json.loads(b"".join(error_answer(429, "Slow down.", type="requests", code="rate_limit_exceeded").steps))
    assert assert_valid("ErrorResponse", body)["error"]["code"] == "rate_limit_exceeded"


def test_the_official_sdk_reads_a_built_stream(upstream: ScriptedUpstream) -> None:
    events = chat_events(["Hel", "lö"], usage_asked=True)
    upstream.answer(sse_answer(split_at([*events, DONE], *range(0, 2000, 7))))
    with openai.OpenAI(base_url=upstream.base_url, api_key="test", max_retries=0) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hellö"
    assert chunks[-1].usage is not None
    assert upstream.requests[0].json["stream"] is True
    assert list(read_sse(b"".join([*events, DONE])))[-1] == "[DONE]"
