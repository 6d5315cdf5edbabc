"""A client that leaves takes its work with it within 100 ms, wherever that work is, and no neighbour notices."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scripted_answers import DONE, Barrier, Hang, Step, chat_answer, chat_events, chat_stream, sse_answer
from scripted_upstream import ScriptedUpstream
from service import OpenReply, Service, wait_until
from specification import assert_valid_stream

MODEL = "SmolLM2-135M-Instruct"
AT_ONCE_S = 0.1
EVENTS = chat_events(["Hello", " you"])


def chat(model: str = "gpt-4.1", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Tell me a long story about a dragon."}]} | fields


class Caller:
    """A client that has sent its whole request, waits for the answer, and can leave."""

    def __init__(self, service: Service, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        head = (
            f"POST /v2/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self._socket = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        self._socket.sendall(head.encode() + data)

    def received(self) -> bytes:
        return self._socket.recv(65536)

    def leave(self, *, reset: bool = False) -> float:
        """Returns when that was (`time.monotonic()` seconds)."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        left_at = time.monotonic()
        self._socket.close()
        return left_at


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    ("stream", "steps"),
    [
        (False, [Hang()]),
        (False, [b"{", Hang()]),
        (True, [Hang()]),
        (True, [b"", Hang()]),
        (True, [*EVENTS[:2], Hang()]),
    ],
    ids=["whole", "whole, begun", "stream, no headers", "stream, no event", "stream, begun"],
)
def test_the_upstreams_connection_is_closed_at_once(
    scripted: Service, upstream: ScriptedUpstream, stream: bool, steps: Sequence[Step], reset: bool
) -> None:
    upstream.answer(sse_answer(steps))
    caller = Caller(scripted, chat(stream=stream))
    upstream.wait_requests()
    if isinstance(steps[0], bytes) and steps[0].startswith(b"data"):
        assert b"data: " in caller.received()
    else:
        time.sleep(0.05)
    left_at = caller.leave(reset=reset)
    assert upstream.wait_closed(timeout_s=2) - left_at < AT_ONCE_S


