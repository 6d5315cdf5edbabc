"""The audit log in the database. It knows the table; what is written is known by those who change something."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fundament.gateway.audit import Action, AuditEntry
from fundament.storage.database import asking
from fundament.storage.tables import audit, contracts, keys


async def note(connection: AsyncConnection, actor: str, action: Action, object_id: str, **changes: Any) -> None:
    """Writes an entry in the transaction of the change that it is about."""
    values = {
        "time": int(time.time()),
        "actor": actor,
        "action": action,
        "object_id": object_id,
        "changes": msgspec.json.encode(changes).decode(),
    }
    await connection.execute(insert(audit).values(values))


class AuditRepository:
    """Raises `Unavailable` when the database fails."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(self, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
        """The newest entries first; with `before`, those that are older than the entry with this id."""
        name = func.coalesce(keys.c.name, contracts.c.name).label("object_name")
        named = audit.outerjoin(keys, keys.c.id == audit.c.object_id)
        named = named.outerjoin(contracts, contracts.c.id == audit.c.object_id)
        statement = select(audit, name).select_from(named).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit.c.id < before)
        async with asking(self._engine) as connection:
            rows = (await connection.execute(statement)).mappings().all()
        return [AuditEntry(**{**row, "changes": msgspec.json.decode(row["changes"])}) for row in rows]
