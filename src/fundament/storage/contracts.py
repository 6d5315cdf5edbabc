"""The contracts in the database. It knows the table; what a contract is, is known by `fundament.gateway.contracts`."""

import time
from collections.abc import Collection, Sequence
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict
from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fundament.errors import InvalidChange, UnknownRecord
from fundament.gateway.audit import SERVICE
from fundament.gateway.contracts import DEFAULT_CONTRACT, Contract, new_contract
from fundament.settings import UNLIMITED
from fundament.storage.audit import note
from fundament.storage.database import asking
from fundament.storage.revision import changing_accounts
from fundament.storage.tables import contracts, keys


class ContractRepository:
    """Contracts as rows. Every method raises `Unavailable` when the database fails.

    Args:
        plans: the names of the plans that a contract may have.
        actor: who makes the changes, for the audit log.
    """

    def __init__(self, engine: AsyncEngine, plans: Collection[str], actor: str = SERVICE) -> None:
        self._engine = engine
        self._plans = plans
        self._actor = actor

    async def create(self, name: str, plan: str, monthly_budget_nanos: int | None = None) -> Contract:
        """Store a new contract.

        Raises:
            InvalidChange: the name is taken or not allowed (see `new_contract`), or there is no such plan.
        """
        self._check_plan(plan)
        contract = new_contract(name, plan, monthly_budget_nanos)
        async with changing_accounts(self._engine) as connection:
            try:
                await _insert(connection, contract, self._actor)
            except IntegrityError:
                raise InvalidChange(f"A contract is named '{name}' already.") from None
        return contract

    async def change(
        self, reference: str, *, plan: str | UnsetType = UNSET, monthly_budget_nanos: int | UnsetType | None = UNSET
    ) -> Contract:
        """Give the open contract with this id or name another plan, another budget, or both.

        Raises:
            InvalidChange: the contract is closed, or there is no such plan.
            UnknownRecord: there is no such contract.
        """
        if plan is not UNSET:
            self._check_plan(plan)
        wanted: dict[str, Any] = {"plan": plan, "monthly_budget_nanos": monthly_budget_nanos}
        values = {name: value for name, value in wanted.items() if value is not UNSET}
        async with changing_accounts(self._engine) as connection:
            contract = await open_contract(connection, reference, self._actor)
            if not values:
                return contract
            changes = {name: (getattr(contract, name), value) for name, value in values.items()}
            await note(connection, self._actor, "contract.change", contract.id, **changes)
            changed = update(contracts).where(contracts.c.id == contract.id).values(values).returning(contracts)
            return _contract((await connection.execute(changed)).mappings().one())

    async def close(self, reference: str) -> Contract:
        """Close the contract with this id or name and revoke its keys. A closed one stays as it is.

        Raises:
            UnknownRecord: there is no such contract.
        """
        async with changing_accounts(self._engine) as connection:
            contract = await find_contract(connection, reference)
            if contract.closed_at is None:
                await note(connection, self._actor, "contract.close", contract.id)
            return await close_contract(connection, contract)

    async def find(self, reference: str) -> Contract:
        """The contract with this id or name; raises UnknownRecord."""
        async with asking(self._engine) as connection:
            return await find_contract(connection, reference)

    async def list(self) -> Sequence[Contract]:
        """All contracts, closed ones too, but not those that are erased; the oldest first."""
        there = select(contracts).where(contracts.c.erased_at.is_(None))
        async with asking(self._engine) as connection:
            rows = await connection.execute(there.order_by(contracts.c.created_at, contracts.c.name))
            return [_contract(row) for row in rows.mappings()]

    def _check_plan(self, plan: str) -> None:
        if plan not in self._plans:
            raise InvalidChange(f"No plan is named '{plan}'. There are: {', '.join(self._plans)}.")


async def find_contract(connection: AsyncConnection, reference: str) -> Contract:
    """The contract with this id or name; raises UnknownRecord. A name never looks like an id."""
    meant = (contracts.c.id == reference) | (contracts.c.name == reference)
    row = (await connection.execute(select(contracts).where(meant))).mappings().one_or_none()
    if row is None:
        raise UnknownRecord(f"No contract has the id or the name '{reference}'.")
    return _contract(row)


async def close_contract(connection: AsyncConnection, contract: Contract) -> Contract:
    """The contract, closed, and its keys revoked; what is so already stays so."""
    now = int(time.time())
    closed = (
        update(contracts)
        .where(contracts.c.id == contract.id)
        .values(closed_at=func.coalesce(contracts.c.closed_at, now))
        .returning(contracts)
    )
    theirs = keys.c.contract_id == contract.id
    # In the order in which workers note their last use: PostgreSQL's locks must not wait in a circle.
    await connection.execute(select(keys.c.id).where(theirs).order_by(keys.c.id).with_for_update())
    await connection.execute(update(keys).where(theirs, keys.c.revoked_at.is_(None)).values(revoked_at=now))
    return _contract((await connection.execute(closed)).mappings().one())


async def open_contract(connection: AsyncConnection, reference: str, actor: str) -> Contract:
    """As `find_contract`, and raises InvalidChange: it is closed. The default contract is made when it is missing."""
    try:
        contract = await find_contract(connection, reference)
    except UnknownRecord:
        if reference != DEFAULT_CONTRACT:
            raise
        contract = new_contract(DEFAULT_CONTRACT, UNLIMITED)
        await _insert(connection, contract, actor)
    if contract.closed_at is not None:
        raise InvalidChange(f"The contract '{contract.name}' is closed.")
    return contract


async def _insert(connection: AsyncConnection, contract: Contract, actor: str) -> None:
    await connection.execute(insert(contracts).values(asdict(contract)))
    terms = {"plan": contract.plan, "monthly_budget_nanos": contract.monthly_budget_nanos}
    await note(connection, actor, "contract.create", contract.id, **terms)


def _contract(row: RowMapping) -> Contract:
    return Contract(**{name: row[name] for name in Contract.__struct_fields__})
