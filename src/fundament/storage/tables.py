"""The tables, as SQLAlchemy Core sees them. The migrations make them; a test holds the two together."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, String, Table

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),  # Unix seconds, as all times here
    Column("revoked_at", BigInteger),
)

# A revoked key keeps its name, and gives it free.
Index(
    "keys_active_name",
    keys.c.name,
    unique=True,
    sqlite_where=keys.c.revoked_at.is_(None),
    postgresql_where=keys.c.revoked_at.is_(None),
)

# One row a table that processes keep in memory: a number that grows in the same transaction as every change to it.
revisions = Table(
    "revisions",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
