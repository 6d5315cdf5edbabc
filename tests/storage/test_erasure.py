"""A contract is erased: nothing of it is left in any table nor, with SQLite, in any byte; others keep all."""

import secrets
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.errors import InvalidChange, Unavailable, UnknownRecord
from fundament.gateway.meter import UsageRecord
from fundament.gateway.state import Conversation, StoredResponse
from fundament.gateway.usage import UsageQuery
from fundament.storage import erasure as module
from fundament.storage.audit import AuditRepository
from fundament.storage.contracts import ContractRepository
from fundament.storage.database import open_database, reading, upgrade
from fundament.storage.erasure import Erased, Erasure
from fundament.storage.keys import KeyRepository
from fundament.storage.state import StateRepository
from fundament.storage.tables import conversation_items, metadata, response_events, responses
from fundament.storage.usage import Move, UsageRepository

MARK = "TheTextOfTheContract"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSED_AFTER_S", 0)


def response(owner: str, text: str) -> StoredResponse:
    return StoredResponse(
        id=f"resp_{secrets.token_hex(8)}", owner=owner, created_at=1.0, response={"text": text}, input=[{"text": text}]
    )


def record(owner: str, number: int, time_s: float) -> UsageRecord:
    return UsageRecord(
        request_id=f"req_{owner}_{number}",
        time=time_s,
        contract_id=owner,
        key_id=f"key_{owner}",
        endpoint="responses",
        model="m",
        asked_model="m",
        stream=False,
        outcome="completed",
        input_tokens=1,
        output_tokens=1,
        duration_ms=1,
    )


async def fill(engine: AsyncEngine, name: str, text: str, count: int = 45) -> str:
    """A contract with a little of everything, more than one step deletes; its id."""
    contract = await ContractRepository(engine, ("unlimited",)).create(name, "unlimited", 5)
    await KeyRepository(engine).create(f"key of {name}", contract=name)
    state = StateRepository(engine)
    for number in range(count):
        stored = response(contract.id, f"{text} {secrets.token_hex(100 * (number % 40))} {text}")
        stored.runner = "runner_1"
        await state.save(stored)
        items = [{"id": f"msg_{item}", "text": text + "x" * item * 50} for item in range(20)]
        conversation = Conversation(id=f"conv_{name}_{number}", owner=contract.id, created_at=1.0, metadata={"a": text})
        await state.add_conversation(conversation, items)
    await state.add_events(stored.id, "runner_1", [(number, f"{text} {number}".encode()) for number in range(1200)])
    moved = [record(contract.id, number, 86_400.0 * (number % 3) + number) for number in range(1600)]
    await UsageRepository(engine).add(Move(segment=f"{name}.jsonl", position=1, last=True, records=moved))
    return contract.id


def files_with(directory: Path, *texts: str) -> list[str]:
    """The names of the files that have one of the texts in them, byte by byte."""
    return [path.name for path in directory.iterdir() if any(text.encode() in path.read_bytes() for text in texts)]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    upgrade(f"sqlite:///{tmp_path}/fundament.db")
    return f"sqlite:///{tmp_path}/fundament.db"


async def rows_with(engine: AsyncEngine, *texts: str) -> list[tuple[str, str]]:
    """Each row of any table that has one of the texts, with the name of its table."""
    found: list[tuple[str, str]] = []
    async with reading(engine).connect() as connection:
        for table in metadata.sorted_tables:
            rows = [str(row) for row in await connection.execute(select(table))]
            found += [(table.name, row) for row in rows if any(text in row for text in texts)]
    return found


async def counts(engine: AsyncEngine) -> list[int]:
    async with reading(engine).connect() as connection:
        return [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in metadata.sorted_tables
            if table.name not in {"audit", "revisions"}
        ]


async def test_nothing_of_the_contract_is_left_and_all_of_another_stays(engine: AsyncEngine) -> None:
    await fill(engine, "other", "text")
    before = await counts(engine)
    acme = await fill(engine, "acme", MARK)
    contract, erased = await Erasure(engine, "lea").erase("acme")
    assert erased == Erased(conversations=45, responses=45, requests=1600)
    assert (contract.id, contract.name, contract.monthly_budget_nanos) == (acme, acme, None)
    assert abs((contract.erased_at or 0) - time.time()) < 60
    assert contract.closed_at is not None
    left = await rows_with(engine, MARK, "acme", acme)
    # What is left is that a contract without a name was there, and who erased it.
    assert {table for table, _ in left} == {"contracts", "audit"}
    assert not any("acme" in row or MARK in row for _, row in left)
    after = await counts(engine)
    assert sum(after) == sum(before) + 1
    assert len(await UsageRepository(engine).report(UsageQuery(by=("contract",)))) == 1
    listed = await ContractRepository(engine, ()).list()
    assert [contract.name for contract in listed] == ["other"]
    entries = await AuditRepository(engine).list(2)
    assert [(entry.action, entry.actor, entry.object_name) for entry in entries] == [
        ("contract.erased", "lea", acme),
        ("contract.erase", "lea", acme),
    ]


