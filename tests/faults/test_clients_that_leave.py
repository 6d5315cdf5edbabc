"""A client that leaves takes its work with it within 100 ms, wherever that work is, and no neighbour notices."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scripted_answers import DONE, Barrier, Hang, Step, chat_answer, chat_events, chat_stream, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Exchange, Service, wait_until
from specification import assert_valid_stream

MODEL = "SmolLM2-135M-Instruct"
AT_ONCE_S = 0.1
EVENTS = chat_events(["Hello", " you"])


def chat(model: str = "gpt-4.1", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Tell me a long story about a dragon."}]} | fields


def ask(service: Service, body: dict[str, Any]) -> Exchange:
    """A client that has sent its whole request and waits for the answer."""
    return service.send("POST", "/v2/chat/completions", body)


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
    with ask(scripted, chat(stream=stream)) as caller:
        upstream.wait_requests()
        if isinstance(steps[0], bytes) and steps[0].startswith(b"data"):
            next(caller.events())
        else:
            time.sleep(0.05)
        left_at = caller.leave(reset=reset)
    assert upstream.wait_closed(timeout_s=2) - left_at < AT_ONCE_S


def test_a_caller_that_leaves_the_line_is_never_sent_and_frees_its_place(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    """The model takes one request at a time and one may wait: a second waiting one is refused until that one leaves."""
    upstream.answer(sse_answer([*EVENTS[:2], Hang()]), chat_answer("next"))
    with contextlib.ExitStack() as stack:
        working = stack.enter_context(ask(scripted, chat("narrow-model", stream=True)))
        upstream.wait_requests()
        waiting = stack.enter_context(ask(scripted, chat("narrow-model", user="waiting")))
        time.sleep(0.05)
        assert scripted.post("/v2/chat/completions", chat("narrow-model")).status == 503
        waiting.leave()
        time.sleep(AT_ONCE_S)
        following = stack.enter_context(ask(scripted, chat("narrow-model", user="following")))
        time.sleep(0.05)
        left_at = working.leave()
        assert b'"next"' in following.read()
        assert upstream.wait_closed() - left_at < AT_ONCE_S
    assert [request.json.get("user") for request in upstream.requests] == [None, "following"]


def test_fifteen_neighbours_at_the_upstream_are_unharmed(scripted: Service, upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    upstream.default(sse_answer([*EVENTS[:2], barrier, *EVENTS[2:], DONE]))
    with contextlib.ExitStack() as stack:
        body = chat(stream=True)
        replies = [stack.enter_context(ask(scripted, body)) for _ in range(16)]
        upstream.wait_requests(16)
        left_at = replies.pop(7).leave()
        assert upstream.wait_closed() - left_at < AT_ONCE_S
        barrier.release()
        for reply in replies:
            assert_valid_stream("chat", reply.read())
    assert len(upstream.abandoned) == 1


# The embedded model. The engine hears of a leaving between two steps of its work, and a step takes many times as long
# when another process of the machine holds a core: any one attempt may be held up, so one of several must be in time.

ATTEMPTS = 10
PATIENCE_S = 20.0  # for what has no figure


@pytest.fixture(autouse=True)
def idle_slots(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "embedded" in request.fixturenames:
        embedded: Service = request.getfixturevalue("embedded")
        assert wait_until(lambda: embedded.busy_slots(MODEL) == 0, timeout_s=PATIENCE_S), (
            "a slot still works for nobody"
        )


def time_to_free(embedded: Service, body: dict[str, Any], working_s: float) -> float:
    """Seconds from a caller's leaving until a look at the engine finds its slot free."""
    with ask(embedded, body) as caller:
        assert wait_until(lambda: embedded.busy_slots(MODEL) == 1, PATIENCE_S)
        time.sleep(working_s)
        left_at = caller.leave()
    looked_at = time.monotonic()
    while embedded.busy_slots(MODEL):
        looked_at = time.monotonic()
    return looked_at - left_at


@pytest.mark.parametrize("stream", [False, True])
def test_the_engines_slot_is_free_at_once(embedded: Service, stream: bool) -> None:
    body = chat(MODEL, stream=stream, max_tokens=1500)
    assert any(time_to_free(embedded, body, working_s=0.3) < AT_ONCE_S for _ in range(ATTEMPTS))


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_whose_caller_left_is_not_read_to_its_end(embedded: Service, stream: bool) -> None:
    """Reading goes in steps of `batch_tokens`, a dozen or so here, in each of which the engine hears nothing."""

    def long_prompt(number: int) -> dict[str, Any]:  # another one each time, so that nothing of it is cached
        content = f"{stream} {number} dragons " * 150
        return chat(MODEL, stream=stream, messages=[{"role": "user", "content": content}], max_tokens=1)

    started_at = time.monotonic()
    assert embedded.post("/v2/chat/completions", long_prompt(0)).status == 200
    whole_s = time.monotonic() - started_at
    assert any(time_to_free(embedded, long_prompt(number), working_s=0) < whole_s / 3 for number in range(1, 4))


def test_fifteen_neighbours_in_the_engine_are_unharmed(embedded: Service) -> None:
    body = chat(MODEL, stream=True, max_tokens=32, temperature=0, stream_options={"include_usage": True})
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(ask(embedded, body)) for _ in range(16)]
        assert wait_until(lambda: embedded.busy_slots(MODEL) == 16, PATIENCE_S)
        callers.pop(7).leave()
        assert wait_until(lambda: embedded.busy_slots(MODEL) == 15, PATIENCE_S)
        for caller in callers:
            chunks = assert_valid_stream("chat", list(caller.events()), usage=True)
            assert chunks[-1]["usage"]["completion_tokens"] == 32


def test_a_caller_behind_full_slots_that_leaves_is_never_computed(embedded: Service) -> None:
    long = chat(MODEL, stream=True, max_tokens=1500)
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(ask(embedded, long))
        assert wait_until(lambda: embedded.busy_slots(MODEL) == 16, PATIENCE_S)
        with ask(embedded, long):
            time.sleep(0.2)
        time.sleep(AT_ONCE_S)
    assert wait_until(lambda: embedded.busy_slots(MODEL) == 0, PATIENCE_S)
    time.sleep(0.3)
    assert embedded.busy_slots(MODEL) == 0


def test_what_was_used_until_a_caller_left_is_recorded(scripted: Service, upstream: ScriptedUpstream) -> None:
    def outcomes() -> list[str]:
        lines = [line for file in (scripted.data / "usage").iterdir() for line in file.read_bytes().splitlines()]
        return [json.loads(line).get("outcome") for line in lines]

    before = outcomes()
    upstream.answer(sse_answer([*EVENTS[:2], Hang()]), chat_stream(["Hello"]))
    with ask(scripted, chat(stream=True)) as caller:
        next(caller.events())
    upstream.wait_closed()
    assert scripted.post("/v2/chat/completions", chat(stream=True)).status == 200
    assert wait_until(lambda: len(outcomes()) == len(before) + 2, timeout_s=3)
    assert sorted(outcomes()[len(before) :]) == ["cancelled", "completed"]
