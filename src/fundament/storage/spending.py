"""What a contract has spent, up to the very request before: for budgets, whose counters begin with it.

It knows that the ledger is behind the journal by what is not moved yet, and waits for that; not what a budget is.
"""

import asyncio
import time
from datetime import date
from pathlib import Path
from typing import Any

import structlog

from fundament.gateway.usage import Ledger
from fundament.storage.mover import moved_until

PATIENCE_S = 5.0  # the journal is moved twice a second
LOOK_INTERVAL_S = 0.05


class Spending:
    """Of this machine, it has every request that ended before it was asked; of others, those of a second before."""

    def __init__(self, ledger: Ledger, journal_dir: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._ledger = ledger
        self._journal_dir = journal_dir
        self._patience_s = patience_s
        self._log: Any = structlog.get_logger(__name__)

    async def nanos(self, contract_id: str, month: date) -> int:
        """What the contract's requests that began in the month of this day have cost.

        A journal that is not moved in time (after a long outage) is not waited for; the log says so.

        Raises:
            Unavailable: the database failed.
        """
        asked_at = time.time()
        while (moved_until(self._journal_dir) or 0.0) <= asked_at:
            if time.time() - asked_at > self._patience_s:
                self._log.warning("budget_counts_from_ledger_behind_journal", contract_id=contract_id)
                break
            await asyncio.sleep(LOOK_INTERVAL_S)
        return await self._ledger.spent_nanos(contract_id, month)
