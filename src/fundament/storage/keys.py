"""The keys in the database. It knows the table and its revision; the rules of keys are in `fundament.gateway.keys`."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import asdict
from sqlalchemy import RowMapping, and_, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fundament.errors import Unavailable
from fundament.gateway.keys import KeyNameError, KeyRecord, new_key
from fundament.storage.database import reading, unavailable_on_failure
from fundament.storage.tables import keys, revisions

_REVISION = revisions.c.name == "keys"


class UnknownKeyError(LookupError):
    """No key is called this, or several are; the message says which."""


class KeyRepository:
    """Keys as rows; a `fundament.gateway.keys.KeySource`. Every method raises `Unavailable` when the database fails."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, name: str) -> tuple[KeyRecord, str]:
        """Store a new key and give its record and, this once, the key itself.

        Raises:
            KeyNameError: an active key has the name, or it is not allowed (see `new_key`).
        """
        record, plaintext = new_key(name)
        async with self._changing() as connection:
            try:
                await connection.execute(keys.insert().values(asdict(record)))
            except IntegrityError:
                raise KeyNameError(f"An active key is named '{name}' already.") from None
        return record, plaintext

    async def revoke(self, reference: str) -> KeyRecord:
        """Revoke the key with this id, or the active key with this name or hint. A revoked one stays as it is.

        Raises:
            UnknownKeyError: there is no such key, or the hint fits several.
        """
        async with self._changing() as connection:
            key_id = await _resolve(connection, reference)
            now = func.coalesce(keys.c.revoked_at, int(time.time()))
            revoked = update(keys).where(keys.c.id == key_id).values(revoked_at=now).returning(keys)
            return _record((await connection.execute(revoked)).mappings().one())

    async def version(self) -> int:
        async with self._asking() as connection:
            return (await connection.execute(select(revisions.c.value).where(_REVISION))).scalar_one()

    async def load(self) -> tuple[int, Sequence[KeyRecord]]:
        # One statement, so that the keys and the version are of one moment.
        active = keys.c.revoked_at.is_(None)
        statement = select(revisions.c.value, keys).select_from(revisions.outerjoin(keys, active)).where(_REVISION)
        async with self._asking() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        if not rows:
            raise Unavailable("The database has lost the revision of its keys.")
        return rows[0]["value"], [_record(row) for row in rows if row["id"] is not None]

    async def list(self) -> Sequence[KeyRecord]:
        """All keys, revoked ones too, the oldest first."""
        async with self._asking() as connection:
            rows = await connection.execute(select(keys).order_by(keys.c.created_at, keys.c.name))
            return [_record(row) for row in rows.mappings()]

    @asynccontextmanager
    async def _asking(self) -> AsyncGenerator[AsyncConnection]:
        with unavailable_on_failure():
            async with reading(self._engine).connect() as connection:
                yield connection

    @asynccontextmanager
    async def _changing(self) -> AsyncGenerator[AsyncConnection]:
        with unavailable_on_failure():
            async with self._engine.begin() as connection:
                # First, since PostgreSQL locks the row: changes queue here, and a higher revision is the later one.
                await connection.execute(update(revisions).where(_REVISION).values(value=revisions.c.value + 1))
                yield connection


async def _resolve(connection: AsyncConnection, reference: str) -> str:
    """The id of the key that is meant. Ids go first, then names, then hints: only hints can be alike."""
    active = keys.c.revoked_at.is_(None)
    for meant in (
        keys.c.id == reference,
        and_(active, keys.c.name == reference),
        and_(active, keys.c.hint == reference),
    ):
        ids = (await connection.execute(select(keys.c.id).where(meant))).scalars().all()
        if len(ids) > 1:
            raise UnknownKeyError(
                f"Several active keys look like '{reference}': {', '.join(ids)}. Give one of these ids."
            )
        if ids:
            return ids[0]
    raise UnknownKeyError(f"No active key has the id, the name or the hint '{reference}'.")


def _record(row: RowMapping) -> KeyRecord:
    return KeyRecord(**{name: row[name] for name in KeyRecord.__struct_fields__})
