"""The Responses API's state in the database: a `fundament.gateway.state.StateStore`.

It knows the tables, the statements and what locks what; it does not know what is in a response or an item. Two writers
of one conversation queue at its row: SQLite has one writer at a time, PostgreSQL locks the row that UPDATE has met.
Every transaction locks conversations before responses before events, and each in the order of their ids, so that none
waits in a circle.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    and_,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.errors import Unavailable
from fundament.gateway.state import Conversation, Events, Json, Order, StoredResponse
from fundament.storage.database import BatchWriter, asking, changing, unavailable_on_failure, unbroken
from fundament.storage.group import GroupWriter
from fundament.storage.state_rows import (
    Change,
    Row,
    append,
    appending,
    as_text,
    event_rows,
    item_rows,
    keeping,
    owned,
    response_row,
    saving,
    stored_of,
)
from fundament.storage.tables import conversation_items, conversations, response_events, responses, runners

LONGEST_HISTORY = 1000  # responses; a chain cannot be a circle, this bounds what one request may read
SWEPT_RESPONSES = 100  # in one transaction: about 5 ms
SWEPT_EVENTS = 2000
SWEEP_PAUSE_S = 0.01  # between two transactions of a sweep, for those who wait for the write lock
FORGOTTEN_RUNNER_S = 86_400.0


class StateRepository:
    """Responses and conversations as rows."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._postgresql = engine.dialect.name == "postgresql"
        self._insert = postgresql.insert if self._postgresql else sqlite.insert
        self._writer = GroupWriter(self._write)
        self._batches = BatchWriter(engine)
        self._save = saving(self._insert(responses))
        self._keep = keeping(self._insert(response_events))

    async def save(self, stored: StoredResponse, conversation_items: Sequence[Json] = ()) -> None:
        """As the protocol says. Nothing is written to an id of another owner, nor to a conversation that is gone."""
        row = response_row(stored)
        items = item_rows(conversation_items)
        size_bytes = len(row["response"]) + len(row["input"]) + sum(len(item["json"]) for item in items)
        await self._writer.add(Change(row["owner"], row["conversation_id"], row, items), size_bytes)

    @unbroken
    async def replace(
        self, stored: StoredResponse, runner: str, events: Events = (), items: Sequence[Json] = ()
    ) -> bool:
        row = response_row(stored)
        held = and_(responses.c.id == row["id"], responses.c.owner == row["owner"], responses.c.runner == runner)
        change = update(responses).where(held).values(response=row["response"], runner=row["runner"])
        with unavailable_on_failure():
            async with self._engine.connect() as connection, connection.begin() as transaction:
                await append(connection, Change(row["owner"], row["conversation_id"], items=item_rows(items)))
                if not (await connection.execute(change)).rowcount:
                    await transaction.rollback()
                    return False
                if events:
                    its = {"response_id": row["id"]}
                    rows = [{**its, "sequence_number": number, "event": event} for number, event in events]
                    await connection.execute(self._insert(response_events).on_conflict_do_nothing(), rows)
                return True

    @unbroken
    async def find(self, owner: str, id: str) -> StoredResponse | None:
        statement = select(responses).where(responses.c.id == as_text(id), responses.c.owner == as_text(owner))
        async with asking(self._engine) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        return stored_of(row) if row else None

    @unbroken
    async def history(self, owner: str, id: str) -> list[StoredResponse]:
        async with asking(self._engine) as connection:
            rows = (await connection.execute(_history(as_text(owner), as_text(id)))).mappings().all()
        return [stored_of(row) for row in rows]

    @unbroken
    async def delete(self, owner: str, id: str) -> bool:
        statement = delete(responses).where(responses.c.id == as_text(id), responses.c.owner == as_text(owner))
        async with changing(self._engine) as connection:
            return (await connection.execute(statement)).rowcount > 0

    @unbroken
    async def add_conversation(self, conversation: Conversation, items: Sequence[Json]) -> None:
        row: Row = {
            "id": as_text(conversation.id),
            "owner": as_text(conversation.owner),
            "created_at": conversation.created_at,
            "metadata": msgspec.json.encode(conversation.metadata),
            "next_position": 0,
        }
        async with changing(self._engine) as connection:
            await connection.execute(insert(conversations).values(row))
            await append(connection, Change(row["owner"], row["id"], items=item_rows(items)))

    @unbroken
    async def find_conversation(self, owner: str, id: str) -> Conversation | None:
        async with asking(self._engine) as connection:
            row = (await connection.execute(select(conversations).where(owned(owner, id)))).mappings().one_or_none()
        if row is None:
            return None
        metadata = msgspec.json.decode(row["metadata"], type=dict[str, str])
        return Conversation(id=row["id"], owner=row["owner"], created_at=row["created_at"], metadata=metadata)

    @unbroken
    async def set_metadata(self, owner: str, id: str, metadata: dict[str, str]) -> bool:
        statement = update(conversations).where(owned(owner, id)).values(metadata=msgspec.json.encode(metadata))
        async with changing(self._engine) as connection:
            return (await connection.execute(statement)).rowcount > 0

    @unbroken
    async def delete_conversation(self, owner: str, id: str) -> bool:
        async with changing(self._engine) as connection:
            return (await connection.execute(delete(conversations).where(owned(owner, id)))).rowcount > 0

    @unbroken
    async def add_items(self, owner: str, conversation_id: str, items: Sequence[Json]) -> bool:
        known = select(conversations.c.id).where(owned(owner, conversation_id)).with_for_update()
        async with changing(self._engine) as connection:
            if (await connection.execute(known)).one_or_none() is None:
                return False
            await append(connection, Change(as_text(owner), as_text(conversation_id), items=item_rows(items)))
            return True

    @unbroken
    async def items(
        self,
        owner: str,
        conversation_id: str,
        *,
        order: Order = "asc",
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Json] | None:
        """As the protocol says; `limit`, if given, is at least 1."""
        ascending = order == "asc"
        position = conversation_items.c.position
        wanted = [conversation_items.c.conversation_id == conversations.c.id]
        if after is not None:
            # Clients may give two items one id. The later of them in this order counts, so that paging goes on.
            known = select((func.max if ascending else func.min)(position)).where(
                conversation_items.c.conversation_id == as_text(conversation_id),
                conversation_items.c.item_id == as_text(after),
            )
            start = known.scalar_subquery()
            wanted.append(position > start if ascending else position < start)
        # An outer join: a conversation without such items is one row without item, an unknown one is no row.
        statement = (
            select(conversation_items.c.item)
            .select_from(conversations.outerjoin(conversation_items, and_(*wanted)))
            .where(owned(owner, conversation_id))
            .order_by(position.asc() if ascending else position.desc())
            .limit(limit)
        )
        async with asking(self._engine) as connection:
            rows = (await connection.execute(statement)).scalars().all()
        return [msgspec.json.decode(row) for row in rows if row is not None] if rows else None

    @unbroken
    async def find_items(self, owner: str, ids: Sequence[str]) -> dict[str, Json]:
        statement = (
            select(conversation_items.c.item)
            .join(conversations, conversations.c.id == conversation_items.c.conversation_id)
            .where(
                conversation_items.c.item_id.in_([as_text(id) for id in ids]), conversations.c.owner == as_text(owner)
            )
            .order_by(conversation_items.c.conversation_id, conversation_items.c.position)
        )
        async with asking(self._engine) as connection:
            found = [msgspec.json.decode(row) for row in (await connection.execute(statement)).scalars()]
        return {item["id"]: item for item in found}

    @unbroken
    async def delete_item(self, owner: str, conversation_id: str, item_id: str) -> bool:
        theirs = select(conversations.c.id).where(owned(owner, conversation_id)).scalar_subquery()
        statement = delete(conversation_items).where(
            conversation_items.c.conversation_id == theirs, conversation_items.c.item_id == as_text(item_id)
        )
        async with changing(self._engine) as connection:
            return (await connection.execute(statement)).rowcount > 0

    async def add_events(self, response_id: str, runner: str, events: Events) -> bool:
        """As the protocol says. One event is kept once."""
        change = Change(events=event_rows(response_id, runner, events))
        if change.events:
            await self._writer.add(change, sum(len(event) for _, event in events))
        return not change.is_late

    @unbroken
    async def events(self, response_id: str, after: int) -> list[tuple[int, bytes]]:
        statement = (
            select(response_events.c.sequence_number, response_events.c.event)
            .where(response_events.c.response_id == as_text(response_id), response_events.c.sequence_number > after)
            .order_by(response_events.c.sequence_number)
        )
        async with asking(self._engine) as connection:
            return [(number, event) for number, event in await connection.execute(statement)]

    @unbroken
    async def beat(self, runner: str) -> None:
        """As the protocol says. Runners that are silent for a day are forgotten: to `orphans` that is the same."""
        now = self._now()
        told = self._insert(runners).values(id=runner, seen_at=now)
        async with changing(self._engine) as connection:
            await connection.execute(
                told.on_conflict_do_update(index_elements=[runners.c.id], set_={"seen_at": told.excluded.seen_at})
            )
            await connection.execute(delete(runners).where(runners.c.seen_at < now - FORGOTTEN_RUNNER_S))

    @unbroken
    async def orphans(self, silent_s: float, limit: int) -> list[StoredResponse]:
        """As the protocol says. A runner that has never told counts as having done so when the response was made."""
        told = func.coalesce(runners.c.seen_at, responses.c.created_at)
        statement = (
            select(responses)
            .select_from(responses.outerjoin(runners, runners.c.id == responses.c.runner))
            .where(responses.c.runner.is_not(None), told < self._now() - silent_s)
            .order_by(responses.c.created_at)
            .limit(limit)
        )
        async with asking(self._engine) as connection:
            return [stored_of(row) for row in (await connection.execute(statement)).mappings()]

    async def sweep(self, before: float, limit: int) -> int:
        deleted = 0
        while deleted < limit:
            done, finished = await self._sweep(before, min(SWEPT_RESPONSES, limit - deleted))
            deleted += done
            if finished:
                break
            await asyncio.sleep(SWEEP_PAUSE_S)
        return deleted

    @unbroken
    async def _sweep(self, before: float, limit: int) -> tuple[int, bool]:
        """One transaction of a sweep: how many responses it deleted, and whether no others are left."""
        old = (
            select(responses.c.id).where(responses.c.created_at < before).order_by(responses.c.created_at).limit(limit)
        )
        async with changing(self._engine) as connection:
            # What another process is about to change is skipped: to wait for it, holding others, could end in a circle.
            ids = (await connection.execute(old.with_for_update(skip_locked=True))).scalars().all()
            if not ids:
                return 0, True
            key = (response_events.c.response_id, response_events.c.sequence_number)
            some = select(*key).where(response_events.c.response_id.in_(ids)).limit(SWEPT_EVENTS)
            if (
                await connection.execute(delete(response_events).where(tuple_(*key).in_(some)))
            ).rowcount == SWEPT_EVENTS:
                return 0, False  # a long stream goes in pieces, and its response last
            done = (await connection.execute(delete(responses).where(responses.c.id.in_(ids)))).rowcount
            return done, len(ids) < limit

    async def _write(self, changes: Sequence[Change]) -> None:
        rows = [change.response for change in changes if change.response]
        events = [event for change in changes for event in change.events]
        batch = appending(changes)
        if rows:
            batch.append((self._save, sorted(rows, key=lambda row: row["id"])))
        if events:
            batch.append((self._keep, sorted(events, key=lambda row: (row["of"], row["number"]))))
        await self._batches.write(batch)
        if events:
            await self._note_late([change for change in changes if change.events])

    async def _note_late(self, changes: Sequence[Change]) -> None:
        """A response never comes back to a runner: whose it is after the write was its runner then, too."""
        ids = {change.events[0]["of"] for change in changes}
        with contextlib.suppress(Unavailable):  # what is written is written; the next events will tell
            async with asking(self._engine) as connection:
                rows = await connection.execute(
                    select(responses.c.id, responses.c.runner).where(responses.c.id.in_(ids))
                )
                held = {row.id: row.runner for row in rows}
            for change in changes:
                change.is_late = held.get(change.events[0]["of"]) != change.events[0]["by"]

    def _now(self) -> ColumnElement[float]:
        """Unix seconds: by the database's clock where many machines share it."""
        if self._postgresql:
            return cast(func.extract("epoch", func.clock_timestamp()), Double)
        return literal(time.time())


def _history(owner: str, id: str) -> Select[Any]:
    start = select(responses.c.id, responses.c.previous_response_id, literal(1).label("length"))
    chain = start.where(responses.c.id == id, responses.c.owner == owner).cte("chain", recursive=True)
    before = select(responses.c.id, responses.c.previous_response_id, chain.c.length + 1)
    chain = chain.union_all(
        before.join(chain, responses.c.id == chain.c.previous_response_id).where(
            responses.c.owner == owner, chain.c.length < LONGEST_HISTORY
        )
    )
    return select(responses).join(chain, responses.c.id == chain.c.id).order_by(chain.c.length.desc())
