"""What a counter store adds: batches that are taken once, outages that nobody waits for, workers that die."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from redis.exceptions import ConnectionError as Disconnected

from counter_stores import RedisServer
from fundament.errors import Unavailable
from fundament.gateway.counters import Demand, given_back
from fundament.storage.redis_counters import BEAT_S, SETTLED_WITHIN_S, RedisCounters

DEMAND = Demand("contract_a", "model", 1000, 1000, 1000, 1, 0, 10)
FREE = Demand("contract_a", "model", 1000, 1000, 1000, None, 0, 10)
Open = Callable[..., RedisCounters]


@pytest.fixture
async def open_counters(redis_server: RedisServer) -> AsyncIterator[Open]:
    """Makes counters that run, each as of a worker of its own."""
    opened: list[tuple[RedisCounters, asyncio.Task[None]]] = []

    def one(*, allow: bool = False) -> RedisCounters:
        counters = RedisCounters(redis_server.url, allow=allow)
        opened.append((counters, asyncio.create_task(counters.run())))
        return counters

    yield one
    for counters, running in opened:
        await counters.close()
        running.cancel()


def calls(server: RedisServer) -> int:
    statistics: Any = server.ask("INFO", "commandstats")
    return sum(entry["calls"] for name, entry in statistics.items() if name.startswith("cmdstat_eval"))


async def settled(counters: RedisCounters) -> None:
    await asyncio.sleep(2 * SETTLED_WITHIN_S)
    while (sending := counters._sending) is not None:
        await sending


async def back(counters: RedisCounters) -> None:
    async with asyncio.timeout(10):
        while counters.down:  # noqa: ASYNC110 - it tells the log only
            await asyncio.sleep(0.05)


async def test_what_comes_together_goes_in_one_call(redis_server: RedisServer, open_counters: Open) -> None:
    counters = open_counters()
    await counters.reserve(FREE)
    before = calls(redis_server)
    verdicts = await asyncio.gather(*(counters.reserve(FREE) for _ in range(50)))
    assert sorted(verdict.requests for verdict in verdicts if verdict) == list(range(2, 52))
    assert calls(redis_server) == before + 1


async def test_workers_share_what_a_contract_has(open_counters: Open) -> None:
    workers = [open_counters() for _ in range(4)]
    demand = Demand("contract_a", "model", 100, None, None, None, 0, 0)
    verdicts = await asyncio.gather(*(worker.reserve(demand) for _ in range(50) for worker in workers))
    assert sum(verdict is not None and verdict.refused == "" for verdict in verdicts) == 100


async def test_a_batch_whose_answer_was_lost_is_taken_once(open_counters: Open) -> None:
    counters = open_counters()
    first = await counters.reserve(FREE)
    assert first is not None
    ask = counters._script

    async def lose(**sent: Any) -> bytes:
        counters._script = ask
        await ask(**sent)
        raise Disconnected

    counters._script = lose
    counters.settle(given_back(FREE, first, input_tokens=7, output_tokens=3, cost_nanos=0))
    with pytest.raises(Unavailable):
        await counters.reserve(DEMAND)
    await asyncio.sleep(0.7)
    await settled(counters)
    seen = await counters.reserve(DEMAND)
    assert seen is not None
    assert seen.refused == "", "the place of the request that was told that the store is away was not given back"
    assert (seen.requests, seen.input_tokens, seen.output_tokens) == (3, 7, 13)


async def test_a_batch_that_was_given_up_and_comes_late_is_not_taken(open_counters: Open) -> None:
    counters = open_counters()
    ask = counters._script
    given_up: list[dict[str, Any]] = []

    async def hold(**sent: Any) -> bytes:
        counters._script = ask
        given_up.append(sent)
        raise Disconnected

    counters._script = hold
    with pytest.raises(Unavailable):
        await counters.reserve(FREE)
    await back(counters)
    await ask(**given_up[0])
    seen = await counters.reserve(FREE)
    assert seen is not None
    assert seen.requests == 1


@pytest.mark.parametrize("allow", [False, True])
async def test_nobody_waits_for_a_store_that_is_away(
    redis_server: RedisServer, open_counters: Open, *, allow: bool
) -> None:
    counters = open_counters(allow=allow)
    held = await counters.reserve(FREE)
    assert held is not None

    async def timed() -> float:
        started = time.monotonic()
        if allow:
            assert await counters.reserve(FREE) is None
        else:
            with pytest.raises(Unavailable) as refused:
                await counters.reserve(FREE)
            assert (refused.value.code, refused.value.retry_after_s) == ("limits_unavailable", 1)
        return time.monotonic() - started

    with structlog.testing.capture_logs() as lines:
        redis_server.stop()
        try:
            assert max([await timed() for _ in range(2)]) < 1.5
            assert counters.down
            assert max([await timed() for _ in range(20)]) < 0.05
            counters.settle(given_back(FREE, held, input_tokens=0, output_tokens=0, cost_nanos=0))
        finally:
            redis_server.start()
        await back(counters)
    assert [line["event"] for line in lines] == ["counters_down", "counters_back"]
    assert counters.outages == 1
    again = await counters.reserve(FREE)
    assert again is not None
    assert again.requests == 1


async def test_a_store_that_hangs_is_given_a_second(redis_server: RedisServer, open_counters: Open) -> None:
    counters = open_counters()
    await counters.reserve(FREE)
    redis_server.ask("CLIENT", "PAUSE", "2500")
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await counters.reserve(FREE)
    assert time.monotonic() - started < 1.5
    await back(counters)
    seen = await counters.reserve(FREE)
    assert seen is not None
    assert seen.output_tokens == 20, "what the paused server took later was not given back"


async def test_a_caller_that_leaves_while_it_is_asked_for_holds_nothing(open_counters: Open) -> None:
    counters = open_counters()
    asking = asyncio.create_task(counters.reserve(DEMAND))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    await settled(counters)
    seen = await counters.reserve(DEMAND)
    assert seen is not None
    assert (seen.refused, seen.output_tokens) == ("", 10)


async def test_what_a_dead_worker_had_in_flight_does_not_count(redis_server: RedisServer, open_counters: Open) -> None:
    dead, alive = RedisCounters(redis_server.url, allow=False), open_counters()
    await dead.reserve(DEMAND)
    await dead._redis.aclose()
    refused = await alive.reserve(DEMAND)
    assert refused is not None
    assert refused.refused == "in_flight"
    lease = f"fundament:worker:{dead._worker}"
    assert 0 < int(str(redis_server.ask("PTTL", lease))) <= 15_000
    redis_server.ask("DEL", lease)  # as it goes by itself
    passed = await alive.reserve(DEMAND)
    assert passed is not None
    assert passed.refused == ""


async def test_a_store_that_forgot_is_told_what_is_in_flight(redis_server: RedisServer, open_counters: Open) -> None:
    one, other = open_counters(), open_counters()
    await one.reserve(DEMAND)
    redis_server.ask("FLUSHALL")
    one._beat_at -= BEAT_S
    await asyncio.sleep(0.7)
    await settled(one)
    refused = await other.reserve(DEMAND)
    assert refused is not None
    assert refused.refused == "in_flight"


async def test_corrections_that_wait_are_made_before_the_end(redis_server: RedisServer, open_counters: Open) -> None:
    counters = RedisCounters(redis_server.url, allow=False)
    verdict = await counters.reserve(FREE)
    assert verdict is not None
    counters.settle(given_back(FREE, verdict, input_tokens=1, output_tokens=2, cost_nanos=0))
    await counters.close()
    seen = await open_counters().reserve(FREE)
    assert seen is not None
    assert (seen.input_tokens, seen.output_tokens) == (1, 12)
