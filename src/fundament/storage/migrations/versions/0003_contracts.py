"""Contracts, and what keys have of them. Keys and state of before go to one contract, which is made for them."""

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAMED = sa.text("revoked_at IS NULL AND replaced_by IS NULL")


def upgrade() -> None:
    contracts = op.create_table(
        "contracts",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("plan", sa.String, nullable=False),
        sa.Column("monthly_budget_nanos", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
    )
    op.drop_index("keys_active_name", "keys")
    for column in (
        sa.Column("contract_id", sa.String),
        sa.Column("scopes", sa.String, nullable=False, server_default="inference"),
        sa.Column("models", sa.String),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("replaced_by", sa.String),
    ):
        op.add_column("keys", column)
    keys = sa.table("keys", sa.column("id"), sa.column("contract_id"))
    if op.get_bind().scalar(sa.select(sa.func.count()).select_from(keys)):
        id = "contract_" + secrets.token_hex(12)
        op.bulk_insert(contracts, [{"id": id, "name": "default", "plan": "unlimited", "created_at": int(time.time())}])
        op.execute(keys.update().values(contract_id=id))
        for name in ("responses", "conversations"):  # what a key owned is now its contract's
            op.execute(sa.table(name, sa.column("owner")).update().values(owner=id))
    with op.batch_alter_table("keys") as batch:
        batch.alter_column("contract_id", existing_type=sa.String, nullable=False)
        batch.alter_column("scopes", existing_type=sa.String, existing_nullable=False, server_default=None)
        batch.create_foreign_key("keys_contract_id_fkey", "contracts", ["contract_id"], ["id"])
    op.create_index(
        "keys_active_name", "keys", ["contract_id", "name"], unique=True, sqlite_where=NAMED, postgresql_where=NAMED
    )
