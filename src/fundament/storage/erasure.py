"""Deletes all that a contract has: conversations, responses, usage, keys, its name. It knows the tables that hold it.

A contract is first marked as erased; from then on whatever finds the mark may delete, so that nothing is left when one
is broken off, or when an answer that was under way is stored later. It goes in small steps, for those who write too.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec import Struct
from sqlalchemy import Table, delete, func, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fundament.errors import Unavailable
from fundament.gateway.audit import SERVICE
from fundament.gateway.contracts import Contract
from fundament.storage.audit import note
from fundament.storage.contracts import close_contract, find_contract
from fundament.storage.database import asking, changing
from fundament.storage.revision import changing_accounts
from fundament.storage.tables import (
    contracts,
    conversation_items,
    conversations,
    keys,
    response_events,
    responses,
    usage,
    usage_days,
)

LOOK_EVERY_S = 5.0
LEFT_ALONE_S = 60  # whoever has marked a contract deletes it; only what is left later is the service's
REFUSED_AFTER_S = 1.0  # every worker knows by then that the keys are revoked
CHECKPOINT_TIMEOUT_S = 30.0
_OWNERS = 20  # conversations or responses in one transaction
_ROWS = 500  # of what they own
_PAUSE_S = 0.01
_DAY_S = 86_400

_Step = Callable[[AsyncConnection, str], Coroutine[Any, Any, tuple[int, bool]]]


class Erased(Struct, frozen=True, kw_only=True):
    """What one run deleted: conversations, responses, and requests of the usage ledger."""

    conversations: int = 0
    responses: int = 0
    requests: int = 0


class Erasure:
    """Every method raises `Unavailable` when the database fails; what is deleted by then stays deleted.

    Args:
        actor: who wants it, for the audit log.
    """

    def __init__(self, engine: AsyncEngine, actor: str = SERVICE) -> None:
        self._engine = engine
        self._actor = actor
        self._log: Any = structlog.get_logger(__name__)

    async def erase(self, reference: str) -> tuple[Contract, Erased]:
        """Close the contract with this id or name, and delete all that it has. Again, it deletes what is left.

        Raises:
            UnknownRecord: there is no such contract.
        """
        contract = await self._mark(reference)
        await asyncio.sleep(REFUSED_AFTER_S)
        erased = await self._delete(contract.id)
        await self._rewrite()
        contract = await self._finish(contract.id)
        await self._empty_log()
        return contract, erased

    async def run(self) -> None:
        """Deletes what is left of contracts that were erased a minute ago or earlier, until cancelled."""
        while True:
            try:
                await self.delete_rest(time.time() - LEFT_ALONE_S)
            except Unavailable as error:
                self._log.warning("erasure_delayed", error=error.message)
            await asyncio.sleep(LOOK_EVERY_S)

    async def delete_rest(self, before: float) -> None:
        """Deletes what is left of contracts that were erased before this time (Unix seconds)."""
        marked = select(contracts.c.id).where(contracts.c.erased_at <= int(before))
        left = (
            select(responses.c.owner).where(responses.c.owner.in_(marked)),
            select(conversations.c.owner).where(conversations.c.owner.in_(marked)),
            select(usage_days.c.contract_id).where(usage_days.c.contract_id.in_(marked)),
            marked.where(contracts.c.name != contracts.c.id),
        )
        async with asking(self._engine) as connection:
            if (await connection.execute(marked.limit(1))).first() is None:
                return
            *stored, used, unfinished = [
                set((await connection.execute(query.distinct())).scalars().all()) for query in left
            ]
        texts = unfinished.union(*stored)
        for id in sorted(texts | used):
            erased = await self._delete(id)
            self._log.info("erased", contract_id=id, responses=erased.responses, requests=erased.requests)
        if texts:
            await self._rewrite()
            for id in sorted(unfinished):
                await self._finish(id)
            await self._empty_log()

    async def _mark(self, reference: str) -> Contract:
        async with changing_accounts(self._engine) as connection:
            contract = await find_contract(connection, reference)
            if contract.erased_at is not None:
                return contract
            await note(connection, self._actor, "contract.erase", contract.id)
            await close_contract(connection, contract)
            marked = update(contracts).where(contracts.c.id == contract.id).values(erased_at=int(time.time()))
            await connection.execute(marked)
            return await find_contract(connection, contract.id)

    async def _delete(self, contract_id: str) -> Erased:
        done = [await self._repeat(step, contract_id) for step in (_conversations, _responses, _usage)]
        return Erased(conversations=done[0], responses=done[1], requests=done[2])

    async def _repeat(self, step: _Step, contract_id: str) -> int:
        deleted = 0
        while True:
            async with changing(self._engine) as connection:
                done, finished = await step(connection, contract_id)
            deleted += done
            if finished:
                return deleted
            await asyncio.sleep(_PAUSE_S)

    async def _finish(self, contract_id: str) -> Contract:
        """The keys go, and the name last: it says that a run was broken off, and another can be asked for by it."""
        async with changing_accounts(self._engine) as connection:
            contract = await find_contract(connection, contract_id)
            if contract.name != contract.id:
                theirs = (await connection.execute(delete(keys).where(keys.c.contract_id == contract_id))).rowcount
                nameless = {"name": contract_id, "monthly_budget_nanos": None}
                await connection.execute(update(contracts).where(contracts.c.id == contract_id).values(nameless))
                await note(connection, self._actor, "contract.erased", contract_id, keys=theirs)
            return await find_contract(connection, contract_id)

    async def _rewrite(self) -> None:
        """Rids SQLite's file of deleted text. PostgreSQL does so by itself, later (VACUUM).

        `secure_delete` is not enough: where rows move between pages, SQLite leaves copies in their unused parts.
        """
        if self._engine.dialect.name != "sqlite":
            return
        async with asking(self._engine) as connection:
            await connection.execute(text("VACUUM"))

    async def _empty_log(self) -> None:
        if self._engine.dialect.name != "sqlite":
            return
        deadline = time.monotonic() + CHECKPOINT_TIMEOUT_S
        while True:
            async with asking(self._engine) as connection:
                busy, *_ = (await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))).one()
            if not busy:
                return
            if time.monotonic() > deadline:
                raise Unavailable("All is deleted, but a reader of the database keeps its log from being emptied.")
            await asyncio.sleep(_PAUSE_S)


async def _conversations(connection: AsyncConnection, contract_id: str) -> tuple[int, bool]:
    return await _owned(connection, contract_id, conversations, conversation_items)


async def _responses(connection: AsyncConnection, contract_id: str) -> tuple[int, bool]:
    return await _owned(connection, contract_id, responses, response_events)


async def _owned(connection: AsyncConnection, contract_id: str, owned: Table, parts: Table) -> tuple[int, bool]:
    """One step: how many of `owned` it deleted, and whether no others are left. `parts` refer to them."""
    mine = select(owned.c.id).where(owned.c.owner == contract_id).order_by(owned.c.id).limit(_OWNERS)
    # Locked, so that nothing is added to them meanwhile; in the order of ids, as everywhere.
    ids = (await connection.execute(mine.with_for_update())).scalars().all()
    if not ids:
        return 0, True
    key = tuple(parts.primary_key.columns)
    some = select(*key).where(key[0].in_(ids)).limit(_ROWS)
    if (await connection.execute(delete(parts).where(tuple_(*key).in_(some)))).rowcount == _ROWS:
        return 0, False
    done = await connection.execute(delete(owned).where(owned.c.id.in_(ids)))
    return done.rowcount, False


async def _usage(connection: AsyncConnection, contract_id: str) -> tuple[int, bool]:
    """As `_owned`, for a day of usage: the sums by day tell where to look, for requests have an index by time only."""
    first = select(func.min(usage_days.c.day)).where(usage_days.c.contract_id == contract_id)
    day = (await connection.execute(first)).scalar_one()
    if day is None:
        return 0, True
    sums = (usage_days.c.contract_id == contract_id, usage_days.c.day == day)
    # First, since PostgreSQL locks them: what is added later adds sums anew.
    locked = select(usage_days.c.day).where(*sums).order_by(usage_days.c.key_id, usage_days.c.model)
    await connection.execute(locked.with_for_update())
    begins_at = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    within = (usage.c.time >= begins_at, usage.c.time < begins_at + _DAY_S, usage.c.contract_id == contract_id)
    some = select(usage.c.request_id).where(*within).limit(_ROWS)
    done = (await connection.execute(delete(usage).where(usage.c.request_id.in_(some)))).rowcount
    if done < _ROWS:
        await connection.execute(delete(usage_days).where(*sums))
    return done, False
