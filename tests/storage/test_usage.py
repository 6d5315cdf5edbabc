"""The usage ledger in a real SQLite file and a real PostgreSQL: sums are right, and nothing is counted twice."""

import asyncio
import sqlite3
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.api.edge import new_request_id
from fundament.errors import Unavailable
from fundament.gateway.meter import UsageRecord
from fundament.gateway.usage import UsageQuery
from fundament.storage.database import open_database, reading, upgrade
from fundament.storage.tables import usage, usage_days, usage_segments
from fundament.storage.usage import SWEPT_ROWS, Move, UsageRepository

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400


@pytest.fixture
def ledger(engine: AsyncEngine) -> UsageRepository:
    return UsageRepository(engine)


def record(number: int, **fields: Any) -> UsageRecord:
    defaults: dict[str, Any] = {
        "request_id": f"req_{number:032x}",
        "time": NOON,
        "contract_id": "contract_1",
        "key_id": "key_1",
        "endpoint": "chat",
        "model": "model",
        "asked_model": "alias",
        "region": "ch",
        "stream": True,
        "outcome": "completed",
        "input_tokens": 100,
        "cached_tokens": 40,
        "output_tokens": 10,
        "reasoning_tokens": 3,
        "tokens_known": True,
        "first_byte_ms": 1.5,
        "duration_ms": 20.25,
        "cost_nanos": 7,
    }
    return UsageRecord(**{**defaults, **fields})


def move(*records: UsageRecord, segment: str = "1-1-a.jsonl", position: int = 100, last: bool = False) -> Move:
    return Move(segment=segment, position=position, last=last, records=records)


async def rows(engine: AsyncEngine, table: Any) -> list[dict[str, Any]]:
    async with reading(engine).connect() as connection:
        return [dict(row) for row in (await connection.execute(select(table))).mappings()]


async def test_a_record_is_kept_as_it_is(engine: AsyncEngine, ledger: UsageRepository) -> None:
    one, other = record(1), record(2, outcome="failed", error_code="x", region=None, first_byte_ms=None, stream=False)
    await ledger.add(move(one, other))
    found = {row["request_id"]: row for row in await rows(engine, usage)}
    for kept in (one, other):
        assert found[kept.request_id] == {name: getattr(kept, name) for name in UsageRecord.__struct_fields__}


async def test_the_position_comes_with_the_records_and_goes_with_the_segment(
    engine: AsyncEngine, ledger: UsageRepository
) -> None:
    assert await ledger.position("1-1-a.jsonl") == 0
    await ledger.add(move(record(1), position=100))
    await ledger.add(move(record(2), position=200))
    await ledger.add(move(record(3), segment="2-1-b.jsonl", position=50))
    assert [await ledger.position(name) for name in ("1-1-a.jsonl", "2-1-b.jsonl")] == [200, 50]
    await ledger.add(move(position=200, last=True))
    assert [row["name"] for row in await rows(engine, usage_segments)] == ["2-1-b.jsonl"]


async def test_what_is_moved_again_is_counted_once(engine: AsyncEngine, ledger: UsageRepository) -> None:
    await ledger.add(move(record(1), record(2)))
    await ledger.add(move(record(2), record(3), record(3), position=200))
    assert len(await rows(engine, usage)) == 3
    [total] = await ledger.report(UsageQuery(by=("day",)))
    assert (total.requests, total.input_tokens, total.cost_nanos) == (3, 300, 21)
    assert await ledger.position("1-1-a.jsonl") == 200


async def test_a_move_that_fails_leaves_neither_rows_nor_sums_nor_position(
    engine: AsyncEngine, ledger: UsageRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            ledger, "_set_position", insert(Table("nowhere", MetaData(), Column("name"), Column("position")))
        )
        with pytest.raises(Unavailable):
            await ledger.add(move(record(1)))
    assert [await rows(engine, table) for table in (usage, usage_days, usage_segments)] == [[], [], []]
    await ledger.add(move(record(1)))
    assert len(await rows(engine, usage)) == 1


async def test_counts_that_no_database_holds_are_bounded_and_a_code_with_nul_is_kept(
    engine: AsyncEngine, ledger: UsageRepository
) -> None:
    await ledger.add(move(record(1, input_tokens=10**30, output_tokens=-5, error_code="a\0b" + "x" * 1000)))
    [row] = await rows(engine, usage)
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"]) == (2**53, 0, 40)
    assert row["error_code"] == ("a\ufffdb" + "x" * 1000)[:100]


