"""What is asked of the usage ledger, and what a ledger must answer.

It knows dimensions and days (UTC); it does not know databases (`storage/usage.py`), nor how usage comes there.
"""

from collections.abc import Sequence
from datetime import date
from typing import Literal, Protocol

from msgspec import Struct

from fundament.protocol.answers import UsageTotals

Dimension = Literal["day", "contract", "key", "model"]
DIMENSIONS: tuple[Dimension, ...] = ("day", "contract", "key", "model")


class UsageQuery(Struct, frozen=True, kw_only=True):
    """Sums for each combination of `by`, of the usage that meets all conditions; None is no condition.

    `since` and `until` are days, both included. `contract` and `key` are ids or names, `model` is an id.
    """

    by: tuple[Dimension, ...]
    since: date | None = None
    until: date | None = None
    contract: str | None = None
    key: str | None = None
    model: str | None = None


class Ledger(Protocol):
    """The usage that was moved into it, a second or two after the requests. Both raise `Unavailable` when it fails."""

    async def report(self, query: UsageQuery) -> Sequence[UsageTotals]:
        """The sums, ordered by the dimensions as `query.by` has them; without any, one row or, of nothing, none."""
        ...

    async def spent_nanos(self, contract_id: str, month: date) -> int:
        """What a contract's requests that began in the month of this day have cost."""
        ...
