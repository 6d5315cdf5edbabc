"""The audit log in SQLite and in PostgreSQL: each change has its entry, which comes and goes with the change."""

import time

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.errors import InvalidChange
from fundament.gateway.keys import digest_of
from fundament.storage.audit import AuditRepository, note
from fundament.storage.contracts import ContractRepository
from fundament.storage.database import reading
from fundament.storage.keys import KeyRepository
from fundament.storage.revision import changing_accounts
from fundament.storage.tables import audit

PLANS = ("essential", "unlimited")


@pytest.fixture
def contracts(engine: AsyncEngine) -> ContractRepository:
    return ContractRepository(engine, PLANS, "lea")


@pytest.fixture
def keys(engine: AsyncEngine) -> KeyRepository:
    return KeyRepository(engine, "lea")


async def test_every_change_is_told_with_who_when_and_what(
    engine: AsyncEngine, contracts: ContractRepository, keys: KeyRepository
) -> None:
    began_at = int(time.time())
    acme = await contracts.create("acme", "essential", 5)
    await contracts.change("acme", plan="unlimited", monthly_budget_nanos=None)
    laptop, _ = await keys.create("laptop", contract="acme", models=("a",))
    _, newer, _ = await keys.rotate("laptop", 0)
    await keys.revoke(newer.id)
    await contracts.close("acme")
    entries = [*reversed(await AuditRepository(engine).list(100))]
    assert {entry.actor for entry in entries} == {"lea"}
    assert all(began_at <= entry.time <= time.time() for entry in entries)
    assert [entry.id for entry in entries] == sorted(entry.id for entry in entries)
    *others, rotated, revoked, closed = [
        (entry.action, entry.object_id, entry.object_name, entry.changes) for entry in entries
    ]
    assert others == [
        ("contract.create", acme.id, "acme", {"plan": "essential", "monthly_budget_nanos": 5}),
        (
            "contract.change",
            acme.id,
            "acme",
            {"plan": ["essential", "unlimited"], "monthly_budget_nanos": [5, None]},
        ),
        (
            "key.create",
            laptop.id,
            "laptop",
            {"contract_id": acme.id, "scopes": ["inference"], "models": ["a"], "expires_at": None},
        ),
    ]
    assert rotated[:2] == ("key.rotate", laptop.id)
    assert rotated[3]["replaced_by"] == newer.id
    assert revoked == ("key.revoke", newer.id, "laptop", {})
    assert closed == ("contract.close", acme.id, "acme", {})


async def test_the_contract_that_is_made_for_a_key_has_an_entry_too(engine: AsyncEngine, keys: KeyRepository) -> None:
    await keys.create("laptop")
    assert [entry.action for entry in await AuditRepository(engine).list(9)] == ["key.create", "contract.create"]


async def test_what_changes_nothing_has_no_entry(
    engine: AsyncEngine, contracts: ContractRepository, keys: KeyRepository
) -> None:
    await contracts.create("acme", "essential")
    record, _ = await keys.create("laptop", contract="acme")
    await keys.revoke(record.id)
    await contracts.close("acme")
    before = await AuditRepository(engine).list(100)
    await keys.revoke(record.id)
    await contracts.close("acme")
    for refused in (contracts.create("acme", "essential"), contracts.change("acme", plan="unlimited")):
        with pytest.raises(InvalidChange):
            await refused
    assert await AuditRepository(engine).list(100) == before


async def test_an_entry_goes_with_a_change_that_fails(engine: AsyncEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with changing_accounts(engine) as connection:
            await note(connection, "lea", "contract.close", "contract_1")
            _ = 1 / 0
    assert await AuditRepository(engine).list(1) == []


async def test_no_key_digest_hint_or_name_is_in_the_log(
    engine: AsyncEngine, contracts: ContractRepository, keys: KeyRepository
) -> None:
    await contracts.create("the-contract", "essential")
    record, plaintext = await keys.create("the-key", contract="the-contract")
    await keys.rotate(record.id, 5)
    async with reading(engine).connect() as connection:
        written = str((await connection.execute(select(audit))).all())
    for secret in (plaintext, plaintext[-43:], digest_of(plaintext).hex(), record.hint, "the-key", "the-contract"):
        assert secret not in written


async def test_a_log_is_read_in_pages(engine: AsyncEngine, contracts: ContractRepository) -> None:
    for number in range(5):
        await contracts.create(f"c{number}", "essential")
    repository = AuditRepository(engine)
    newest = await repository.list(2)
    assert [entry.object_name for entry in newest] == ["c4", "c3"]
    assert [entry.object_name for entry in await repository.list(9, newest[-1].id)] == ["c2", "c1", "c0"]