async def test_a_report_sums_by_what_it_is_asked(ledger: UsageRepository) -> None:
    await ledger.add(
        move(
            record(1),
            record(2, model="other", cost_nanos=1),
            record(3, key_id="key_2", time=NOON + DAY_S),
            record(4, contract_id="contract_2", key_id="key_3", time=NOON + 2 * DAY_S),
        )
    )
    by_day = await ledger.report(UsageQuery(by=("day",)))
    assert [(t.day, t.requests, t.cost_nanos) for t in by_day] == [
        ("2026-11-23", 2, 8),
        ("2026-11-24", 1, 7),
        ("2026-11-25", 1, 7),
    ]
    by_model = await ledger.report(UsageQuery(by=("contract", "model")))
    assert [(t.contract_id, t.model, t.input_tokens) for t in by_model] == [
        ("contract_1", "model", 200),
        ("contract_1", "other", 100),
        ("contract_2", "model", 100),
    ]
    [one] = await ledger.report(UsageQuery(by=("key",), since=date(2026, 11, 24), until=date(2026, 11, 24)))
    assert (one.key_id, one.requests) == ("key_2", 1)
    [one] = await ledger.report(UsageQuery(by=("model",), contract="contract_1", model="other"))
    assert (one.model, one.requests) == ("other", 1)
    [one] = await ledger.report(UsageQuery(by=("contract",), key="key_3"))
    assert (one.contract_id, one.reasoning_tokens, one.cached_tokens) == ("contract_2", 3, 40)
    assert await ledger.report(UsageQuery(by=("day",), contract="contract_9")) == []


@pytest.mark.parametrize(
    ("time_", "day"),
    [(NOON - 12 * 3600, "2026-11-23"), (NOON + 12 * 3600 - 0.001, "2026-11-23"), (NOON + 12 * 3600, "2026-11-24")],
)
async def test_days_are_of_utc(ledger: UsageRepository, time_: float, day: str) -> None:
    await ledger.add(move(record(1, time=time_)))
    [total] = await ledger.report(UsageQuery(by=("day",)))
    assert total.day == day


async def test_what_a_contract_spent_is_of_its_month(ledger: UsageRepository) -> None:
    days = [
        datetime(2026, month, day, 23, 59, tzinfo=UTC).timestamp() for month, day in ((1, 31), (2, 1), (2, 28), (3, 1))
    ]
    await ledger.add(move(*(record(number, time=time_, cost_nanos=10**number) for number, time_ in enumerate(days))))
    await ledger.add(move(record(9, contract_id="contract_2", time=days[1]), position=200))
    assert await ledger.spent_nanos("contract_1", date(2026, 2, 10)) == 110
    assert await ledger.spent_nanos("contract_1", date(2026, 1, 31)) == 1
    assert await ledger.spent_nanos("contract_1", date(2026, 12, 31)) == 0
    assert await ledger.spent_nanos("contract_9", date(2026, 2, 10)) == 0


async def test_old_rows_are_swept_and_their_sums_stay(engine: AsyncEngine, ledger: UsageRepository) -> None:
    old, new = SWEPT_ROWS + 20, 5
    await ledger.add(move(*(record(number) for number in range(old))))
    await ledger.add(move(*(record(old + number, time=NOON + DAY_S) for number in range(new)), position=200))
    assert await ledger.sweep(NOON + 1, 10) == 10
    assert await ledger.sweep(NOON + 1, 10**6) == old - 10
    assert await ledger.sweep(NOON + 1, 10**6) == 0
    assert len(await rows(engine, usage)) == new
    [total] = await ledger.report(UsageQuery(by=("contract",)))
    assert total.requests == old + new


async def test_two_machines_move_at_once_into_the_same_sums(database_url: str, engine: AsyncEngine) -> None:
    other = open_database(database_url)
    machines = [UsageRepository(engine), UsageRepository(other)]

    async def moving(machine: int) -> None:
        for batch in range(10):
            numbers = range(batch * 20, batch * 20 + 20)
            records = [record(machine * 10_000 + n, model=f"model-{(n * (machine * 2 - 1)) % 7}") for n in numbers]
            await machines[machine].add(move(*records, segment=f"{machine}.jsonl", position=batch + 1))

    await asyncio.gather(moving(0), moving(1))
    await other.dispose()
    assert sum(total.requests for total in await machines[0].report(UsageQuery(by=("model",)))) == 400


async def test_a_row_takes_no_more_than_its_content_and_its_time_in_sqlite(tmp_path: Path) -> None:
    """Ids that begin with the time are appended: the file is as full as it would be of a log."""
    url = f"sqlite:///{tmp_path}/fundament.db"
    await asyncio.to_thread(upgrade, url)
    engine = open_database(url)
    ledger = UsageRepository(engine)
    for batch in range(5):
        records = [record(0, request_id=new_request_id(), time=time.time()) for _ in range(1000)]
        await ledger.add(move(*records, position=batch))
    await engine.dispose()
    with sqlite3.connect(tmp_path / "fundament.db") as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    assert (pages - free) * size / 5000 < 260
