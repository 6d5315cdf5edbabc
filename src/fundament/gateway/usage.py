"""What is asked of the usage ledger, and what a ledger must answer.

It knows dimensions and days (UTC); it does not know databases (`storage/usage.py`), nor how usage comes there.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal, Protocol, get_args

from msgspec import Struct

from fundament.errors import InvalidRequest
from fundament.protocol.answers import UsageTotals

Dimension = Literal["day", "contract", "key", "model"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


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


def usage_query(written: Mapping[str, str | None]) -> UsageQuery:
    """The query of its fields as people write them: `by` with commas between, days as 2026-11-23.

    Raises:
        InvalidRequest: a field is none of a query's, or not right; `param` names it.
    """
    for name in written:
        if name not in UsageQuery.__struct_fields__:
            raise InvalidRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    since, until = _day("since", written.get("since")), _day("until", written.get("until"))
    if since and until and since > until:
        raise InvalidRequest(f"'since' ({since}) is after 'until' ({until}).", param="since", code="invalid_value")
    return UsageQuery(
        by=_dimensions(written.get("by") or "day"),
        since=since,
        until=until,
        contract=written.get("contract"),
        key=written.get("key"),
        model=written.get("model"),
    )


def _dimensions(written: str) -> tuple[Dimension, ...]:
    found = [name.strip() for name in written.split(",")]
    by: tuple[Dimension, ...] = tuple(name for name in found if name in DIMENSIONS)
    if len(by) != len(found) or len(set(by)) != len(by):
        raise InvalidRequest(
            f"Invalid 'by': expected different ones of {', '.join(DIMENSIONS)}, with commas between, but got "
            f"'{written}'.",
            param="by",
            code="invalid_value",
        )
    return by


def _day(name: str, written: str | None) -> date | None:
    if written is None:
        return None
    try:
        day = date.fromisoformat(written)
    except ValueError:
        day = None
    if day is None or str(day) != written:
        raise InvalidRequest(
            f"Invalid '{name}': expected a day as 2026-11-23, but got '{written}'.", param=name, code="invalid_value"
        )
    return day


class Ledger(Protocol):
    """The usage that was moved into it, a second or two after the requests. Both raise `Unavailable` when it fails."""

    async def report(self, query: UsageQuery) -> Sequence[UsageTotals]:
        """The sums, ordered by the dimensions as `query.by` has them; without any, one row or, of nothing, none."""
        ...

    async def spent_nanos(self, contract_id: str, month: date) -> int:
        """What a contract's requests that began in the month of this day have cost."""
        ...
