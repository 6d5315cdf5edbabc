"""Contracts in SQLite and in PostgreSQL, and what the migration makes of keys and state that are older than them."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.errors import InvalidChange, Unavailable, UnknownRecord
from fundament.storage.contracts import ContractRepository
from fundament.storage.keys import KeyRepository

PLANS = ("essential", "unlimited")


@pytest.fixture
def contracts(engine: AsyncEngine) -> ContractRepository:
    return ContractRepository(engine, PLANS)


@pytest.fixture
def keys(engine: AsyncEngine) -> KeyRepository:
    return KeyRepository(engine)


async def test_a_contract_is_listed_as_it_was_made(contracts: ContractRepository) -> None:
    acme = await contracts.create("Acme GmbH", "essential", 100_000_000_000)
    other = await contracts.create("other", "unlimited")
    assert sorted(await contracts.list(), key=lambda contract: contract.name) == [acme, other]
    assert (acme.plan, acme.monthly_budget_nanos, acme.closed_at) == ("essential", 100_000_000_000, None)
    assert other.monthly_budget_nanos is None


@pytest.mark.parametrize("name", ["", " a", "a\tb", "contract_1", "sk-x", "x" * 101])
async def test_a_name_that_would_confuse_is_refused(contracts: ContractRepository, name: str) -> None:
    with pytest.raises(InvalidChange):
        await contracts.create(name, "essential")
    assert await contracts.list() == []


async def test_a_name_is_given_once_also_after_its_contract_is_closed(contracts: ContractRepository) -> None:
    await contracts.create("acme", "essential")
    await contracts.close("acme")
    with pytest.raises(InvalidChange, match="named 'acme' already"):
        await contracts.create("acme", "essential")


async def test_a_plan_must_be_there(contracts: ContractRepository) -> None:
    with pytest.raises(InvalidChange, match=r"No plan is named 'gold'\. There are: essential, unlimited\."):
        await contracts.create("acme", "gold")
    acme = await contracts.create("acme", "essential")
    with pytest.raises(InvalidChange, match="'gold'"):
        await contracts.change("acme", plan="gold")
    assert await contracts.list() == [acme]


async def test_every_change_of_a_contract_reaches_the_keys_in_memory(
    contracts: ContractRepository, keys: KeyRepository
) -> None:
    acme = await contracts.create("acme", "essential")
    record, _ = await keys.create("laptop", contract="acme")
    assert record.contract == acme
    version = await keys.version()
    for change in ({"plan": "unlimited"}, {"monthly_budget_nanos": 5}, {"monthly_budget_nanos": None}):
        changed = await contracts.change(acme.id, **change)
        assert {name: getattr(changed, name) for name in change} == change
        newer, [loaded] = await keys.load()
        assert loaded.contract == changed
        assert newer > version
        version = newer


async def test_closing_a_contract_revokes_its_keys_and_no_others(
    contracts: ContractRepository, keys: KeyRepository
) -> None:
    await contracts.create("acme", "essential")
    await keys.create("laptop", contract="acme")
    kept, _ = await keys.create("laptop")
    closed = await contracts.close("acme")
    assert closed.closed_at is not None
    assert (await keys.load())[1] == [kept]
    for refused in (keys.create("phone", contract="acme"), contracts.change("acme", plan="unlimited")):
        with pytest.raises(InvalidChange, match="'acme' is closed"):
            await refused
    assert await contracts.close("acme") == closed


async def test_an_unknown_contract_is_refused_by_name(contracts: ContractRepository, keys: KeyRepository) -> None:
    for refused in (
        contracts.change("acme", plan="essential"),
        contracts.close("acme"),
        keys.create("k", contract="acme"),
    ):
        with pytest.raises(UnknownRecord, match="'acme'"):
            await refused
    assert await keys.version() == 0


async def test_the_keys_of_one_contract_share_one_object(contracts: ContractRepository, keys: KeyRepository) -> None:
    for name in ("laptop", "phone"):
        await keys.create(name)
    one, two = (await keys.load())[1]
    assert one.contract is two.contract
    assert (one.contract.name, one.contract.plan) == ("default", "unlimited")


async def test_a_database_that_fails_is_unavailable(contracts: ContractRepository, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE keys"))
        await connection.execute(text("DROP TABLE contracts"))
    for call in (contracts.list(), contracts.create("secret", "essential"), contracts.close("secret")):
        with pytest.raises(Unavailable) as caught:
            await call
        assert "secret" not in caught.value.message
