"""Several servers of one model: who is asked, who is asked next, and when nobody is."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from backends.played import call
from backends.pools import BODY, NOBODY, Clock, cancelled, failure_of, open_circuit, pool_of, said, upstream_at
from fundament.backends.circuit import FIRST_WAIT_S
from fundament.backends.profiles import PROFILES
from fundament.errors import (
    InvalidRequest,
    RequestError,
    Unavailable,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamTimeout,
)
from scripted_answers import Answer, Close, Hang, Reset, chat_answer, chat_events, error_answer, sse_answer
from scripted_upstream import ScriptedUpstream

OVERFLOW = "This model's maximum context length is 10 tokens. However, your messages resulted in 20 tokens."


@pytest.fixture
def second() -> Iterator[ScriptedUpstream]:
    """Another server beside `upstream`: it always answers."""
    with ScriptedUpstream() as server:
        server.default(chat_answer("second"))
        yield server


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address where no connection is accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filling = [socket.socket() for _ in range(4)]
        for each in filling:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for each in filling:
            each.close()


async def test_the_one_with_the_most_room_is_asked_in_proportion_and_the_line_is_the_last_resort(
    upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    for server in (upstream, second):
        server.default(Answer([Hang()]))
    clock = Clock()
    async with (
        upstream_at(upstream.base_url, clock, limit=4) as large,
        upstream_at(second.base_url, clock, limit=2) as small,
        pool_of() as pool,
    ):
        pool.upstreams += [large, small]
        seen, tasks = [], []
        for _ in range(9):
            before = (large.gate.free - large.gate.waiting, small.gate.free - small.gate.waiting)
            tasks.append(asyncio.create_task(pool.open(call(body=BODY))))
            await asyncio.sleep(0)
            after = (large.gate.free - large.gate.waiting, small.gate.free - small.gate.waiting)
            seen.append("large" if after[0] < before[0] else "small")
        assert seen[:6] == ["large", "small", "large", "large", "small", "large"]
        assert seen[6:] == ["large", "small", "large"], "in line: where it is the shortest for so many places"
        assert (large.gate.waiting, small.gate.waiting) == (2, 1)
        await cancelled(*tasks)
        assert (large.gate.free, small.gate.free) == (4, 2)


@pytest.mark.parametrize(
    "broken",
    [
        *(error_answer(status, "no") for status in (429, 500, 501, 502, 503, 504, 529)),
        *(error_answer(status, "no", code="invalid_api_key") for status in (401, 403)),
        error_answer(404, "The model does not exist.", code="model_not_found", param="model"),
        Answer([Close(), b"x"]),
        Answer([Reset(), b"x"]),
        Answer([b"SSH-2.0\r\n"], framing="raw"),
        Answer([b"x", Close(), b"y"], status=500),
    ],
    ids=lambda answer: f"{answer.status} {answer.steps[0]!r:.12}",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_another_is_asked_when_one_is_at_fault_and_has_not_begun(
    upstream: ScriptedUpstream, second: ScriptedUpstream, broken: Answer, stream: bool
) -> None:
    upstream.answer(broken)
    second.default(sse_answer([b"data: [DONE]\n\n"]) if stream else chat_answer("second"))
    async with pool_of(upstream.base_url, second.base_url) as pool:
        answer = await pool.open(call(body=BODY, stream=stream))
        assert await (answer.read() if stream else answer.whole())
        answer.close()
        assert [each.gate.free for each in pool.upstreams] == [4, 4]
        assert pool.told == [0]
    assert (len(upstream.requests), len(second.requests)) == (1, 1)


async def test_another_is_asked_when_one_cannot_be_reached(second: ScriptedUpstream, deaf: str) -> None:
    async with pool_of(NOBODY, deaf, second.base_url, connect_timeout_s=0.2) as pool:
        assert b"second" in await said(pool)
        assert pool.told == [0, 1]


@pytest.mark.parametrize(
    ("refused", "seen"),
    [
        (error_answer(400, "no"), UpstreamRefused),
        (error_answer(404, "no", param="messages"), UpstreamRefused),
        (error_answer(422, "no"), UpstreamRefused),
        (error_answer(500, OVERFLOW), InvalidRequest),
    ],
)
async def test_a_fault_of_the_request_is_told_at_once_and_no_fault_of_the_server(
    upstream: ScriptedUpstream, second: ScriptedUpstream, refused: Answer, seen: type[RequestError]
) -> None:
    upstream.default(refused)
    async with pool_of(upstream.base_url, second.base_url) as pool:
        for _ in range(10):
            assert isinstance(await failure_of(pool), seen)
        assert (pool.told, pool.upstreams[0].rest_s) == ([], 0)
    assert len(second.requests) == 0


async def test_who_is_silent_may_still_be_at_it_and_no_other_is_asked(
    upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.default(Answer([Hang()]))
    async with pool_of(upstream.base_url, second.base_url, first_byte_timeout_s=0.1) as pool:
        assert isinstance(await failure_of(pool), UpstreamTimeout)
    assert len(second.requests) == 0


async def test_silence_in_a_row_opens_the_circuit(upstream: ScriptedUpstream) -> None:
    upstream.default(Answer([Hang()]))
    async with upstream_at(upstream.base_url, Clock(), limit=9, first_byte_timeout_s=0.1) as server:
        failures = await asyncio.gather(*(failure_of(server) for _ in range(5)))
        assert {type(failure) for failure in failures} == {UpstreamTimeout}
        assert server.rest_s == FIRST_WAIT_S


@pytest.mark.parametrize("rest", [[Close()], [Reset()], [Hang()], [b"data: {}"]])
async def test_an_answer_that_has_begun_is_never_asked_for_again(
    upstream: ScriptedUpstream, second: ScriptedUpstream, rest: list[Close | Reset | Hang | bytes]
) -> None:
    upstream.default(sse_answer([*chat_events(["a"])[:2], *rest]))
    async with pool_of(upstream.base_url, second.base_url, idle_timeout_s=0.2) as pool:
        answer = await pool.open(call(body=BODY))
        with pytest.raises(RequestError):
            while True:
                await answer.read()
        answer.close()
        assert pool.told == []
    assert (len(upstream.requests), len(second.requests)) == (1, 0)


async def test_each_is_asked_once_and_the_last_failure_is_told(
    upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.default(error_answer(500, "first"))
    second.default(error_answer(429, "last"))
    async with pool_of(upstream.base_url, second.base_url) as pool:
        failure = await failure_of(pool)
        assert (failure.status, failure.message) == (429, "last")
        assert pool.told == [0]
    assert (len(upstream.requests), len(second.requests)) == (1, 1)


async def test_one_with_an_open_circuit_is_not_asked_until_its_time_is_over(
    upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.default(error_answer(500, "no"))
    clock = Clock()
    async with pool_of(upstream.base_url, second.base_url, clock=clock) as pool:
        for _ in range(20):
            assert b"second" in await said(pool)
        assert len(upstream.requests) == 5
        clock.now += FIRST_WAIT_S
        for _ in range(5):  # the trial's client does not notice, either
            assert b"second" in await said(pool)
        assert len(upstream.requests) == 6
        clock.now += 2 * FIRST_WAIT_S
        upstream.default(chat_answer("first"))
        assert [b"first" in await said(pool) for _ in range(5)] == [True] * 5


async def test_nobody_is_asked_while_all_circuits_are_open(upstream: ScriptedUpstream) -> None:
    upstream.default(error_answer(500, "no"))
    clock = Clock()
    async with pool_of(NOBODY, upstream.base_url, clock=clock) as pool:
        await open_circuit(pool.upstreams[0])
        clock.now += FIRST_WAIT_S
        await failure_of(pool.upstreams[0])  # two seconds from now
        await open_circuit(pool.upstreams[1])  # one second from now
        asked = len(upstream.requests)
        failure = await failure_of(pool)
        assert (failure.status, failure.code, failure.retry_after_s) == (503, "upstream_unavailable", 1)
        assert (len(upstream.requests), pool.told) == (asked, [])


async def test_a_full_line_is_no_failure_while_another_has_room_in_its_own(
    upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.default(Answer([Hang()]))
    clock = Clock()
    async with (
        upstream_at(upstream.base_url, clock, limit=100, queue=0) as full,
        upstream_at(second.base_url, clock, limit=1) as other,
        pool_of() as pool,
    ):
        pool.upstreams += [full, other]
        await full.gate.enter(100)
        await other.gate.enter()
        behind = asyncio.create_task(other.gate.enter())
        await asyncio.sleep(0)
        task = asyncio.create_task(said(pool))
        await asyncio.sleep(0)
        assert other.gate.waiting == 2
        other.gate.leave()
        await behind
        other.gate.leave()
        assert b"second" in await task
        assert pool.told == [0]


async def test_who_stands_in_line_when_the_circuit_opens_is_not_sent(upstream: ScriptedUpstream) -> None:
    upstream.default(error_answer(500, "no"))
    async with upstream_at(upstream.base_url, Clock(), limit=1, queue=20) as server:
        failures = await asyncio.gather(*(failure_of(server) for _ in range(12)))
        assert [type(failure) for failure in failures] == [UpstreamFailure] * 5 + [Unavailable] * 7
        assert server.gate.free == 1
    assert len(upstream.requests) == 5


async def test_nobody_stands_in_line_for_a_server_whose_circuit_is_open(upstream: ScriptedUpstream) -> None:
    upstream.default(error_answer(500, "no"))
    async with upstream_at(upstream.base_url, Clock()) as server:
        await open_circuit(server)
        await server.gate.enter(4)
        assert isinstance(await asyncio.wait_for(failure_of(server), 1), Unavailable)


async def test_a_server_that_refuses_a_request_is_alive(upstream: ScriptedUpstream) -> None:
    async with upstream_at(upstream.base_url, Clock()) as server:
        for status in (400, 429, 401):
            upstream.answer(*[error_answer(500, "no")] * 4, error_answer(status, "no"))
            for _ in range(5):
                await failure_of(server)
        assert server.rest_s == 0


async def test_who_leaves_during_the_trial_lets_the_next_be_it(upstream: ScriptedUpstream) -> None:
    upstream.default(error_answer(500, "no"))
    clock = Clock()
    async with upstream_at(upstream.base_url, clock) as server:
        await open_circuit(server)
        clock.now += FIRST_WAIT_S
        upstream.default(Answer([Hang()]))
        trial = asyncio.create_task(said(server))
        await asyncio.to_thread(upstream.wait_requests, 6)
        assert isinstance(await failure_of(server), Unavailable)
        await cancelled(trial)
        upstream.default(chat_answer("back"))
        assert b"back" in await said(server)
        assert (server.rest_s, server.gate.free) == (0, 4)


async def test_a_request_that_is_refused_here_is_no_trial(upstream: ScriptedUpstream) -> None:
    upstream.default(error_answer(500, "no"))
    clock = Clock()
    part = {"type": "image_url", "image_url": {"url": "http://images.example/1.png"}}
    async with upstream_at(upstream.base_url, clock, profile=PROFILES["vllm"]) as server:
        await open_circuit(server)
        clock.now += FIRST_WAIT_S
        refused = await failure_of(server, body={**BODY, "messages": [{"role": "user", "content": [part]}]})
        assert isinstance(refused, InvalidRequest)
        upstream.default(chat_answer("back"))
        assert b"back" in await said(server)


async def test_a_pool_counts_and_knows_what_its_upstreams_do() -> None:
    async with pool_of(NOBODY, NOBODY) as pool:
        assert pool.speaks_responses
        assert not pool.reasons
        with pytest.raises(InvalidRequest):
            await pool.count(call(body=BODY))
