"""Responses and conversations in a real SQLite file and a real PostgreSQL: what each method promises."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.gateway.state import Conversation, Json, StateStore, StoredResponse
from fundament.storage import state
from fundament.storage.database import open_database, reading
from fundament.storage.state import StateRepository
from fundament.storage.tables import conversation_items, response_events, responses, runners


@dataclass
class Opened:
    engine: AsyncEngine
    store: StateStore

    async def count(self, table: Any) -> int:
        async with reading(self.engine).connect() as connection:
            return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Opened]:
    engine = open_database(database_url)
    yield Opened(engine, StateRepository(engine))
    await engine.dispose()


@pytest.fixture
def store(opened: Opened) -> StateStore:
    return opened.store


def stored(id: str = "resp_1", owner: str = "alice", **fields: Any) -> StoredResponse:
    defaults: dict[str, Any] = {
        "created_at": 1_700_000_000.25,
        "response": {"id": id, "output": [{"type": "message", "text": "Grüße \0 \U0001f600"}], "temperature": 0.1},
        "input": [{"id": "msg_0", "role": "user"}],
    }
    return StoredResponse(id=id, owner=owner, **{**defaults, **fields})


def numbered(*numbers: int) -> list[Json]:
    return [{"id": f"msg_{number}", "number": number} for number in numbers]


async def converse(store: StateStore, id: str = "conv_1", owner: str = "alice", *numbers: int) -> Conversation:
    conversation = Conversation(id=id, owner=owner, created_at=1_700_000_000.25, metadata={"topic": "\0é"})
    await store.add_conversation(conversation, numbered(*numbers))
    return conversation


async def test_a_saved_response_is_found_as_it_was(store: StateStore) -> None:
    one = stored(previous_response_id="resp_0", conversation_id="conv_1", runner="runner_1")
    await store.save(one)
    assert await store.find("alice", "resp_1") == one


async def test_an_integer_beyond_64_bits_and_deep_json_survive(store: StateStore) -> None:
    value: Json = {"big": 10**30}
    for _ in range(100):
        value = {"within": value}
    await store.save(stored(response=value))
    found = await store.find("alice", "resp_1")
    assert found
    assert found.response == value


async def test_a_saved_response_is_replaced_by_its_next_state_but_keeps_its_time(store: StateStore) -> None:
    await store.save(stored(response={"status": "in_progress"}, runner="runner_1"))
    await store.save(stored(response={"status": "completed"}, input=[], created_at=5.0))
    assert await store.find("alice", "resp_1") == stored(response={"status": "completed"}, input=[])


async def test_a_response_is_its_owners_alone(store: StateStore) -> None:
    await store.save(stored())
    await store.save(stored("resp_2", "bob", previous_response_id="resp_1"))
    assert await store.find("bob", "resp_1") is None
    assert await store.history("bob", "resp_1") == []
    assert [one.id for one in await store.history("bob", "resp_2")] == ["resp_2"]
    assert not await store.delete("bob", "resp_1")
    await store.save(stored("resp_1", "bob", response={"stolen": True}))
    assert await store.find("alice", "resp_1") == stored()
    assert await store.find("bob", "resp_1") is None


async def test_a_history_is_the_chain_with_the_oldest_first(store: StateStore) -> None:
    previous = None
    for number in range(200):
        await store.save(stored(f"resp_{number}", created_at=float(-number), previous_response_id=previous))
        previous = f"resp_{number}"
    await store.save(stored("resp_fork", previous_response_id="resp_1"))
    await store.history("alice", "resp_199")
    start = time.perf_counter()
    history = await store.history("alice", "resp_199")
    assert time.perf_counter() - start < 0.1  # 3 ms alone
    assert [one.id for one in history] == [f"resp_{number}" for number in range(200)]
    assert [one.id for one in await store.history("alice", "resp_fork")] == ["resp_0", "resp_1", "resp_fork"]
    assert await store.history("alice", "resp_unknown") == []


async def test_a_history_is_bounded(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LONGEST_HISTORY", 3)
    for number in range(5):
        await store.save(stored(f"resp_{number}", previous_response_id=f"resp_{number - 1}"))
    assert [one.id for one in await store.history("alice", "resp_4")] == ["resp_2", "resp_3", "resp_4"]


async def test_a_deleted_response_is_gone_with_its_events_and_ends_a_history(opened: Opened) -> None:
    store = opened.store
    for number in range(3):
        await store.save(stored(f"resp_{number}", previous_response_id=f"resp_{number - 1}", runner="maker"))
        await store.add_events(f"resp_{number}", "maker", [(0, b"a"), (1, b"b")])
    assert await store.delete("alice", "resp_1")
    assert not await store.delete("alice", "resp_1")
    assert await store.find("alice", "resp_1") is None
    assert await store.events("resp_1", -1) == []
    assert await opened.count(response_events) == 4
    assert [one.id for one in await store.history("alice", "resp_2")] == ["resp_2"]


async def test_a_conversation_is_found_changed_and_deleted_by_its_owner_alone(opened: Opened) -> None:
    store = opened.store
    conversation = await converse(store, "conv_1", "alice", 1, 2)
    assert await store.find_conversation("alice", "conv_1") == conversation
    assert await store.find_conversation("bob", "conv_1") is None
    assert not await store.set_metadata("bob", "conv_1", {"a": "b"})
    assert await store.items("bob", "conv_1") is None
    assert not await store.add_items("bob", "conv_1", numbered(9))
    assert not await store.delete_item("bob", "conv_1", "msg_1")
    assert not await store.delete_conversation("bob", "conv_1")
    await store.save(stored("resp_2", "bob", conversation_id="conv_1"), numbered(9))

    assert await store.items("alice", "conv_1") == numbered(1, 2)
    assert await store.set_metadata("alice", "conv_1", {"a": "\0"})
    found = await store.find_conversation("alice", "conv_1")
    assert found
    assert found.metadata == {"a": "\0"}
    assert await store.delete_conversation("alice", "conv_1")
    assert not await store.delete_conversation("alice", "conv_1")
    assert not await store.set_metadata("alice", "conv_1", {})
    assert not await store.add_items("alice", "conv_1", numbered(9))
    assert await store.items("alice", "conv_1") is None
    assert await opened.count(conversation_items) == 0


async def test_a_saved_response_s_items_come_after_those_before(store: StateStore) -> None:
    await converse(store, "conv_1", "alice", 1)
    await store.save(stored(conversation_id="conv_1"), numbered(2, 3))
    assert await store.add_items("alice", "conv_1", numbered(4))
    assert await store.items("alice", "conv_1") == numbered(1, 2, 3, 4)


async def test_a_response_is_saved_when_its_conversation_is_gone(opened: Opened) -> None:
    await opened.store.save(stored(conversation_id="conv_1"), numbered(1))
    assert await opened.store.find("alice", "resp_1") == stored(conversation_id="conv_1")
    assert await opened.count(conversation_items) == 0


async def test_items_are_paged_in_both_orders(store: StateStore) -> None:
    await converse(store, "conv_1", "alice", 1, 2, 3, 4, 5)
    await converse(store, "conv_2", "alice", 3)
    assert await store.items("alice", "conv_1", limit=2) == numbered(1, 2)
    assert await store.items("alice", "conv_1", after="msg_2", limit=2) == numbered(3, 4)
    assert await store.items("alice", "conv_1", after="msg_4", limit=2) == numbered(5)
    assert await store.items("alice", "conv_1", after="msg_5") == []
    assert await store.items("alice", "conv_1", order="desc", limit=2) == numbered(5, 4)
    assert await store.items("alice", "conv_1", order="desc", after="msg_3") == numbered(2, 1)
    assert await store.items("alice", "conv_1", after="msg_9") == []
    assert await store.items("alice", "conv_2", after="msg_1") == []
    assert await store.items("alice", "conv_9", after="msg_1") is None


async def test_items_are_found_by_their_ids_in_any_conversation_of_their_owner(store: StateStore) -> None:
    await converse(store, "conv_1", "alice", 1, 2, 3)
    await converse(store, "conv_2", "alice", 4)
    await converse(store, "conv_3", "bob", 5)
    await store.add_items("alice", "conv_1", [{"id": "msg_\0", "number": 6}])
    found = await store.find_items("alice", ["msg_4", "msg_1", "msg_5", "msg_9", "msg_\0"])
    assert {id: item["number"] for id, item in found.items()} == {"msg_1": 1, "msg_4": 4, "msg_\0": 6}
    assert await store.find_items("alice", []) == {}


async def test_an_empty_conversation_has_no_items(store: StateStore) -> None:
    await converse(store)
    assert await store.items("alice", "conv_1") == []
    assert await store.add_items("alice", "conv_1", [])


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_paging_ends_even_where_items_share_an_id(store: StateStore, order: Any) -> None:
    await converse(store, "conv_1", "alice", 1, 2, 1, 3, 1)
    after, pages = None, 0
    while items := await store.items("alice", "conv_1", order=order, after=after, limit=1):
        after, pages = items[0]["id"], pages + 1
        assert pages <= 5


async def test_a_deleted_item_is_gone_and_its_position_is_not_given_again(opened: Opened) -> None:
    store = opened.store
    await converse(store, "conv_1", "alice", 1, 2)
    assert await store.delete_item("alice", "conv_1", "msg_2")
    assert not await store.delete_item("alice", "conv_1", "msg_2")
    await store.add_items("alice", "conv_1", numbered(3))
    assert await store.items("alice", "conv_1") == numbered(1, 3)
    async with reading(opened.engine).connect() as connection:
        assert sorted((await connection.execute(select(conversation_items.c.position))).scalars()) == [0, 2]


async def test_ids_that_no_text_column_takes_are_ids_like_others(store: StateStore) -> None:
    await converse(store)
    item = {"id": "msg_\0", "number": 1}
    assert await store.add_items("alice", "conv_1", [item])
    assert await store.items("alice", "conv_1", after="msg_\0") == []
    assert await store.items("alice", "conv_1") == [item]
    assert await store.delete_item("alice", "conv_1", "msg_\0")
    assert await store.find("alice", "resp_\0") is None
    assert await store.find_conversation("alice", "conv_1\0") is None
    assert await store.events("resp_\0", 0) == []


async def test_events_are_given_in_order_after_a_number_and_kept_once(opened: Opened) -> None:
    store = opened.store
    await store.save(stored(runner="maker"))
    await store.save(stored("resp_2", runner="maker"))
    await store.add_events("resp_1", "maker", [(2, b"c"), (0, b"a\0"), (1, b"b")])
    await store.add_events("resp_2", "maker", [(1, b"other")])
    await store.add_events("resp_1", "maker", [(2, b"again"), (3, b"d")])
    await store.add_events("resp_1", "maker", [])
    assert await store.events("resp_1", -1) == [(0, b"a\0"), (1, b"b"), (2, b"c"), (3, b"d")]
    assert await store.events("resp_1", 1) == [(2, b"c"), (3, b"d")]
    await store.add_events("resp_gone", "maker", [(0, b"late")])
    assert await opened.count(response_events) == 5


async def test_orphans_are_responses_whose_runner_is_silent(opened: Opened) -> None:
    store, now = opened.store, time.time()
    await store.beat("alive")
    await store.beat("silent")
    await store.beat("silent")
    for number, runner in enumerate(["silent", "alive", None, "silent"]):
        await store.save(stored(f"resp_{number}", created_at=now + number, runner=runner))
    assert await store.orphans(60, 10) == []
    async with opened.engine.begin() as connection:
        await connection.execute(runners.update().where(runners.c.id == "silent").values(seen_at=now - 61))
    assert [one.id for one in await store.orphans(60, 10)] == ["resp_0", "resp_3"]
    assert await store.orphans(60, 1) == [stored("resp_0", created_at=now, runner="silent")]
    await store.save(stored("resp_0", runner=None))
    assert [one.id for one in await store.orphans(60, 10)] == ["resp_3"]
    await store.beat("silent")
    assert await store.orphans(60, 10) == []


async def test_only_who_makes_a_response_replaces_it(opened: Opened) -> None:
    store = opened.store
    await store.add_conversation(Conversation(id="conv_1", owner="alice", created_at=1.0, metadata={}), [])
    await store.save(stored(runner="maker", conversation_id="conv_1"))
    done = stored(response={"output": ["done"]}, conversation_id="conv_1")
    for other in ("another", ""):
        assert not await store.replace(done, other, [(0, b"a")], [{"id": "msg_1"}])
    assert not await store.replace(stored(owner="bob"), "maker", [(0, b"a")])
    assert await store.events("resp_1", -1) == []
    assert await store.items("alice", "conv_1") == []
    assert await store.replace(done, "maker", [(0, b"a")], [{"id": "msg_1"}])
    assert await store.find("alice", "resp_1") == done
    assert await store.events("resp_1", -1) == [(0, b"a")]
    assert await store.items("alice", "conv_1") == [{"id": "msg_1"}]
    assert not await store.replace(done, "maker"), "it is nobody's any more"
    assert not await store.replace(stored("resp_gone"), "maker")
    assert await store.find("alice", "resp_gone") is None


async def test_events_are_kept_as_long_as_their_runner_makes_the_response(opened: Opened) -> None:
    store = opened.store
    await store.save(stored(runner="maker"))
    assert await store.add_events("resp_1", "maker", [(0, b"a")])
    assert await store.replace(stored(runner="taker"), "maker")
    late, kept = await asyncio.gather(
        store.add_events("resp_1", "maker", [(1, b"late")]), store.add_events("resp_1", "taker", [(1, b"b")])
    )
    assert (late, kept) == (False, True)
    assert await store.replace(stored(runner=None), "taker", [(2, b"c")])
    assert not await store.add_events("resp_1", "taker", [(3, b"late")])
    assert not await store.add_events("resp_gone", "taker", [(0, b"late")])
    assert await store.events("resp_1", -1) == [(0, b"a"), (1, b"b"), (2, b"c")]


async def test_a_runner_that_never_told_has_as_long_as_one_that_did(store: StateStore) -> None:
    await store.save(stored("resp_new", created_at=time.time(), runner="unheard"))
    await store.save(stored("resp_old", created_at=time.time() - 61, runner="unheard"))
    assert [one.id for one in await store.orphans(60, 10)] == ["resp_old"]


async def test_runners_that_are_long_silent_are_forgotten(opened: Opened) -> None:
    await opened.store.beat("old")
    async with opened.engine.begin() as connection:
        await connection.execute(runners.update().values(seen_at=time.time() - 90_000))
    await opened.store.beat("new")
    assert await opened.count(runners) == 1


async def test_a_sweep_deletes_the_oldest_up_to_its_limit(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SWEPT_RESPONSES", 4)
    monkeypatch.setattr(state, "SWEPT_EVENTS", 3)
    store = opened.store
    for number in range(15):
        await store.save(stored(f"resp_{number}", created_at=float(number), runner="maker"))
        await store.add_events(f"resp_{number}", "maker", [(event, b"event") for event in range(number % 5)])
    assert await store.sweep(0.0, 100) == 0
    assert await store.sweep(12.0, 10) == 10
    assert await opened.count(responses) == 5
    assert await opened.count(response_events) == 10
    assert await store.find("alice", "resp_10")
    assert await store.sweep(12.0, 10) == 2
    assert await store.sweep(12.0, 10) == 0
    assert [one.id for one in [await store.find("alice", f"resp_{n}") for n in range(15)] if one] == [
        "resp_12",
        "resp_13",
        "resp_14",
    ]
    assert await opened.count(response_events) == 9
