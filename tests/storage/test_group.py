"""The group writer without a database: who waits for what, and who hears of a failure."""

import asyncio
from collections.abc import Sequence

import pytest

from fundament.errors import Unavailable
from fundament.storage.group import MOST_BYTES, MOST_CHANGES, MOST_WAITING, GroupWriter


class Target:
    """Takes groups, once it is `released`; the next write meets `failure`."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.released = asyncio.Event()
        self.failure: BaseException | None = None

    async def write(self, changes: Sequence[int]) -> None:
        self.groups.append(list(changes))
        await self.released.wait()
        failure, self.failure = self.failure, None
        if failure:
            raise failure


def start(writer: GroupWriter[int], *changes: int, size_bytes: int = 1) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(writer.add(change, size_bytes)) for change in changes]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_changes_gather_while_others_are_written_and_keep_their_order() -> None:
    target = Target()
    writer = GroupWriter(target.write)
    first = start(writer, 1, 2)
    await turns()
    second = start(writer, 3, 4, 5)
    await turns()
    assert target.groups == [[1, 2]]
    assert not any(task.done() for task in first + second)
    target.released.set()
    await asyncio.gather(*first, *second)
    assert target.groups == [[1, 2], [3, 4, 5]]


async def test_a_group_is_bounded_in_number_and_bytes() -> None:
    target = Target()
    target.released.set()
    writer = GroupWriter(target.write)
    await asyncio.gather(*start(writer, *range(MOST_CHANGES + 1)))
    assert [len(group) for group in target.groups] == [MOST_CHANGES, 1]
    target.groups.clear()
    await asyncio.gather(
        *start(writer, 1, 2, 3, size_bytes=MOST_BYTES // 2), *start(writer, 4, size_bytes=MOST_BYTES * 9)
    )
    assert target.groups == [[1, 2], [3], [4]]


async def test_a_failure_is_told_to_its_group_alone() -> None:
    target = Target()
    writer = GroupWriter(target.write)
    first = start(writer, 1, 2)
    await turns()
    second = start(writer, 3)
    target.failure = Unavailable("The disk is full.")
    target.released.set()
    await asyncio.wait(first)
    await asyncio.gather(*second)
    failures = [task.exception() for task in first]
    assert [str(failure) for failure in failures] == ["The disk is full."] * 2
    assert failures[0] is not failures[1]


async def test_a_cancelled_caller_s_change_is_written_and_no_one_is_harmed() -> None:
    target = Target()
    writer = GroupWriter(target.write)
    tasks = start(writer, 1, 2, 3)
    await turns()
    tasks[1].cancel()
    waiting = start(writer, 4, 5)
    await turns()
    waiting[0].cancel()
    target.released.set()
    await asyncio.gather(tasks[0], tasks[2], waiting[1])
    assert target.groups == [[1, 2, 3], [4, 5]]


async def test_who_comes_when_too_many_wait_is_refused() -> None:
    target = Target()
    writer = GroupWriter(target.write)
    tasks = start(writer, *range(MOST_WAITING + MOST_CHANGES))
    await turns()
    tasks += start(writer, *range(MOST_CHANGES))
    await turns()
    refused = start(writer, -1)
    with pytest.raises(Unavailable):
        await refused[0]
    target.released.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count(None) >= MOST_WAITING


async def test_a_write_that_is_broken_off_leaves_no_one_waiting() -> None:
    target = Target()
    writer = GroupWriter(target.write)
    tasks = start(writer, 1, 2)
    await turns()
    tasks += start(writer, 3)
    await turns()
    assert writer._writing
    writer._writing.cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
    assert [type(result) for result in results] == [Unavailable] * 3
    target.released.set()
    await writer.add(4, 1)
    assert target.groups[-1] == [4]
