"""The one revision of contracts and keys, which processes keep in memory: it grows with every change of either.

It knows the transaction that a change is made in; what is changed is known by `contracts.py` and `keys.py`.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fundament.storage.database import changing
from fundament.storage.tables import revisions

REVISION = revisions.c.name == "keys"


@asynccontextmanager
async def changing_accounts(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A transaction in which contracts and keys are changed, one at a time; raises as `database.changing`."""
    async with changing(engine) as connection:
        # First, since PostgreSQL locks the row: changes queue here, and a higher revision is the later one.
        await connection.execute(update(revisions).where(REVISION).values(value=revisions.c.value + 1))
        yield connection
