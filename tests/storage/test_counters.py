"""Counters in memory and in Redis, asked the same: windows, places at once, budgets, and what is given back."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from counter_stores import RedisServer
from fundament.errors import Unavailable
from fundament.gateway.counters import WINDOW_MS, Counters, Demand, Verdict, given_back
from fundament.storage.counters import MemoryCounters, UnsharedCounters
from fundament.storage.redis_counters import RedisCounters

NONE = Demand("contract_a", "model", None, None, None, None, 0, 0)
BEGIN_MS = 1_000_000_000_000


class Clock:
    """Moved by the test; both kinds of counters read it."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS


class Told:
    """Counters, and the clock that they go by."""

    def __init__(self, counters: Counters, clock: Clock) -> None:
        self._counters = counters
        self._clock = clock

    async def reserve(self, demand: Demand) -> Verdict:
        if isinstance(self._counters, RedisCounters):
            self._counters.now_ms = self._clock.now_ms
        verdict = await self._counters.reserve(demand)
        assert verdict is not None
        return verdict

    async def settle(self, demand: Demand, verdict: Verdict, input_tokens: int = 0, output_tokens: int = 0) -> None:
        self._counters.settle(
            given_back(demand, verdict, input_tokens=input_tokens, output_tokens=output_tokens, cost_nanos=0)
        )
        if isinstance(self._counters, RedisCounters):
            self._counters._settle_waiting()
            while (sending := self._counters._sending) is not None:
                await sending

    def pass_time(self, time_ms: int) -> None:
        self._clock.now_ms += time_ms


@pytest.fixture(params=["memory", "redis"])
async def told(request: pytest.FixtureRequest) -> Any:
    clock = Clock()
    if request.param == "memory":
        yield Told(MemoryCounters(lambda: clock.now_ms * 1_000_000), clock)
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    counters = RedisCounters(server.url, allow=False)
    yield Told(counters, clock)
    await counters.close()


async def test_as_many_pass_as_the_limit_says_and_no_more(told: Told) -> None:
    demand = replace(NONE, requests_limit=3)
    verdicts = [await told.reserve(demand) for _ in range(5)]
    assert [verdict.refused for verdict in verdicts] == ["", "", "", "requests", "requests"]
    assert [verdict.requests for verdict in verdicts] == [1, 2, 3, 3, 3]


async def test_a_window_begins_with_its_first_request_and_ends_after_a_minute(told: Told) -> None:
    demand = replace(NONE, requests_limit=1)
    told.pass_time(12_345)
    first = await told.reserve(demand)
    assert (first.window_start_ms, first.now_ms) == (BEGIN_MS + 12_345, BEGIN_MS + 12_345)
    told.pass_time(WINDOW_MS - 1)
    assert (await told.reserve(demand)).refused == "requests"
    told.pass_time(1)
    again = await told.reserve(demand)
    assert (again.refused, again.window_start_ms) == ("", BEGIN_MS + 12_345 + WINDOW_MS)


async def test_a_request_takes_all_that_it_demands_or_nothing(told: Told) -> None:
    demand = replace(NONE, requests_limit=10, input_limit=100, output_limit=50, in_flight_limit=5)
    await told.reserve(replace(demand, input_tokens=60, output_tokens=30))
    refused = await told.reserve(replace(demand, input_tokens=10, output_tokens=21))
    assert refused.refused == "output_tokens"
    assert (refused.requests, refused.input_tokens, refused.output_tokens, refused.in_flight) == (1, 60, 30, 1)
    assert (await told.reserve(replace(demand, input_tokens=41, output_tokens=20))).refused == "input_tokens"
    assert (await told.reserve(replace(demand, input_tokens=40, output_tokens=20))).refused == ""


async def test_what_was_not_used_is_there_again_and_what_was_used_above_counts(told: Told) -> None:
    demand = replace(NONE, input_limit=100, output_limit=100, input_tokens=50, output_tokens=100)
    verdict = await told.reserve(demand)
    await told.settle(demand, verdict, input_tokens=70, output_tokens=10)
    seen = await told.reserve(replace(demand, input_tokens=0, output_tokens=0))
    assert (seen.requests, seen.input_tokens, seen.output_tokens) == (2, 70, 10)


async def test_what_belongs_to_a_window_that_is_over_changes_no_other(told: Told) -> None:
    demand = replace(NONE, output_limit=100, output_tokens=80)
    verdict = await told.reserve(demand)
    told.pass_time(WINDOW_MS)
    assert (await told.reserve(demand)).refused == ""
    await told.settle(demand, verdict)
    assert (await told.reserve(replace(demand, output_tokens=21))).refused == "output_tokens"


