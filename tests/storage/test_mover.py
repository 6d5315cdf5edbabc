"""From journal to ledger: in a real SQLite file and a real PostgreSQL, with writers and movers that are killed."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from databases import PostgreSQL
from fundament.errors import Unavailable
from fundament.gateway.meter import UsageRecord
from fundament.gateway.usage import UsageQuery
from fundament.storage import mover as mover_module
from fundament.storage.database import open_database, reading, upgrade
from fundament.storage.journal import UsageJournal
from fundament.storage.mover import Mover, moved_until
from fundament.storage.tables import usage, usage_segments
from fundament.storage.usage import UsageRepository

KILLS = int(os.environ.get("KILLS", "3"))  # the acceptance run has 20


@pytest.fixture
def mover(engine: AsyncEngine, tmp_path: Path) -> Mover:
    return Mover(tmp_path / "usage", UsageRepository(engine))


def line(number: int, writer: str = "w") -> bytes:
    record = UsageRecord(
        request_id=f"req_{writer}_{number:08d}",
        time=1_764_000_000.0,
        contract_id="contract_1",
        key_id="key_1",
        endpoint="chat",
        model="model",
        asked_model="model",
        input_tokens=1,
    )
    return msgspec.json.encode(record)


def write(journal: UsageJournal, *numbers: int) -> None:
    for number in numbers:
        journal.append(line(number))
    journal.flush()


async def count(engine: AsyncEngine, table: Any = usage) -> int:
    async with reading(engine).connect() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def counted(engine: AsyncEngine) -> int:
    """By the sums, after a look that the rows say the same."""
    totals = await UsageRepository(engine).report(UsageQuery(by=("contract",)))
    requests = sum(total.requests for total in totals)
    assert requests == await count(engine) == sum(total.input_tokens for total in totals)
    return requests


async def test_what_is_written_is_moved_and_a_segment_goes_when_its_writer_has(
    tmp_path: Path, engine: AsyncEngine, mover: Mover
) -> None:
    journal = UsageJournal(tmp_path / "usage")
    write(journal, 1, 2)
    assert not await mover.move()
    assert await counted(engine) == 2
    write(journal, 3)
    assert not await mover.move()
    assert await counted(engine) == 3
    journal.close()
    assert await mover.move()
    assert list((tmp_path / "usage").glob("*.jsonl")) == []
    assert await count(engine, usage_segments) == 0
    assert await counted(engine) == 3


async def test_much_is_moved_in_bounded_batches(
    tmp_path: Path, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover_module, "BATCH_BYTES", 2000)
    ledger = UsageRepository(engine)
    sizes: list[int] = []
    add = ledger.add

    async def noted(move: Any) -> None:
        sizes.append(len(move.records))
        await add(move)

    monkeypatch.setattr(ledger, "add", noted)
    journal = UsageJournal(tmp_path / "usage", segment_bytes=10_000)
    for number in range(200):
        write(journal, number)
    journal.close()
    assert await Mover(tmp_path / "usage", ledger).move()
    assert await counted(engine) == sum(sizes) == 200
    assert max(sizes) <= 2000 // len(line(0)) + 2


async def test_the_next_mover_goes_on_where_the_last_one_was(
    tmp_path: Path, engine: AsyncEngine, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = UsageJournal(tmp_path / "usage")
    write(journal, *range(10))
    await mover.move()
    write(journal, *range(10, 15))
    ledger = UsageRepository(engine)
    taken: list[UsageRecord] = []
    add = ledger.add

    async def noted(move: Any) -> None:
        taken.extend(move.records)
        await add(move)

    monkeypatch.setattr(ledger, "add", noted)
    await Mover(tmp_path / "usage", ledger).move()
    journal.close()
    assert [record.request_id for record in taken] == [f"req_w_{number:08d}" for number in range(10, 15)]
    assert await counted(engine) == 15


async def test_rows_that_were_swept_are_not_counted_again_by_the_next_mover(
    tmp_path: Path, engine: AsyncEngine, mover: Mover
) -> None:
    journal = UsageJournal(tmp_path / "usage")
    write(journal, 1, 2, 3)
    await mover.move()
    ledger = UsageRepository(engine)
    assert await ledger.sweep(time.time(), 100) == 3
    await Mover(tmp_path / "usage", ledger).move()
    [total] = await ledger.report(UsageQuery(by=("contract",)))
    assert (total.requests, await count(engine)) == (3, 0)
    journal.close()


async def test_half_a_line_waits_for_its_end_and_a_dead_writers_is_dropped(
    tmp_path: Path, engine: AsyncEngine, mover: Mover
) -> None:
    journal = UsageJournal(tmp_path / "usage")
    write(journal, 1)
    [segment] = (tmp_path / "usage").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(line(2)[:50])
    await mover.move()
    assert await counted(engine) == 1
    with segment.open("ab") as file:
        file.write(line(2)[50:] + b"\n" + line(3)[:50])
    await mover.move()
    assert await counted(engine) == 2
    journal.close()
    with capture_logs() as logs:
        assert await mover.move()
    assert [(log["event"], log["bytes"]) for log in logs] == [("usage_record_torn", 50)]
    assert await counted(engine) == 2


async def test_a_line_that_cannot_be_read_holds_up_no_other(tmp_path: Path, engine: AsyncEngine, mover: Mover) -> None:
    (tmp_path / "usage" / "1-1-a.jsonl").write_bytes(line(1) + b"\n\0\0\0\n{}\n" + line(2) + b"\n")
    with capture_logs() as logs:
        assert await mover.move()
    assert [log["event"] for log in logs] == ["usage_record_unreadable"] * 2
    assert await counted(engine) == 2


async def test_a_segment_that_a_full_journal_removed_is_forgotten(
    tmp_path: Path, engine: AsyncEngine, mover: Mover
) -> None:
    journal = UsageJournal(tmp_path / "usage")
    write(journal, 1)
    await mover.move()
    journal.close()
    for segment in (tmp_path / "usage").glob("*.jsonl"):
        segment.unlink()
    assert await mover.move()
    assert (await counted(engine), await count(engine, usage_segments)) == (1, 0)


async def test_until_when_all_is_moved_is_told_to_every_process(
    tmp_path: Path, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert moved_until(tmp_path / "usage") is None
    before = time.time()
    await mover.move()
    told = moved_until(tmp_path / "usage")
    assert told is not None
    assert before - 0.01 <= told <= time.time()

    async def away(*_: object) -> None:
        raise Unavailable("away")

    (tmp_path / "usage" / "1-1-a.jsonl").write_bytes(line(1) + b"\n")
    with monkeypatch.context() as outage:
        outage.setattr(mover._ledger, "add", away)
        with pytest.raises(Unavailable):
            await mover.move()
    assert moved_until(tmp_path / "usage") == told


async def test_a_commit_that_nobody_was_told_of_is_not_made_again(
    tmp_path: Path, engine: AsyncEngine, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = UsageJournal(tmp_path / "usage")
    write(journal, 1)
    await mover.move()
    write(journal, 2)
    add = mover._ledger.add

    async def untold(move: Any) -> None:
        await add(move)
        raise Unavailable("the connection was lost")

    with monkeypatch.context() as lost:
        lost.setattr(mover._ledger, "add", untold)
        with pytest.raises(Unavailable):
            await mover.move()
    write(journal, 3)
    ledger = UsageRepository(engine)
    await ledger.sweep(time.time(), 100)  # so that the rows would not tell
    await mover.move()
    journal.close()
    [total] = await ledger.report(UsageQuery(by=("contract",)))
    assert (total.requests, await count(engine)) == (3, 1)


async def test_an_outage_is_said_once_loses_nothing_and_is_caught_up(
    postgresql: PostgreSQL, cleared_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover_module, "MOVE_INTERVAL_S", 0.01)
    monkeypatch.setattr(mover_module, "RETRY_INTERVAL_S", 0.01)
    postgresql.clear(cleared_url)
    await asyncio.to_thread(upgrade, cleared_url)
    engine = open_database(cleared_url)
    journal = UsageJournal(tmp_path / "usage", segment_bytes=5000)
    with capture_logs() as logs:
        running = asyncio.create_task(Mover(tmp_path / "usage", UsageRepository(engine)).run())
        write(journal, *range(100))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(postgresql.stop)
        try:
            for number in range(100, 300):
                write(journal, number)
                await asyncio.sleep(0.002)
        finally:
            await asyncio.to_thread(postgresql.start)
        for _ in range(500):
            if {"usage_ledger_back"} <= {log["event"] for log in logs} and await counted(engine) == 300:
                break
            await asyncio.sleep(0.01)
        running.cancel()
    journal.close()
    assert await counted(engine) == 300
    assert [log["event"] for log in logs] == ["usage_ledger_down", "usage_ledger_back"]
    await engine.dispose()


WRITER = """
import sys, time
from pathlib import Path
from fundament.storage.journal import UsageJournal

