"""Responses and conversations under many writers, a writer's sudden death and a database that fails and comes back."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from databases import PostgreSQL
from fundament.errors import Unavailable
from fundament.gateway.state import Conversation, Json, StoredResponse
from fundament.storage.database import POSTGRESQL_CONNECTIONS, Batch, BatchWriter, open_database, reading, upgrade
from fundament.storage.group import MOST_CHANGES
from fundament.storage.state import StateRepository
from fundament.storage.tables import conversation_items, responses

SAVE = """
import asyncio, sys
from fundament.gateway.state import StoredResponse
from fundament.storage.database import open_database
from fundament.storage.state import StateRepository

async def main(url, process, count):
    engine = open_database(url)
    store = StateRepository(engine)
    async def save_some(saver):
        for number in range(count):
            id = f"resp_{process}_{saver}_{number}"
            one = StoredResponse(
                id=id, owner="alice", created_at=1.0, response={}, input=[], conversation_id="conv_1"
            )
            await store.save(one, [{"id": id}])
            sys.stdout.write(id + "\\n")
            sys.stdout.flush()
    await asyncio.gather(*(save_some(saver) for saver in range(8)))
    await engine.dispose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def start_saving(url: str, *, process: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SAVE, url, str(process), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stored(id: str, **fields: Any) -> StoredResponse:
    return StoredResponse(**{"id": id, "owner": "alice", "created_at": 1.0, "response": {}, "input": [], **fields})


def conversation(id: str) -> Conversation:
    return Conversation(id=id, owner="alice", created_at=1.0, metadata={})


@pytest.fixture
def store(engine: AsyncEngine) -> StateRepository:
    return StateRepository(engine)


async def item_ids(store: StateRepository, id: str) -> list[str]:
    items = await store.items("alice", id)
    assert items is not None
    return [item["id"] for item in items]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for are counts, not events
            await asyncio.sleep(0.01)


async def test_processes_that_append_to_one_conversation_lose_nothing_and_share_no_position(
    database_url: str, engine: AsyncEngine, store: StateRepository
) -> None:
    await store.add_conversation(conversation("conv_1"), [])
    processes = [start_saving(database_url, process=number, count=20) for number in range(4)]
    outputs = [await asyncio.to_thread(process.communicate) for process in processes]
    assert [errors for _, errors in outputs] == [""] * 4
    acknowledged = [line for output, _ in outputs for line in output.splitlines()]
    assert len(acknowledged) == 4 * 8 * 20
    assert sorted(await item_ids(store, "conv_1")) == sorted(acknowledged)
    async with reading(engine).connect() as connection:
        positions = sorted((await connection.execute(select(conversation_items.c.position))).scalars())
    assert positions == list(range(len(acknowledged)))


async def test_fifty_conversations_at_once_lose_nothing_and_mix_nothing(database_url: str) -> None:
    engines = [open_database(database_url) for _ in range(2)]  # as two processes
    stores = [StateRepository(engine) for engine in engines]

    async def converse(name: str) -> None:
        await stores[0].add_conversation(conversation(name), [])
        previous = None
        expected: list[str] = []
        for turn in range(20):
            store = stores[turn % 2]
            ids = [f"{name}_{turn}_{part}" for part in ("question", "answer")]
            items: list[Json] = [{"id": id} for id in ids]
            id = f"resp_{name}_{turn}"
            one = stored(id, input=items[:1], previous_response_id=previous, conversation_id=name)
            await store.save(one, items)
            expected += ids
            assert await item_ids(stores[1 - turn % 2], name) == expected
            history = await store.history("alice", id)
            assert [part["id"] for one in history for part in one.input] == expected[::2]
            previous = id

    await asyncio.gather(*(converse(f"conv_{number}") for number in range(50)))
    for engine in engines:
        await engine.dispose()


async def test_responses_deleted_saved_and_swept_at_once_end_in_no_failure(database_url: str) -> None:
    engines = [open_database(database_url) for _ in range(2)]
    stores = [StateRepository(engine) for engine in engines]
    ids = [f"resp_{number}" for number in range(50)]

    async def save(store: StateRepository, order: list[str]) -> None:
        for _ in range(5):
            await asyncio.gather(*(store.save(stored(id, runner="maker")) for id in order))
            await asyncio.gather(*(store.add_events(id, "maker", [(0, b"a"), (1, b"b")]) for id in reversed(order)))

    async def delete(store: StateRepository) -> None:
        for id in ids:
            await store.delete("alice", id)
            await store.sweep(2.0, 3)

    await asyncio.gather(save(stores[0], ids), save(stores[1], ids[::-1]), delete(stores[0]), delete(stores[1]))
    for engine in engines:
        await engine.dispose()


async def test_a_sweep_of_postgresql_passes_over_what_another_process_is_changing(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    await asyncio.to_thread(upgrade, url)
    engines = [open_database(url) for _ in range(2)]
    store = StateRepository(engines[0])
    for number in range(3):
        await store.save(stored(f"resp_{number}"))
    async with engines[1].begin() as changing, asyncio.timeout(5):
        await changing.execute(responses.update().where(responses.c.id == "resp_1").values(runner="runner_1"))
        assert await store.sweep(2.0, 10) == 2
    assert await store.sweep(2.0, 10) == 1
    for engine in engines:
        await engine.dispose()


async def test_every_acknowledged_save_of_a_killed_process_is_there(database_url: str, store: StateRepository) -> None:
    await store.add_conversation(conversation("conv_1"), [])
    process = start_saving(database_url, process=0, count=1_000_000)
    assert process.stdout
    lines = [process.stdout.readline()]
    start = time.monotonic()
    while len(lines) < 500 and time.monotonic() - start < 60:
        lines.append(await asyncio.to_thread(process.stdout.readline))
    os.kill(process.pid, signal.SIGKILL)
    rest, errors = await asyncio.to_thread(process.communicate)
    assert errors == ""
    acknowledged = [line.strip() for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")]
    assert len(acknowledged) >= 500
    kept = Counter(await item_ids(store, "conv_1"))
    assert all(kept[id] == 1 for id in acknowledged)
    for id in kept:  # both or neither
        assert await store.find("alice", id)


async def test_saves_that_come_together_share_a_few_transactions(
    store: StateRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Batch] = []
    write = BatchWriter.write

    async def counted(writer: BatchWriter, batch: Batch) -> None:
        batches.append(batch)
        await write(writer, batch)

    monkeypatch.setattr(BatchWriter, "write", counted)
    await asyncio.gather(*(store.save(stored(f"resp_{number}")) for number in range(2 * MOST_CHANGES)))
    assert len(batches) == 2
    assert await store.find("alice", "resp_0")
    assert await store.find("alice", f"resp_{2 * MOST_CHANGES - 1}")


async def test_a_failing_database_fails_every_waiter_and_serves_again_when_it_is_back(
    engine: AsyncEngine, store: StateRepository
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE responses RENAME TO away"))
    results = await asyncio.gather(
        *(store.save(stored(f"resp_{number}")) for number in range(20)),
        store.find("alice", "resp_1"),
        store.history("alice", "resp_1"),
        store.delete("alice", "resp_1"),
        store.orphans(1, 1),
        store.sweep(1, 1),
        store.add_events("resp_1", "maker", [(0, b"a")]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Unavailable] * 26
    assert not any("INSERT" in str(result) or "alice" in str(result) for result in results)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO responses"))
    await store.save(stored("resp_1"))
    assert await store.find("alice", "resp_1") == stored("resp_1")


async def test_a_failed_save_leaves_no_items(engine: AsyncEngine, store: StateRepository) -> None:
    await store.add_conversation(conversation("conv_1"), [])
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE responses RENAME TO away"))
    with pytest.raises(Unavailable):
        await store.save(stored("resp_1", conversation_id="conv_1"), [{"id": "msg_1"}])
    assert await item_ids(store, "conv_1") == []


async def test_a_postgresql_that_stops_and_starts_again_is_unavailable_meanwhile(
    postgresql: PostgreSQL,
) -> None:
    url = postgresql.new_database()
    await asyncio.to_thread(upgrade, url)
    engine = open_database(url)
    store = StateRepository(engine)
    outcomes: Counter[str] = Counter()
    saved: list[str] = []

    async def save(saver: int) -> None:
        for number in range(100_000):
            id = f"resp_{saver}_{number}"
            try:
                await store.save(stored(id))
                saved.append(id)
                outcomes["saved after a failure" if outcomes["failed"] else "saved"] += 1
            except Unavailable:
                outcomes["failed"] += 1
            await asyncio.sleep(0.01)

    savers = [asyncio.create_task(save(saver)) for saver in range(8)]
    try:
        for wanted, change in (("saved", postgresql.stop), ("failed", postgresql.start)):
            await until(lambda wanted=wanted: outcomes[wanted] >= 50)
            await asyncio.to_thread(change)
        await until(lambda: outcomes["saved after a failure"] >= 50)
    finally:
        for saver in savers:
            saver.cancel()
        results = await asyncio.gather(*savers, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 8
    for id in saved:
        assert await store.find("alice", id)
    await engine.dispose()


async def test_a_caller_who_is_cancelled_harms_no_other(store: StateRepository) -> None:
    saves = [asyncio.create_task(store.save(stored(f"resp_{number}"))) for number in range(100)]
    await asyncio.sleep(0)
    for save in saves[::3]:
        save.cancel()
    await asyncio.sleep(0)  # now the write may be under way
    for save in saves[1::3]:
        save.cancel()
    for save in saves:
        with contextlib.suppress(asyncio.CancelledError):
            await save
    await store.save(stored("resp_last"))
    for number in range(2, 100, 3):
        assert await store.find("alice", f"resp_{number}")


async def test_calls_that_are_cancelled_at_any_moment_cost_no_connection(
    engine: AsyncEngine, store: StateRepository
) -> None:
    connects: list[object] = []
    event.listen(engine.sync_engine, "connect", lambda *made: connects.append(made))
    await store.save(stored("resp_1"))
    await store.add_conversation(conversation("conv_1"), [])
    for step in range(100):
        calls = [
            asyncio.create_task(call)
            for call in (
                store.find("alice", "resp_1"),
                store.history("alice", "resp_1"),
                store.add_items("alice", "conv_1", [{"id": "msg_1"}]),
                store.set_metadata("alice", "conv_1", {}),
                store.save(stored("resp_2")),
            )
        ]
        await asyncio.sleep(step * 50e-6)
        for call in calls:
            call.cancel()
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()  # once more, while it cleans up
        await asyncio.wait(calls)
    async with asyncio.timeout(5):
        await asyncio.gather(*(store.find("alice", "resp_1") for _ in range(30)))
        await store.save(stored("resp_3"))
    assert len(connects) <= POSTGRESQL_CONNECTIONS
