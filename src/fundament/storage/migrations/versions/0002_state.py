"""What the Responses API keeps: responses with their events, conversations with their items, and who makes them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("previous_response_id", sa.String),
        sa.Column("conversation_id", sa.String),
        sa.Column("runner", sa.String),
    )
    op.create_index("responses_created_at", "responses", ["created_at"])
    op.create_index(
        "responses_running",
        "responses",
        ["runner"],
        sqlite_where=sa.text("runner IS NOT NULL"),
        postgresql_where=sa.text("runner IS NOT NULL"),
    )
    op.create_table(
        "response_events",
        sa.Column("response_id", sa.String, sa.ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sequence_number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "conversations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("metadata", sa.LargeBinary, nullable=False),
        sa.Column("next_position", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "conversation_items",
        sa.Column(
            "conversation_id", sa.String, sa.ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("item_id", sa.String, nullable=False),
        sa.Column("item", sa.LargeBinary, nullable=False),
    )
    op.create_index("conversation_items_id", "conversation_items", ["conversation_id", "item_id"])
    op.create_table(
        "runners",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("seen_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for table in ("runners", "conversation_items", "conversations", "response_events", "responses"):
        op.drop_table(table)