async def test_a_place_is_held_until_the_request_is_over_however_long(told: Told) -> None:
    demand = replace(NONE, in_flight_limit=1)
    verdict = await told.reserve(demand)
    told.pass_time(3 * WINDOW_MS)
    assert (await told.reserve(demand)).refused == "in_flight"
    await told.settle(demand, verdict)
    assert (await told.reserve(demand)).refused == ""


async def test_contracts_and_models_have_quotas_of_their_own(told: Told) -> None:
    demand = replace(NONE, requests_limit=1)
    for other in (demand, replace(demand, contract="contract_b"), replace(demand, model="other:model")):
        assert (await told.reserve(other)).refused == ""
        assert (await told.reserve(other)).refused == "requests"


async def test_a_budget_is_asked_for_once_and_never_passed(told: Told) -> None:
    demand = replace(NONE, budget_nanos=9_000_000_000_000_001, month=202611, cost_nanos=4)
    assert (await told.reserve(demand)).refused == "unseeded"
    seeded = replace(demand, spent_nanos=8_999_999_999_999_990)
    verdict = await told.reserve(seeded)
    assert verdict.refused == ""
    assert (await told.reserve(demand)).refused == ""
    assert (await told.reserve(seeded)).refused == "budget"
    await told.settle(seeded, verdict)  # cost nothing after all
    assert (await told.reserve(demand)).refused == ""
    assert (await told.reserve(replace(demand, month=202612))).refused == "unseeded"


async def test_several_workers_without_a_store_let_no_limited_request_pass() -> None:
    with pytest.raises(Unavailable, match=r"storage\.counters"):
        await UnsharedCounters().reserve(NONE)


async def test_windows_that_are_over_are_not_kept_for_ever() -> None:
    clock = Clock()
    counters = MemoryCounters(lambda: clock.now_ms * 1_000_000)
    for number in range(5000):
        clock.now_ms += 100
        await counters.reserve(replace(NONE, contract=f"contract_{number}", requests_limit=1))
    assert len(counters._quotas) <= 2000


LIMIT = st.none() | st.integers(10, 60)
LIMITS = st.builds(
    Demand,
    contract=st.just("contract_a"),
    model=st.sampled_from(["m", "n:1"]),
    requests_limit=st.none() | st.integers(1, 6),
    input_limit=LIMIT,
    output_limit=LIMIT,
    in_flight_limit=st.none() | st.integers(1, 4),
    input_tokens=st.just(0),
    output_tokens=st.just(0),
    budget_nanos=st.none() | st.integers(0, 60),
    month=st.just(202611),
)
RESERVE = st.tuples(
    st.just("reserve"), st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.none() | st.just(7))
)
SETTLE = st.tuples(st.just("settle"), st.tuples(st.integers(0, 5), st.integers(0, 15), st.integers(0, 15)))
PASS = st.tuples(st.just("pass"), st.sampled_from([1, 20_000, 59_999, 60_000]))
ACTIONS = st.lists(RESERVE | RESERVE | SETTLE | PASS, min_size=10, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(limits=LIMITS, actions=ACTIONS)
async def test_memory_and_redis_judge_alike_and_nothing_passes_a_limit(
    redis_server: RedisServer, limits: Demand, actions: list[tuple[str, Any]]
) -> None:
    redis_server.ask("FLUSHALL")
    clock = Clock()
    memory = Told(MemoryCounters(lambda: clock.now_ms * 1_000_000), clock)
    store = RedisCounters(redis_server.url, allow=False)
    shared = Told(store, clock)
    held: list[tuple[Demand, Verdict]] = []
    used: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    try:
        for action, what in actions:
            if action == "pass":
                clock.now_ms += what
            elif action == "reserve":
                names = ("input_tokens", "output_tokens", "cost_nanos", "spent_nanos")
                demand = replace(limits, **dict(zip(names, what, strict=True)))
                verdict = await memory.reserve(demand)
                assert verdict == await shared.reserve(demand)
                window = used[verdict.window_start_ms]
                if verdict.refused == "":
                    held.append((demand, verdict))
                    for place, amount in enumerate((1, demand.input_tokens, demand.output_tokens)):
                        window[place] += amount
                    _check_within(demand, window, len(held))
                assert window == [verdict.requests, verdict.input_tokens, verdict.output_tokens]
            elif held:
                demand, verdict = held.pop(what[0] % len(held))
                await memory.settle(demand, verdict, what[1], what[2])
                await shared.settle(demand, verdict, what[1], what[2])
                window = used[verdict.window_start_ms]
                window[1] += what[1] - demand.input_tokens
                window[2] += what[2] - demand.output_tokens
    finally:
        await store.close()


def _check_within(demand: Demand, window: list[int], in_flight: int) -> None:
    limits = (demand.requests_limit, demand.input_limit, demand.output_limit, demand.in_flight_limit)
    assert all(limit is None or used <= limit for limit, used in zip(limits, (*window, in_flight), strict=True))
