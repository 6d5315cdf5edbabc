"""A budget's counter begins with all that was spent, also with what the ledger has not yet."""

import asyncio
from datetime import date
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from fundament.gateway.meter import UsageRecord
from fundament.storage.journal import UsageJournal
from fundament.storage.mover import Mover
from fundament.storage.spending import Spending
from fundament.storage.usage import UsageRepository

MONTH = date(2025, 11, 1)
RECORD = UsageRecord(
    request_id="req_1",
    time=1_764_000_000.0,
    contract_id="contract_1",
    key_id="key_1",
    endpoint="chat",
    model="model",
    asked_model="model",
    cost_nanos=7,
)


@pytest.fixture
def journal(tmp_path: Path) -> UsageJournal:
    journal = UsageJournal(tmp_path / "usage")
    journal.append(msgspec.json.encode(RECORD))
    journal.flush()
    return journal


async def test_what_is_in_the_journal_is_waited_for(tmp_path: Path, engine: AsyncEngine, journal: UsageJournal) -> None:
    ledger = UsageRepository(engine)
    asked = asyncio.create_task(Spending(ledger, tmp_path / "usage").nanos("contract_1", MONTH))
    await asyncio.sleep(0.1)
    assert not asked.done()
    await Mover(tmp_path / "usage", ledger).move()
    assert await asyncio.wait_for(asked, 2) == 7
    journal.close()


async def test_a_journal_that_stays_behind_is_not_waited_for_long(
    tmp_path: Path, engine: AsyncEngine, journal: UsageJournal
) -> None:
    with capture_logs() as logs:
        spending = Spending(UsageRepository(engine), tmp_path / "usage", patience_s=0.05)
        assert await asyncio.wait_for(spending.nanos("contract_1", MONTH), 2) == 0
    assert [log["event"] for log in logs] == ["budget_counts_from_ledger_behind_journal"]
    journal.close()