journal = UsageJournal(Path(sys.argv[1]), segment_bytes=4000)
number = 0
while True:
    journal.append(sys.argv[2].replace("00000000", f"{number:08d}").encode())
    journal.flush()
    print(number, flush=True)
    number += 1
    time.sleep(0.0005)
"""

MOVER = """
import asyncio, sys
from pathlib import Path
from fundament.storage import mover
from fundament.storage.database import open_database
from fundament.storage.usage import UsageRepository

mover.MOVE_INTERVAL_S = mover.RETRY_INTERVAL_S = mover.BATCH_PAUSE_S = 0.0
mover.BATCH_BYTES = 3000
print("begun", flush=True)
asyncio.run(mover.Mover(Path(sys.argv[1]), UsageRepository(open_database(sys.argv[2]))).run())
"""


async def test_writers_and_movers_that_are_killed_at_any_moment_lose_and_double_nothing(
    tmp_path: Path, database_url: str, engine: AsyncEngine, mover: Mover
) -> None:
    flushed = await asyncio.to_thread(kill_and_kill, tmp_path / "usage", database_url)
    assert await mover.move()
    assert flushed > 100
    # A writer may be killed between its flush and its word of it.
    assert flushed <= await counted(engine) <= flushed + 2 * KILLS


def kill_and_kill(directory: Path, database_url: str) -> int:
    """Kills two writers and a mover again and again; how many records the writers said they had flushed."""
    flushed = 0
    for number in range(KILLS):
        writers = [start(WRITER, directory, line(0, f"{number}-{writer}").decode()) for writer in range(2)]
        moving = start(MOVER, directory, database_url)
        for process in (*writers, moving):
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(0.3 + 0.05 * number)
        for process in (moving, *writers):
            process.kill()
        for process in (moving, *writers):
            told, _ = process.communicate(timeout=10)
            if process is not moving:
                flushed += 1 + told.count(b"\n")
    return flushed


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    # Without a buffer, in which lines would stay that `communicate` does not see.
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, bufsize=0)
