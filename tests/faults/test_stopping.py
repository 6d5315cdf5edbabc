"""SIGTERM: what runs may finish within the grace period, what is new is refused, and the end is orderly.

SIGHUP: nothing, but where a terminal is gone.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import native_answers
from responding import read_events
from scripted_answers import DONE, Answer, Barrier, Hang, chat_answer, chat_events, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Reply, Service, wait_until
from specification import assert_valid, assert_valid_stream, read_sse

EVENTS = chat_events(["Hello", " you"])
RESPONSE: dict[str, Any] = {"model": "m", "input": "x", "background": True}
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Start]:
    """Starts one service, with this many seconds of grace and this many workers."""
    made: list[Service] = []

    def make(grace_period_s: float, workers: int = 1) -> Service:
        config = f"""
            [server]
            grace_period_s = {grace_period_s}
            [[models]]
            id = "m"
            [[models.upstreams]]
            base_url = "{upstream.base_url}"
        """
        service = Service(tmp_path / "service", config, workers=workers).start().wait_ready()
        made.append(service)
        assert service.key
        return service

    yield make
    for service in made:
        service.destroy()


def terminate(service: Service) -> None:
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)


def is_refused(service: Service) -> bool:
    try:
        return service.post("/v2/chat/completions", CHAT, timeout_s=2).status == 503
    except (OSError, http.client.HTTPException):
        return True


def assert_ended(service: Service, within_s: float) -> None:
    assert service.process is not None
    assert service.process.wait(within_s) == 0, service.log_text()
    assert service.processes() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_running_stream_finishes_and_new_requests_are_refused(
    start: Start, upstream: ScriptedUpstream, workers: int
) -> None:
    service = start(grace_period_s=20, workers=workers)
    barrier = Barrier()
    upstream.answer(sse_answer([*EVENTS[:2], barrier, *EVENTS[2:], DONE]))
    with service.send("POST", "/v2/chat/completions", CHAT | {"stream": True}) as reply:
        events = reply.events()
        begun = [next(events), next(events)]
        terminate(service)
        assert wait_until(lambda: is_refused(service), timeout_s=5)
        time.sleep(0.2)
        assert service.process is not None
        assert service.process.poll() is None
        barrier.release()
        assert_valid_stream("chat", [*begun, *events])
    assert_ended(service, within_s=5)


def test_a_running_request_without_stream_finishes(start: Start, upstream: ScriptedUpstream) -> None:
    service = start(grace_period_s=20)
    barrier = Barrier()
    answer = chat_answer("Hello")
    upstream.answer(Answer([barrier, *answer.steps]))
    replies: list[Reply] = []
    caller = threading.Thread(target=lambda: replies.append(service.post("/v2/chat/completions", CHAT)))
    caller.start()
    upstream.wait_requests()
    terminate(service)
    assert wait_until(lambda: is_refused(service), timeout_s=5)
    barrier.release()
    caller.join()
    assert_valid("CreateChatCompletionResponse", replies[0].json)
    assert_ended(service, within_s=5)


def test_a_stream_that_outlives_the_grace_period_ends_with_an_error_frame(
    start: Start, upstream: ScriptedUpstream
) -> None:
    service = start(grace_period_s=1)
    upstream.answer(sse_answer([*EVENTS[:2], Hang()]))
    with service.send("POST", "/v2/chat/completions", CHAT | {"stream": True}) as reply:
        events = reply.events()
        begun = [next(events), next(events)]
        terminate(service)
        *_, frame = read_sse([*begun, *events])
    error = assert_valid("ErrorResponse", json.loads(frame))["error"]
    assert error["type"] == "server_error"
    assert_ended(service, within_s=5)
    upstream.wait_closed(timeout_s=1)


@pytest.mark.parametrize("later", [False, True])
def test_a_background_stream_that_outlives_the_grace_period_ends_with_an_error_event(
    start: Start, upstream: ScriptedUpstream, later: bool
) -> None:
    service = start(grace_period_s=1)
    upstream.answer(native_answers.answering(native_answers.message("a", "b"), pause=[Hang()]))
    request: tuple[Any, ...] = ("POST", "/v2/responses", {**RESPONSE, "stream": True})
    if later:
        id = service.post("/v2/responses", RESPONSE).json["id"]
        request = ("GET", f"/v2/responses/{id}?stream=true")
    with service.send(*request) as reply:
        events = reply.events()
        begun = list(read_events(next(events) for _ in range(6)))
        terminate(service)
        [last] = events
    error = native_answers.decoded(last)  # of which the two specifications have different ideas
    assert assert_valid("ResponseErrorEvent", error)["code"] == "service_stopping"
    # Its own number is that of the last event told: who goes on after it has the next one, which is to come.
    assert [event["sequence_number"] for event in [*begun, error]] == [*range(6), 5]
    assert_ended(service, within_s=5)
    assert "Traceback" not in service.log_text()


def test_a_background_stream_that_had_told_nothing_yet_is_a_503(start: Start, upstream: ScriptedUpstream) -> None:
    service = start(grace_period_s=1)
    upstream.answer(native_answers.answering(native_answers.message("a", "b"), pause=[Hang()]))
    id = service.post("/v2/responses", RESPONSE).json["id"]
    with service.send("GET", f"/v2/responses/{id}?stream=true") as reply:
        events = reply.events()
        for _ in range(6):
            next(events)
    replies: list[Reply] = []
    address = f"/v2/responses/{id}?stream=true&starting_after=5"
    follower = threading.Thread(target=lambda: replies.append(service.request("GET", address)))
    follower.start()
    time.sleep(0.5)
    terminate(service)
    follower.join()
    assert replies[0].status == 503
    assert assert_valid("ErrorResponse", replies[0].json)["error"]["code"] == "service_stopping"
    assert int(replies[0].headers["retry-after"]) >= 1
    assert_ended(service, within_s=5)


def test_a_request_that_outlives_the_grace_period_is_a_503(start: Start, upstream: ScriptedUpstream) -> None:
    service = start(grace_period_s=1)
    upstream.answer(Answer([Hang()]))
    replies: list[Reply] = []
    caller = threading.Thread(target=lambda: replies.append(service.post("/v2/chat/completions", CHAT)))
    caller.start()
    upstream.wait_requests()
    terminate(service)
    caller.join()
    assert replies[0].status == 503
    assert int(replies[0].headers["retry-after"]) >= 1
    assert_valid("ErrorResponse", replies[0].json)
    assert_ended(service, within_s=5)


def test_idle_connections_do_not_hold_up_the_end(start: Start, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("Hello"))
    service = start(grace_period_s=20)
    kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    with contextlib.closing(kept), socket.create_connection(("127.0.0.1", service.port)):
        kept.request("GET", "/health/live")
        kept.getresponse().read()
        terminate(service)
        assert_ended(service, within_s=5)


def test_an_interrupt_from_the_keyboard_ends_it_in_order_as_well(start: Start) -> None:
    service = start(grace_period_s=20)
    assert service.process is not None
    service.process.send_signal(signal.SIGINT)
    assert_ended(service, within_s=5)


def test_a_hang_up_of_any_process_changes_nothing(start: Start, upstream: ScriptedUpstream) -> None:
    service = start(grace_period_s=20, workers=2)
    before = service.processes()
    barrier = Barrier()
    upstream.answer(sse_answer([*EVENTS[:2], barrier, *EVENTS[2:], DONE]))
    with service.send("POST", "/v2/chat/completions", CHAT | {"stream": True}) as reply:
        events = reply.events()
        begun = [next(events), next(events)]
        for process in before:
            os.kill(process.pid, signal.SIGHUP)
        time.sleep(0.3)
        barrier.release()
        assert_valid_stream("chat", [*begun, *events])
    assert service.processes() == before
    service.stop()


def test_the_service_of_a_terminal_that_is_gone_ends_in_order(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    config = f'[[models]]\nid = "m"\n[[models.upstreams]]\nbase_url = "{upstream.base_url}"\n'
    service = Service(tmp_path / "service", config)
    terminal, side = os.openpty()
    service.log.symlink_to(os.ttyname(side))
    try:
        service.start()
        os.close(side)
        service.wait_ready()
        os.close(terminal)
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        assert_ended(service, within_s=10)
    finally:
        service.destroy()