async def test_its_keys_are_refused_before_anything_is_deleted(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(engine, "acme", MARK, 1)
    seen: list[tuple[int, int]] = []

    async def look(delay_s: float) -> None:
        if delay_s == 0:  # the pause after the mark
            _, active = await KeyRepository(engine).load()
            async with reading(engine).connect() as connection:
                kept = (await connection.execute(select(func.count()).select_from(responses))).scalar_one()
            seen.append((len(active), kept))

    monkeypatch.setattr(module.asyncio, "sleep", look)
    await Erasure(engine).erase("acme")
    assert seen == [(0, 1)]


async def test_it_goes_on_where_it_was_broken_off(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = await fill(engine, "acme", MARK)

    async def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Erasure, "_finish", break_off)
        with pytest.raises(KeyboardInterrupt):
            await Erasure(engine).erase("acme")
    contract, _ = await Erasure(engine).erase("acme")  # its name is the last thing that goes
    assert contract.name == acme
    assert await rows_with(engine, MARK, "acme") == []
    for again in range(2):
        contract, erased = await Erasure(engine).erase(acme)
        assert (contract.name, erased) == (acme, Erased()), again
    with pytest.raises(UnknownRecord):
        await Erasure(engine).erase("acme")


async def test_the_service_ends_what_was_broken_off_but_not_what_somebody_works_on(engine: AsyncEngine) -> None:
    acme = await fill(engine, "acme", MARK)
    await Erasure(engine)._mark("acme")
    await Erasure(engine).delete_rest(time.time() - 60)
    assert await rows_with(engine, MARK)
    await Erasure(engine).delete_rest(time.time())
    assert await rows_with(engine, MARK, "acme") == []
    assert (await ContractRepository(engine, ()).find(acme)).name == acme


async def test_a_file_that_could_not_be_rewritten_is_rewritten_later(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_database(sqlite_url)
    await fill(engine, "acme", MARK)

    async def fail(_: object) -> None:
        raise Unavailable("The database failed: no space is left")

    with monkeypatch.context() as patch:
        patch.setattr(Erasure, "_rewrite", fail)
        with pytest.raises(Unavailable):
            await Erasure(engine).erase("acme")
    await Erasure(engine).delete_rest(time.time())
    assert files_with(tmp_path, MARK, "acme") == []
    await engine.dispose()


async def test_what_was_under_way_goes_when_it_comes(engine: AsyncEngine) -> None:
    other = await fill(engine, "other", "text", 1)
    acme = await fill(engine, "acme", MARK, 1)
    await Erasure(engine).erase("acme")
    kept = await counts(engine)
    state = StateRepository(engine)
    await state.save(response(acme, MARK))
    await state.add_conversation(Conversation(id="conv_x", owner=acme, created_at=1.0, metadata={}), [])
    moved = [record(acme, 9999, 5.0), record(other, 9999, 86_400.0)]
    await UsageRepository(engine).add(Move(segment="x", position=1, last=True, records=moved))
    await Erasure(engine).delete_rest(time.time())
    assert await rows_with(engine, MARK, f"req_{acme}") == []
    assert sum(await counts(engine)) == sum(kept) + 1  # the other's request


async def test_an_erased_contract_stays_closed_and_its_name_is_free(engine: AsyncEngine) -> None:
    contracts = ContractRepository(engine, ("unlimited",))
    acme = await contracts.create("acme", "unlimited")
    await Erasure(engine).erase("acme")
    with pytest.raises(InvalidChange, match="is closed"):
        await KeyRepository(engine).create("laptop", contract=acme.id)
    assert (await contracts.create("acme", "unlimited")).id != acme.id


async def test_no_byte_of_the_text_is_in_sqlites_files(sqlite_url: str, tmp_path: Path) -> None:
    engine, elsewhere = open_database(sqlite_url), open_database(sqlite_url)  # as the command and a worker have it open
    state = StateRepository(elsewhere)
    acme = await fill(engine, "acme", MARK)
    await fill(engine, "other", "text")
    stored = response(acme, MARK * 300)
    for length in (300, 20, 900, 1):  # rows that grow and shrink leave traces, too
        stored.response = {"text": MARK * length}
        await state.save(stored)
    assert files_with(tmp_path, MARK) != []
    await Erasure(engine).erase("acme")
    assert files_with(tmp_path, MARK, "acme") == []
    await state.save(response(acme, MARK))
    await Erasure(engine).delete_rest(time.time())
    assert files_with(tmp_path, MARK, "acme") == []
    assert (await state.find_conversation("nobody", "conv_other_0")) is None
    await engine.dispose()
    await elsewhere.dispose()
    assert files_with(tmp_path, MARK, "acme") == []


async def test_what_a_client_deletes_is_overwritten_in_sqlites_file(sqlite_url: str, tmp_path: Path) -> None:
    engine = open_database(sqlite_url)
    state = StateRepository(engine)
    stored = response("contract_1", MARK * 2000)
    await state.save(stored)
    await state.delete("contract_1", stored.id)
    await engine.dispose()  # the last connection writes the log into the file
    assert files_with(tmp_path, MARK) == []


async def test_events_and_items_go_in_small_steps(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = await fill(engine, "acme", MARK, 3)
    await Erasure(engine)._mark("acme")
    most = 0
    async with engine.begin() as connection:
        while True:
            rows = [
                (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                for table in (response_events, conversation_items)
            ]
            _, ended = await module._responses(connection, acme)
            now = (await connection.execute(select(func.count()).select_from(response_events))).scalar_one()
            most = max(most, rows[0] - now)
            if ended:
                break
    assert 0 < most <= module._ROWS
