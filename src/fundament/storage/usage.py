"""The usage ledger in the database: a `fundament.gateway.usage.Ledger`, and how records come into it.

It knows the tables and why nothing is counted twice: the rows, their sums and how far the journal was moved change in
one transaction. It does not know the journal's files (`storage/mover.py` does).
"""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import (
    ColumnElement,
    FromClause,
    RowMapping,
    Select,
    Table,
    UpdateBase,
    bindparam,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.errors import Unavailable
from fundament.gateway.meter import UsageRecord
from fundament.gateway.usage import Dimension, UsageQuery
from fundament.protocol.answers import UsageTotals
from fundament.storage.database import BatchWriter, asking, changing, unbroken
from fundament.storage.tables import contracts, keys, usage, usage_days, usage_segments

SWEPT_ROWS = 500  # in one transaction: about 5 ms
SWEEP_PAUSE_S = 0.01
_MOST = 2**53  # what an upstream says was used need not be sane; PostgreSQL holds 64 bits, JSON's readers 53

_LONGEST_CODE = 100

_SUMS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost_nanos")
_COUNTS = _SUMS[1:]
_GROUPS: dict[Dimension, ColumnElement[Any]] = {
    "day": usage_days.c.day,
    "contract": usage_days.c.contract_id,
    "key": usage_days.c.key_id,
    "model": usage_days.c.model,
}

Row = dict[str, Any]


class Move(Struct, frozen=True, kw_only=True):
    """Records of a segment, up to `position` (bytes) in it; `last` says that nothing will follow them there."""

    segment: str
    position: int
    last: bool
    records: Sequence[UsageRecord]


class UsageRepository:
    """Every method raises `Unavailable` when the database fails."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        upsert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        days = upsert(usage_days)
        self._add_to_days = days.on_conflict_do_update(
            index_elements=usage_days.primary_key.columns,
            set_={name: usage_days.c[name] + days.excluded[name] for name in _SUMS},
        )
        place = upsert(usage_segments)
        self._set_position = place.on_conflict_do_update(
            index_elements=[usage_segments.c.name], set_={"position": place.excluded.position}
        )
        self._add_rows = upsert(usage)
        self._forget = delete(usage_segments).where(usage_segments.c.name == bindparam("segment"))
        self._writer = BatchWriter(engine)

    async def position(self, segment: str) -> int:
        """How far the segment was moved; 0 for one of which nothing was."""
        statement = select(usage_segments.c.position).where(usage_segments.c.name == segment)
        async with asking(self._engine) as connection:
            return (await connection.execute(statement)).scalar_one_or_none() or 0

    @unbroken
    async def add(self, move: Move) -> None:
        """Takes the records into the ledger, and remembers the position: both or neither.

        A request that is in the ledger is not taken again. Where a position was lost (a journal was copied, a commit
        succeeded that nobody was told of), this keeps the sums right.
        """
        try:
            await self._add(move, move.records)
        except Unavailable as error:
            if not isinstance(error.__cause__, IntegrityError | sqlite3.IntegrityError):
                raise
            await self._add(move, await self._unknown(move.records))

    async def report(self, query: UsageQuery) -> Sequence[UsageTotals]:
        async with asking(self._engine) as connection:
            rows = (await connection.execute(_report(query))).mappings().all()
        return [_totals(row) for row in rows]

    async def spent_nanos(self, contract_id: str, month: date) -> int:
        first = month.replace(day=1)
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        meant = (usage_days.c.contract_id == contract_id, usage_days.c.day.between(str(first), str(last)))
        async with asking(self._engine) as connection:
            spent = await connection.execute(select(func.sum(usage_days.c.cost_nanos)).where(*meant))
            return int(spent.scalar_one() or 0)

    async def sweep(self, before: float, limit: int) -> int:
        """Deletes at most `limit` rows of requests that began before this time; gives how many. Sums stay."""
        old = select(usage.c.request_id).where(usage.c.time < before).order_by(usage.c.time)
        deleted = 0
        while deleted < limit:
            # What another machine is about to delete is skipped.
            some = old.limit(min(SWEPT_ROWS, limit - deleted)).with_for_update(skip_locked=True)
            async with changing(self._engine) as connection:
                done = (await connection.execute(delete(usage).where(usage.c.request_id.in_(some)))).rowcount
            if not done:
                break
            deleted += done
            await asyncio.sleep(SWEEP_PAUSE_S)
        return deleted

    async def _add(self, move: Move, records: Sequence[UsageRecord]) -> None:
        batch: list[tuple[UpdateBase, Sequence[Row]]] = []
        if records:
            batch += [(self._add_rows, [_row(record) for record in records]), (self._add_to_days, _sums(records))]
        if move.last:
            batch.append((self._forget, [{"segment": move.segment}]))
        else:
            batch.append((self._set_position, [{"name": move.segment, "position": move.position}]))
        await self._writer.write(batch)

    async def _unknown(self, records: Sequence[UsageRecord]) -> Sequence[UsageRecord]:
        ids = {record.request_id: record for record in records}
        statement = select(usage.c.request_id).where(usage.c.request_id.in_(ids))
        async with asking(self._engine) as connection:
            for id in (await connection.execute(statement)).scalars():
                del ids[id]
        return list(ids.values())


_counts = attrgetter(*_COUNTS)


def _row(record: UsageRecord) -> Row:
    if record.error_code is not None:  # an upstream's own, perhaps; PostgreSQL's text holds no NUL
        record.error_code = record.error_code[:_LONGEST_CODE].replace("\0", "\ufffd")
    if not (0 <= min(_counts(record)) <= max(_counts(record)) <= _MOST):
        for name in _COUNTS:
            setattr(record, name, min(max(getattr(record, name), 0), _MOST))
    return asdict(record)


def _sums(records: Sequence[UsageRecord]) -> list[Row]:
    """What the records add to each row of `usage_days`, in the order in which every process locks these."""
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    days: dict[int, str] = {}
    for record in records:
        number = int(record.time // 86_400)
        day = days.get(number) or days.setdefault(number, str(datetime.fromtimestamp(record.time, UTC).date()))
        total = sums.setdefault((record.contract_id, day, record.key_id, record.model), [0] * len(_SUMS))
        total[0] += 1
        for place, count in enumerate(_counts(record), 1):
            total[place] += count
    names = ("contract_id", "day", "key_id", "model", *_SUMS)
    return [dict(zip(names, (*group, *total), strict=True)) for group, total in sorted(sums.items())]


def _report(query: UsageQuery) -> Select[*tuple[Any, ...]]:
    by = [_GROUPS[dimension] for dimension in query.by]
    sums = [func.sum(usage_days.c[name]).label(name) for name in _SUMS]
    grouped = select(*by, *sums).where(*_conditions(query)).group_by(*by).subquery()
    columns: list[ColumnElement[Any]] = list(grouped.c)
    source: FromClause = grouped
    for dimension, named in (("contract", contracts), ("key", keys)):
        if dimension in query.by:
            source = source.outerjoin(named, named.c.id == grouped.c[f"{dimension}_id"])
            columns.append(named.c.name.label(f"{dimension}_name"))
    return select(*columns).select_from(source).order_by(*(grouped.c[group.name] for group in by))


def _conditions(query: UsageQuery) -> Iterator[ColumnElement[bool]]:
    if query.since is not None:
        yield usage_days.c.day >= str(query.since)
    if query.until is not None:
        yield usage_days.c.day <= str(query.until)
    if query.contract is not None:
        yield _meant(usage_days.c.contract_id, contracts, query.contract)
    if query.key is not None:
        yield _meant(usage_days.c.key_id, keys, query.key)
    if query.model is not None:
        yield usage_days.c.model == query.model


def _meant(id: ColumnElement[str], table: Table, reference: str) -> ColumnElement[bool]:
    return or_(id == reference, id.in_(select(table.c.id).where(table.c.name == reference)))


def _totals(row: RowMapping) -> UsageTotals:
    # PostgreSQL's sums of integers are decimals.
    return msgspec.convert({str(name): int(row[name]) if name in _SUMS else row[name] for name in row}, UsageTotals)
