"""The tables, as SQLAlchemy Core sees them. The migrations make them; a test holds the two together."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    and_,
)

metadata = MetaData()

contracts = Table(
    "contracts",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("plan", String, nullable=False),
    Column("monthly_budget_nanos", BigInteger),
    Column("created_at", BigInteger, nullable=False),  # Unix seconds, as all times here
    Column("closed_at", BigInteger),
    Column("erased_at", BigInteger),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("contract_id", String, ForeignKey(contracts.c.id), nullable=False),
    Column("name", String, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("scopes", String, nullable=False),  # separated by spaces, as are models
    Column("models", String),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("replaced_by", String),
    Column("revoked_at", BigInteger),
)

# A revoked key keeps its name, and gives it free; so does one that another replaces.
_named = and_(keys.c.revoked_at.is_(None), keys.c.replaced_by.is_(None))
Index("keys_active_name", keys.c.contract_id, keys.c.name, unique=True, sqlite_where=_named, postgresql_where=_named)

# One row a change of contracts and keys; ids are given once and grow. `object_id` is a contract's or a key's.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("object_id", String, nullable=False),
    Column("changes", String, nullable=False),  # JSON without any text of a client
    sqlite_autoincrement=True,
)

# One row a table that processes keep in memory: a number that grows in the same transaction as every change to it.
revisions = Table(
    "revisions",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# What the Responses API keeps. JSON is kept as msgspec's bytes: PostgreSQL's own JSON and text refuse "\u0000", which
# models and clients may write. Times are Unix seconds with a fraction.
responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("previous_response_id", String),
    Column("conversation_id", String),
    Column("runner", String),
)
Index("responses_created_at", responses.c.created_at)
Index("responses_owner", responses.c.owner)
Index(
    "responses_running",
    responses.c.runner,
    sqlite_where=responses.c.runner.is_not(None),
    postgresql_where=responses.c.runner.is_not(None),
)

response_events = Table(
    "response_events",
    metadata,
    Column("response_id", String, ForeignKey(responses.c.id, ondelete="CASCADE"), primary_key=True),
    Column("sequence_number", BigInteger, primary_key=True, autoincrement=False),
    Column("event", LargeBinary, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Column("next_position", BigInteger, nullable=False),  # only grows, so a position is never given twice
)
Index("conversations_owner", conversations.c.owner)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", String, ForeignKey(conversations.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("item_id", String, nullable=False),
    Column("item", LargeBinary, nullable=False),
)
Index("conversation_items_id", conversation_items.c.item_id, conversation_items.c.conversation_id)

# The processes that make responses in the background, and when each told last that it lives.
runners = Table(
    "runners",
    metadata,
    Column("id", String, primary_key=True),
    Column("seen_at", Double, nullable=False),
)

# One row a request, as its record in the journal says. Ids of requests begin with their time, so rows are appended.
usage = Table(
    "usage",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("time", Double, nullable=False),
    Column("contract_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("model", String, nullable=False),
    Column("asked_model", String, nullable=False),
    Column("region", String),
    Column("stream", Boolean, nullable=False),
    Column("status", BigInteger, nullable=False),  # of HTTP
    Column("outcome", String, nullable=False),
    Column("error_code", String),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("tokens_known", Boolean, nullable=False),
    Column("first_byte_ms", Double),
    Column("duration_ms", Double, nullable=False),
    Column("cost_nanos", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("usage_time", usage.c.time)

# The sums of `usage` by day (UTC, "2026-11-23"). They stay when the rows that they were made of are swept.
usage_days = Table(
    "usage_days",
    metadata,
    Column("contract_id", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nanos", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# How far (bytes) each segment of a journal is moved into `usage`, as long as the segment is there.
usage_segments = Table(
    "usage_segments",
    metadata,
    Column("name", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
)
