"""What the migrations make of a database that an older version has filled."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from databases import PostgreSQL
from fundament.errors import ConfigError
from fundament.gateway.keys import KeyRing, digest_of
from fundament.storage import database
from fundament.storage.database import HEAD, open_database, reading, require_tables, upgrade
from fundament.storage.keys import KeyRepository
from fundament.storage.state import StateRepository

SECRET = "sk-fundament-" + "a" * 43


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fundament.db"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url: str = request.getfixturevalue("cleared_url")
    server.clear(url)
    return url


@pytest.fixture
def upgrade_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Brings a database to the tables of an older version."""

    def run(url: str, revision: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(database, "HEAD", revision)
            upgrade(url)

    return run


def fill(url: str, *statements: str, **parameters: object) -> None:
    async def run() -> None:
        engine = open_database(url)
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(
                    text(statement), {name: parameters[name] for name in parameters if f":{name}" in statement}
                )
        await engine.dispose()

    asyncio.run(run())


def test_keys_of_before_go_to_one_contract_which_owns_what_they_made(
    empty_url: str, upgrade_to: Callable[[str, str], None]
) -> None:
    upgrade_to(empty_url, "0002")
    fill(
        empty_url,
        "INSERT INTO keys VALUES ('key_1', 'laptop', :digest, 'sk-f', 5, NULL)",
        "INSERT INTO keys VALUES ('key_2', 'phone', :other, 'sk-f', 6, 7)",
        "INSERT INTO responses VALUES ('resp_1', 'key_1', 5, :json, :list, NULL, NULL, NULL)",
        "INSERT INTO response_events VALUES ('resp_1', 0, :json)",
        "INSERT INTO conversations VALUES ('conv_1', 'key_2', 5, :json, 0)",
        digest=digest_of(SECRET),
        other=b"x" * 32,
        json=b"{}",
        list=b"[]",
    )

    upgrade(empty_url)

    async def check() -> None:
        engine = open_database(empty_url)
        laptop, phone = await KeyRepository(engine).list()
        assert (laptop.id, laptop.name, laptop.created_at, laptop.scopes) == ("key_1", "laptop", 5, ("inference",))
        assert (laptop.contract.name, laptop.contract.plan) == ("default", "unlimited")
        assert phone.contract == laptop.contract
        assert phone.revoked_at == 7
        found = KeyRing((await KeyRepository(engine).load())[1]).find(SECRET)
        assert found is not None
        assert found.id == "key_1"
        state = StateRepository(engine)
        assert await state.find(laptop.contract.id, "resp_1") is not None
        assert await state.events("resp_1", -1) == [(0, b"{}")]
        assert await state.find_conversation(laptop.contract.id, "conv_1") is not None
        record, _ = await KeyRepository(engine).create("tablet")
        assert record.contract == laptop.contract
        await engine.dispose()

    asyncio.run(check())


def test_an_older_database_is_left_as_it_is_and_refused_with_the_command_to_run(
    empty_url: str, upgrade_to: Callable[[str, str], None]
) -> None:
    upgrade_to(empty_url, "0002")
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"at revision 0002, .* needs {HEAD}\. .* run: fundament db upgrade"):
            require_tables(empty_url)
    upgrade(empty_url)
    require_tables(empty_url)


def test_tables_that_are_not_there_are_made(empty_url: str) -> None:
    require_tables(empty_url)

    async def load() -> object:
        engine = open_database(empty_url)
        loaded = await KeyRepository(engine).load()
        await engine.dispose()
        return loaded

    assert asyncio.run(load()) == (0, [])


def test_a_database_without_keys_gets_no_contract(empty_url: str) -> None:
    upgrade(empty_url)

    async def count() -> object:
        engine = open_database(empty_url)
        async with reading(engine).connect() as connection:
            found = await connection.scalar(text("SELECT count(*) FROM contracts"))
        await engine.dispose()
        return found

    assert asyncio.run(count()) == 0
