"""The keys in the database, each with its contract. It knows the tables; the rules are in `fundament.gateway.keys`."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fundament.errors import InvalidChange, Unavailable, UnknownRecord
from fundament.gateway.audit import SERVICE
from fundament.gateway.contracts import DEFAULT_CONTRACT, Contract
from fundament.gateway.keys import KeyRecord, Scope, new_key
from fundament.storage.audit import note
from fundament.storage.contracts import find_contract, open_contract
from fundament.storage.database import asking, unavailable_on_failure
from fundament.storage.revision import REVISION, changing_accounts
from fundament.storage.tables import contracts, keys, revisions

_ACTIVE = keys.c.revoked_at.is_(None)
_CONTRACT = [contracts.c[name].label(f"contract_{name}") for name in Contract.__struct_fields__ if name != "id"]


class KeyRepository:
    """Keys as rows; a `fundament.gateway.keys.KeySource`. Every method raises `Unavailable` when the database fails.

    Args:
        actor: who makes the changes, for the audit log.
    """

    def __init__(self, engine: AsyncEngine, actor: str = SERVICE) -> None:
        self._engine = engine
        self._actor = actor

    async def create(
        self,
        name: str,
        *,
        contract: str = DEFAULT_CONTRACT,
        scopes: tuple[Scope, ...] = ("inference",),
        models: tuple[str, ...] | None = None,
        expires_at: int | None = None,
    ) -> tuple[KeyRecord, str]:
        """Store a new key of the contract with this id or name, and give its record and, this once, the key itself.

        Raises:
            InvalidChange: an active key of the contract has the name, it is not allowed (see `new_key`), or the
                contract is closed.
            UnknownRecord: there is no such contract; the default one is made.
        """
        async with changing_accounts(self._engine) as connection:
            theirs = await open_contract(connection, contract, self._actor)
            record, plaintext = new_key(name, theirs, scopes=scopes, models=models, expires_at=expires_at)
            await _end_expired(connection, record)
            await _insert(connection, record)
            terms = {name: getattr(record, name) for name in ("scopes", "models", "expires_at")}
            await note(connection, self._actor, "key.create", record.id, contract_id=theirs.id, **terms)
        return record, plaintext

    async def rotate(self, reference: str, overlap_s: int) -> tuple[KeyRecord, KeyRecord, str]:
        """Put a new key in the place of the one with this id, name or hint; the old one works for `overlap_s` more.

        The new key is what the old one was, and has as long a life from now on. Gives the old record, the new one, and
        the new key itself.

        Raises:
            InvalidChange: the key has expired, was revoked, or was replaced already.
            UnknownRecord: there is no such active key, or several.
        """
        now = int(time.time())
        async with changing_accounts(self._engine) as connection:
            old = await _find(connection, reference, and_(_ACTIVE, keys.c.replaced_by.is_(None)))
            _check_rotatable(old, now)
            record, plaintext = new_key(
                old.name,
                old.contract,
                scopes=old.scopes,
                models=old.models,
                expires_at=None if old.expires_at is None else now + old.expires_at - old.created_at,
            )
            ends_at = now + overlap_s if old.expires_at is None else min(now + overlap_s, old.expires_at)
            changes = {"replaced_by": record.id, "expires_at": ends_at}
            await connection.execute(update(keys).where(keys.c.id == old.id).values(changes))
            await _insert(connection, record)
            ends = (old.expires_at, ends_at)
            await note(connection, self._actor, "key.rotate", old.id, replaced_by=record.id, expires_at=ends)
            return await _find(connection, old.id), record, plaintext

    async def revoke(self, reference: str) -> KeyRecord:
        """Revoke the key with this id, or the active key with this name or hint. A revoked one stays as it is.

        Raises:
            UnknownRecord: there is no such key, or the name or the hint fits several.
        """
        async with changing_accounts(self._engine) as connection:
            record = await _find(connection, reference)
            if record.revoked_at is None:
                await note(connection, self._actor, "key.revoke", record.id)
            now = func.coalesce(keys.c.revoked_at, int(time.time()))
            await connection.execute(update(keys).where(keys.c.id == record.id).values(revoked_at=now))
            return await _find(connection, record.id)

    async def version(self) -> int:
        async with asking(self._engine) as connection:
            return (await connection.execute(select(revisions.c.value).where(REVISION))).scalar_one()

    async def load(self) -> tuple[int, Sequence[KeyRecord]]:
        # One statement, so that the keys and the version are of one moment.
        statement = (
            select(revisions.c.value, keys, *_CONTRACT)
            .select_from(revisions.outerjoin(keys, _ACTIVE).outerjoin(contracts))
            .where(REVISION)
        )
        async with asking(self._engine) as connection:
            rows = (await connection.execute(statement)).mappings().all()
        if not rows:
            raise Unavailable("The database has lost the revision of its keys.")
        return rows[0]["value"], _records([row for row in rows if row["id"] is not None])

    async def list(self, contract: str | None = None) -> Sequence[KeyRecord]:
        """All keys, revoked ones too, the oldest first; with `contract`, an id or a name, those of one contract.

        Raises:
            UnknownRecord: there is no such contract.
        """
        statement = _with_contracts().order_by(keys.c.created_at, keys.c.name)
        async with asking(self._engine) as connection:
            if contract is not None:
                statement = statement.where(keys.c.contract_id == (await find_contract(connection, contract)).id)
            return _records((await connection.execute(statement)).mappings().all())

    async def used(self, times: Mapping[str, int]) -> None:
        """Note when each of these keys, by id, was used last (Unix seconds). The revision stays as it is."""
        statement = (
            update(keys)
            .where(keys.c.id == bindparam("key_id"))
            .where(or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < bindparam("used_at")))
            .values(last_used_at=bindparam("used_at"))
        )
        # In one order everywhere, so that two workers do not wait for each other in PostgreSQL.
        rows = [{"key_id": id, "used_at": used_at} for id, used_at in sorted(times.items())]
        with unavailable_on_failure():
            async with self._engine.begin() as connection:
                await connection.execute(statement, rows)


async def _insert(connection: AsyncConnection, record: KeyRecord) -> None:
    try:
        await connection.execute(insert(keys).values(_row(record)))
    except IntegrityError:
        raise InvalidChange(
            f"An active key of the contract '{record.contract.name}' is named '{record.name}' already."
        ) from None


def _check_rotatable(record: KeyRecord, now: int) -> None:
    if record.revoked_at is not None:
        raise InvalidChange(f"The key '{record.name}' was revoked. Create another.")
    if record.replaced_by is not None:
        raise InvalidChange(f"The key '{record.name}' was replaced by {record.replaced_by}.")
    if record.expires_at is not None and record.expires_at <= now:
        raise InvalidChange(f"The key '{record.name}' has expired. Create another.")


async def _end_expired(connection: AsyncConnection, record: KeyRecord) -> None:
    """Lets a key of the same name that has expired give it free: it counts as revoked since then."""
    same = and_(keys.c.contract_id == record.contract.id, keys.c.name == record.name, _ACTIVE)
    expired = and_(same, keys.c.expires_at <= record.created_at)
    await connection.execute(update(keys).where(expired).values(revoked_at=keys.c.expires_at))


async def _find(connection: AsyncConnection, reference: str, named: Any = _ACTIVE) -> KeyRecord:
    """The key that is meant. Ids go first, then names, then hints; of the latter only keys that are `named` count."""
    for meant in (
        keys.c.id == reference,
        and_(named, keys.c.name == reference),
        and_(named, keys.c.hint == reference),
    ):
        found = _records((await connection.execute(_with_contracts().where(meant))).mappings().all())
        if len(found) > 1:
            these = ", ".join(f"{key.id} of the contract '{key.contract.name}'" for key in found)
            raise UnknownRecord(f"Several active keys are '{reference}': {these}. Give one of these ids.")
        if found:
            return found[0]
    raise UnknownRecord(f"No active key has the id, the name or the hint '{reference}'.")


def _with_contracts() -> Select[Any]:
    return select(keys, *_CONTRACT).join(contracts)


def _row(record: KeyRecord) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in KeyRecord.__struct_fields__ if name != "contract"}
    models = None if record.models is None else " ".join(record.models)
    return {**row, "contract_id": record.contract.id, "scopes": " ".join(record.scopes), "models": models}


def _records(rows: Sequence[RowMapping]) -> Sequence[KeyRecord]:
    """The keys of these rows; those of one contract share one object."""
    theirs: dict[str, Contract] = {}
    records: list[KeyRecord] = []
    for row in rows:
        id: str = row["contract_id"]
        if id not in theirs:
            theirs[id] = Contract(**{name: row[f"contract_{name}"] for name in Contract.__struct_fields__})
        values = {name: row[name] for name in KeyRecord.__struct_fields__ if name != "contract"}
        models: str | None = row["models"]
        values |= {"scopes": tuple(row["scopes"].split()), "models": None if models is None else tuple(models.split())}
        records.append(KeyRecord(contract=theirs[id], **values))
    return records
