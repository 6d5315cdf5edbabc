"""The line before a backend: never too many inside, first come first served, and who leaves it leaves no trace."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundament.backends.gate import Gate
from fundament.errors import Unavailable


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


class Visitor:
    """One caller: waits in line, is inside until told to leave."""

    def __init__(self, gate: Gate, places: int, log: list["Visitor"]) -> None:
        self.places = places
        self.waited = False
        self.overtook = False
        self.inside = False
        self._go = asyncio.Event()
        self._log = log
        self.task = asyncio.create_task(self._visit(gate))

    async def _visit(self, gate: Gate) -> None:
        waiting = asyncio.get_running_loop().call_soon(self._wait)
        await gate.enter(self.places)
        waiting.cancel()
        self.overtook = not self.waited and gate.waiting > 0
        self.inside = True
        self._log.append(self)
        try:
            await self._go.wait()
        finally:
            self.inside = False
            gate.leave(self.places)

    def _wait(self) -> None:
        self.waited = True

    def leave(self) -> None:
        self._go.set()


async def test_up_to_the_limit_enter_at_once_and_the_next_waits_for_the_first_to_leave() -> None:
    gate = Gate(2, 5)
    log: list[Visitor] = []
    visitors = [Visitor(gate, 1, log) for _ in range(4)]
    await settled()
    assert log == visitors[:2]
    assert (gate.free, gate.waiting) == (0, 2)
    visitors[1].leave()
    await settled()
    assert log == visitors[:3]
    for visitor in visitors:
        visitor.leave()
    await asyncio.gather(*(visitor.task for visitor in visitors))
    assert (gate.free, gate.waiting) == (2, 0)


async def test_a_full_line_turns_away_with_a_time_to_come_again() -> None:
    gate = Gate(1, 1)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await settled()
    with pytest.raises(Unavailable) as caught:
        await gate.enter()
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "overloaded", 1)
    gate.leave()
    await waiting
    assert gate.free == 0


async def test_who_needs_several_places_is_not_overtaken_by_who_needs_one() -> None:
    gate = Gate(3, 5)
    log: list[Visitor] = []
    visitors = [Visitor(gate, places, log) for places in (2, 3, 1)]
    await settled()
    assert log == visitors[:1]
    visitors[0].leave()
    await settled()
    assert log == visitors[:2]
    visitors[1].leave()
    await settled()
    assert log == visitors
    visitors[2].leave()
    await visitors[2].task


async def test_who_gives_up_in_front_lets_those_behind_in() -> None:
    gate = Gate(2, 5)
    await gate.enter()
    big = asyncio.create_task(gate.enter(2))
    small = asyncio.create_task(gate.enter(1))
    await settled()
    assert not small.done()
    big.cancel()
    await settled()
    assert small.done()
    assert (gate.free, gate.waiting) == (0, 0)


@pytest.mark.parametrize("leave_first", [True, False])
async def test_a_place_that_frees_as_its_waiter_gives_up_goes_to_the_next(leave_first: bool) -> None:
    gate = Gate(1, 5)
    await gate.enter()
    first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
    await settled()
    if leave_first:
        gate.leave()
        first.cancel()
    else:
        first.cancel()
        gate.leave()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 1)
    assert (gate.free, gate.waiting) == (0, 0)
    gate.leave()
    assert gate.free == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "come", "leave", "cancel", "tick"]), st.integers(0, 30), st.integers(1, 4)
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(limit=st.integers(1, 4), queue=st.integers(0, 6), steps=STEPS)
def test_in_any_order_of_coming_leaving_and_giving_up_the_gate_keeps_count(
    limit: int, queue: int, steps: list[tuple[str, int, int]]
) -> None:
    asyncio.run(play(limit, queue, steps))


async def play(limit: int, queue: int, steps: list[tuple[str, int, int]]) -> None:
    gate = Gate(limit, queue)
    entered: list[Visitor] = []
    visitors: list[Visitor] = []
    for action, which, places in steps:
        alive = [visitor for visitor in visitors if not visitor.task.done()]
        if action == "come":
            visitors.append(Visitor(gate, min(places, limit), entered))
        elif action == "tick":
            await settled()
        elif alive:
            visitor = alive[which % len(alive)]
            visitor.leave() if action == "leave" else visitor.task.cancel()
        inside = sum(visitor.places for visitor in visitors if visitor.inside)
        assert 0 <= gate.free <= limit - inside
        assert gate.waiting <= queue
    for visitor in visitors:
        visitor.leave()
    ends = await asyncio.wait_for(asyncio.gather(*(v.task for v in visitors), return_exceptions=True), 5)
    assert {type(end) for end in ends} <= {type(None), Unavailable, asyncio.CancelledError}
    assert (gate.free, gate.waiting) == (limit, 0)
    # Who is let in from the line goes in a moment later. Who comes in that moment may find a place and be in before.
    order = [visitors.index(visitor) for visitor in entered if visitor.waited]
    assert order == sorted(order), "somebody was overtaken in the line"
    assert not any(visitor.overtook for visitor in entered), "the line was overtaken"


async def test_a_thousand_visitors_that_may_give_up_at_any_moment_lose_no_place() -> None:
    gate = Gate(4, 1000)
    dice = random.Random(7)  # noqa: S311 - a test that is the same each time
    most = inside = 0

    async def visit() -> None:
        nonlocal most, inside
        places = dice.randint(1, 4)
        await gate.enter(places)
        inside += places
        most = max(most, inside)
        try:
            await asyncio.sleep(dice.choice([0, 0.0005]))
        finally:
            inside -= places
            gate.leave(places)

    async def perhaps(visit: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(dice.choice([0.0005, 0.01, 10])):
                await visit()
        except TimeoutError:
            pass

    await asyncio.gather(*(perhaps(visit) for _ in range(1000)))
    assert most == 4
    assert (gate.free, gate.waiting, inside) == (4, 0, 0)


class Told:
    """What a gate says of its line."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.times: list[float] = []

    def waiting(self, count: int) -> None:
        self.lengths.append(count)

    def waited(self, seconds: float) -> None:
        self.times.append(seconds)


async def test_it_tells_how_long_the_line_is_and_how_long_each_stood_in_it() -> None:
    told = Told()
    gate = Gate(1, 5, told)
    await gate.enter()
    assert (told.lengths, told.times) == ([], [0.0])
    second, third = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
    await settled()
    assert told.lengths == [1, 2]
    await asyncio.sleep(0.02)
    gate.leave()
    await second
    assert told.lengths[-1] == 1
    assert 0.01 < told.times[-1] < 5
    third.cancel()
    await asyncio.wait([third])
    assert told.lengths[-1] == 0
    assert len(told.times) == 2, "one who gave up was not let in"
