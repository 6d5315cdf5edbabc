"""The audit log; when a contract was erased, and the indexes by which all that it has is found."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("object_id", sa.String, nullable=False),
        sa.Column("changes", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.add_column("contracts", sa.Column("erased_at", sa.BigInteger))
    op.create_index("responses_owner", "responses", ["owner"])
    op.create_index("conversations_owner", "conversations", ["owner"])


def downgrade() -> None:
    op.drop_index("conversations_owner", "conversations")
    op.drop_index("responses_owner", "responses")
    with op.batch_alter_table("contracts") as batch:
        batch.drop_column("erased_at")
    op.drop_table("audit")
