"""Items of conversations are found by their ids alone, in whatever conversation they are."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("conversation_items_id", "conversation_items")
    op.create_index("conversation_items_id", "conversation_items", ["item_id", "conversation_id"])


def downgrade() -> None:
    op.drop_index("conversation_items_id", "conversation_items")
    op.create_index("conversation_items_id", "conversation_items", ["conversation_id", "item_id"])