def test_a_caller_that_leaves_the_line_is_never_sent_and_frees_its_place(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    """The model takes one request at a time and one may wait: a second waiting one is refused until that one leaves."""
    upstream.answer(sse_answer([*EVENTS[:2], Hang()]), chat_answer("next"))
    working = Caller(scripted, chat("narrow-model", stream=True))
    upstream.wait_requests()
    waiting = Caller(scripted, chat("narrow-model", user="waiting"))
    time.sleep(0.05)
    assert scripted.post("/v2/chat/completions", chat("narrow-model")).status == 503
    waiting.leave()
    time.sleep(AT_ONCE_S)
    following = Caller(scripted, chat("narrow-model", user="following"))
    time.sleep(0.05)
    left_at = working.leave()
    assert b'"next"' in following.received()
    assert upstream.wait_closed() - left_at < AT_ONCE_S
    assert [request.json.get("user") for request in upstream.requests] == [None, "following"]
    following.leave()


def test_fifteen_neighbours_at_the_upstream_are_unharmed(scripted: Service, upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    upstream.default(sse_answer([*EVENTS[:2], barrier, *EVENTS[2:], DONE]))
    replies = [scripted.open("POST", "/v2/chat/completions", chat(stream=True)) for _ in range(16)]
    upstream.wait_requests(16)
    left_at = replies.pop(7).leave()
    assert upstream.wait_closed() - left_at < AT_ONCE_S
    barrier.release()
    for reply in replies:
        with reply:
            assert_valid_stream("chat", reply.read())
    assert len(upstream.abandoned) == 1


# The embedded model. Another process of the machine can hold any one cancellation up, never all of several: the best of
# three is the service's own.

A_STEP_OF_READING_S = 1.0
"""A prompt is read in steps of `batch_tokens`, in which the engine hears nothing."""


@pytest.fixture(autouse=True)
def idle_slots(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "embedded" in request.fixturenames:
        embedded: Service = request.getfixturevalue("embedded")
        assert wait_until(lambda: embedded.busy_slots(MODEL) == 0, timeout_s=5), "a slot still works for nobody"


def time_to_free(embedded: Service, body: dict[str, Any], working_s: float) -> float:
    """Seconds from a caller's leaving until a look at the engine finds its slot free."""
    caller = Caller(embedded, body)
    assert wait_until(lambda: embedded.busy_slots(MODEL) == 1, timeout_s=5)
    time.sleep(working_s)
    left_at = caller.leave()
    looked_at = time.monotonic()
    while embedded.busy_slots(MODEL):
        looked_at = time.monotonic()
    return looked_at - left_at


@pytest.mark.parametrize("stream", [False, True])
def test_the_engines_slot_is_free_at_once(embedded: Service, stream: bool) -> None:
    body = chat(MODEL, stream=stream, max_tokens=1500)
    assert min(time_to_free(embedded, body, working_s=0.3) for _ in range(3)) < AT_ONCE_S


@pytest.mark.parametrize("stream", [False, True])
def test_the_slot_is_free_soon_though_the_prompt_is_still_being_read(embedded: Service, stream: bool) -> None:
    bodies = [chat(MODEL, stream=stream, messages=[{"role": "user", "content": f"{n} dragons " * 600}]) for n in "123"]
    assert min(time_to_free(embedded, body, working_s=0) for body in bodies) < A_STEP_OF_READING_S


def test_fifteen_neighbours_in_the_engine_are_unharmed(embedded: Service) -> None:
    body = chat(MODEL, stream=True, max_tokens=32, temperature=0, stream_options={"include_usage": True})
    replies = [embedded.open("POST", "/v2/chat/completions", body) for _ in range(16)]
    events = [reply.events() for reply in replies]
    begun = [[next(event), next(event)] for event in events]
    replies.pop(7).leave()
    del events[7], begun[7]
    assert wait_until(lambda: embedded.busy_slots(MODEL) == 15, timeout_s=1)
    for reply, start, rest in zip(replies, begun, events, strict=True):
        with reply:
            chunks = assert_valid_stream("chat", [*start, *rest], usage=True)
            assert chunks[-1]["usage"]["completion_tokens"] == 32


def test_a_caller_behind_full_slots_that_leaves_is_never_computed(embedded: Service) -> None:
    long = chat(MODEL, stream=True, max_tokens=1500)
    working: list[OpenReply] = []

    def work() -> None:
        working.append(embedded.open("POST", "/v2/chat/completions", long))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert embedded.busy_slots(MODEL) == 16
    waiting = Caller(embedded, long)
    time.sleep(0.2)
    waiting.leave()
    time.sleep(AT_ONCE_S)
    for reply in working:
        reply.leave()
    assert wait_until(lambda: embedded.busy_slots(MODEL) == 0, timeout_s=2)
    time.sleep(0.3)
    assert embedded.busy_slots(MODEL) == 0


def test_what_was_used_until_a_caller_left_is_recorded(scripted: Service, upstream: ScriptedUpstream) -> None:
    def outcomes() -> list[str]:
        lines = [line for file in (scripted.data / "usage").iterdir() for line in file.read_bytes().splitlines()]
        return [json.loads(line).get("outcome") for line in lines]

    before = outcomes()
    upstream.answer(sse_answer([*EVENTS[:2], Hang()]), chat_stream(["Hello"]))
    caller = Caller(scripted, chat(stream=True))
    assert b"data: " in caller.received()
    caller.leave()
    upstream.wait_closed()
    assert scripted.post("/v2/chat/completions", chat(stream=True)).status == 200
    assert wait_until(lambda: len(outcomes()) == len(before) + 2, timeout_s=3)
    assert sorted(outcomes()[len(before) :]) == ["cancelled", "completed"]
