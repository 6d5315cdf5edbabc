"""Keys in SQLite and in PostgreSQL: against a model, from eight processes at once, and up to the ring in memory."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.errors import InvalidChange, Unavailable, UnknownRecord
from fundament.gateway.keys import KeyRefresher, KeyRing
from fundament.storage.contracts import ContractRepository
from fundament.storage.database import open_database, upgrade
from fundament.storage.keys import KeyRepository

CREATE_KEYS = """
import asyncio, sys
from fundament.storage.database import open_database, upgrade
from fundament.storage.keys import KeyRepository

async def main(url, count, process):
    engine = open_database(url)
    for number in range(count):
        record, plaintext = await KeyRepository(engine).create(f"{process}-{number}")
        print(plaintext)
    await engine.dispose()

upgrade(sys.argv[1])
asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
"""


def start_creating(url: str, *, keys: int, process: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CREATE_KEYS, url, str(keys), str(process)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(engine: AsyncEngine) -> KeyRepository:
    return KeyRepository(engine)


async def test_a_new_database_has_no_keys(repository: KeyRepository) -> None:
    assert await repository.load() == (0, [])
    assert await repository.list() == []


async def test_a_created_key_is_loaded_as_it_was_given(repository: KeyRepository) -> None:
    record, plaintext = await repository.create("laptop")
    assert await repository.load() == (await repository.version(), [record])
    assert KeyRing([record]).find(plaintext) is record


async def test_a_name_is_unique_among_active_keys_only(repository: KeyRepository) -> None:
    await repository.create("laptop")
    version = await repository.version()
    with pytest.raises(InvalidChange, match="laptop"):
        await repository.create("laptop")
    assert await repository.version() == version
    await repository.revoke("laptop")
    await repository.create("laptop")
    assert [record.name for record in await repository.list()] == ["laptop", "laptop"]


@pytest.mark.parametrize("attribute", ["id", "name", "hint"])
async def test_a_key_is_revoked_by_its_id_name_or_hint(repository: KeyRepository, attribute: str) -> None:
    kept, _ = await repository.create("kept")
    record, _ = await repository.create("laptop")
    version = await repository.version()
    revoked = await repository.revoke(getattr(record, attribute))
    assert revoked.id == record.id
    assert revoked.revoked_at is not None
    assert abs(revoked.revoked_at - time.time()) < 2
    assert await repository.version() > version
    assert (await repository.load())[1] == [kept]
    assert revoked in await repository.list()


async def test_revoking_an_id_again_keeps_the_first_time(repository: KeyRepository, engine: AsyncEngine) -> None:
    record, _ = await repository.create("laptop")
    await repository.revoke(record.id)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE keys SET revoked_at = 1234"))
    assert (await repository.revoke(record.id)).revoked_at == 1234


async def test_what_is_no_active_key_cannot_be_revoked(repository: KeyRepository) -> None:
    record, _ = await repository.create("laptop")
    await repository.revoke("laptop")
    for reference in ("laptop", record.hint, "phone", ""):
        with pytest.raises(UnknownRecord):
            await repository.revoke(reference)


async def test_a_hint_that_fits_two_keys_revokes_none(repository: KeyRepository, engine: AsyncEngine) -> None:
    one, _ = await repository.create("one")
    two, _ = await repository.create("two")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE keys SET hint = 'alike'"))
    with pytest.raises(UnknownRecord) as caught:
        await repository.revoke("alike")
    assert one.id in str(caught.value)
    assert two.id in str(caught.value)
    assert len((await repository.load())[1]) == 2


async def test_two_contracts_may_name_their_keys_alike_and_then_the_name_alone_revokes_none(
    repository: KeyRepository, engine: AsyncEngine
) -> None:
    await ContractRepository(engine, ["unlimited"]).create("acme", "unlimited")
    ours, _ = await repository.create("laptop")
    theirs, _ = await repository.create("laptop", contract="acme")
    with pytest.raises(UnknownRecord, match="of the contract 'acme'") as caught:
        await repository.revoke("laptop")
    assert ours.id in str(caught.value)
    assert theirs.id in str(caught.value)
    await repository.revoke(theirs.id)
    assert (await repository.load())[1] == [ours]


async def test_what_a_key_may_do_is_loaded_as_it_was_given(repository: KeyRepository) -> None:
    end = int(time.time()) + 100
    record, _ = await repository.create("k", scopes=("inference", "usage"), models=("a", "b/c"), expires_at=end)
    _, [loaded] = await repository.load()
    assert loaded == record
    assert (loaded.scopes, loaded.models, loaded.expires_at) == (("inference", "usage"), ("a", "b/c"), end)


async def test_an_expired_key_gives_its_name_free(repository: KeyRepository, engine: AsyncEngine) -> None:
    await repository.create("laptop", expires_at=int(time.time()) + 100)
    with pytest.raises(InvalidChange, match="named 'laptop' already"):
        await repository.create("laptop")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE keys SET expires_at = 1234"))
    newer, _ = await repository.create("laptop")
    assert (await repository.load())[1] == [newer]
    assert {key.revoked_at for key in await repository.list()} == {1234, None}


async def test_a_rotation_puts_a_like_key_in_the_place_of_one_that_works_on_for_a_while(
    repository: KeyRepository,
) -> None:
    end = int(time.time()) + 1000
    first, plaintext = await repository.create("laptop", scopes=("usage",), models=("a",), expires_at=end)
    old, new, newer = await repository.rotate("laptop", overlap_s=60)
    assert newer != plaintext
    assert (old.id, old.replaced_by) == (first.id, new.id)
    assert old.expires_at is not None
    assert abs(old.expires_at - time.time() - 60) < 2
    assert (new.name, new.contract, new.scopes, new.models) == ("laptop", first.contract, ("usage",), ("a",))
    assert new.expires_at is not None
    assert abs(new.expires_at - end) < 2  # as long a life as the old one had
    ring = KeyRing((await repository.load())[1])
    assert ring.find(plaintext) == old
    assert ring.find(newer) == new


async def test_a_rotation_never_makes_the_old_key_live_longer(repository: KeyRepository) -> None:
    end = int(time.time()) + 10
    await repository.create("laptop", expires_at=end)
    old, _, _ = await repository.rotate("laptop", overlap_s=3600)
    assert old.expires_at == end


async def test_the_newest_key_of_a_name_is_rotated_and_a_replaced_one_is_not(
    repository: KeyRepository, engine: AsyncEngine
) -> None:
    first, _ = await repository.create("laptop")
    _, second, _ = await repository.rotate("laptop", overlap_s=60)
    old, third, _ = await repository.rotate("laptop", overlap_s=60)
    assert old.id == second.id
    with pytest.raises(InvalidChange, match=f"replaced by {second.id}"):
        await repository.rotate(first.id, overlap_s=60)
    with pytest.raises(UnknownRecord, match="Several active keys"):
        await repository.revoke("laptop")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE keys SET expires_at = 1234"))
    with pytest.raises(InvalidChange, match="has expired"):
        await repository.rotate(third.id, overlap_s=60)
    await repository.revoke(third.id)
    with pytest.raises(InvalidChange, match="was revoked"):
        await repository.rotate(third.id, overlap_s=60)


async def test_a_later_use_is_kept_and_an_earlier_one_changes_nothing(repository: KeyRepository) -> None:
    laptop, _ = await repository.create("laptop")
    phone, _ = await repository.create("phone")
    version = await repository.version()
    await repository.used({laptop.id: 5, phone.id: 6, "key_gone": 7})
    await repository.used({laptop.id: 4, phone.id: 8})
    assert {key.name: key.last_used_at for key in await repository.list()} == {"laptop": 5, "phone": 8}
    assert await repository.version() == version  # or every worker would load all keys again each minute


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["create", "revoke"]), st.sampled_from("abc")), max_size=15))
def test_any_sequence_of_changes_leaves_what_a_dict_would_hold(changes: list[tuple[str, str]]) -> None:
    async def play(url: str) -> None:
        engine = open_database(url)
        repository = KeyRepository(engine)
        model: dict[str, str] = {}
        for verb, name in changes:
            before = await repository.version()
            allowed = (name in model) == (verb == "revoke")
            try:
                if verb == "create":
                    record, _ = await repository.create(name)
                    model[name] = record.id
                else:
                    assert (await repository.revoke(name)).id == model.pop(name)
            except (InvalidChange, UnknownRecord):
                assert not allowed
                assert await repository.version() == before
            else:
                assert allowed
                assert await repository.version() > before
        assert {record.name: record.id for record in (await repository.load())[1]} == model
        await engine.dispose()

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/fundament.db"
        upgrade(url)
        asyncio.run(play(url))


async def test_eight_processes_create_keys_while_a_reader_polls_and_no_file_holds_a_key(
    tmp_path: Path, database_url: str, repository: KeyRepository
) -> None:
    processes = [start_creating(database_url, keys=25, process=number) for number in range(8)]
    seen = [0]
    while any(process.poll() is None for process in processes):
        version, records = await repository.load()
        assert version == len(records) >= seen[-1]  # each load is of one moment
        seen.append(version)
    outputs = [process.communicate() for process in processes]
    assert [errors for _, errors in outputs] == [""] * 8
    plaintexts = [line for output, _ in outputs for line in output.splitlines()]
    assert len(set(plaintexts)) == 200
    assert len(set(seen)) > 3  # the reader did read in between
    version, records = await repository.load()
    ring = KeyRing(records)
    assert version == 200
    assert all(ring.find(plaintext) for plaintext in plaintexts)

    if database_url.startswith("postgresql"):
        return  # its files are the server's
    contents = contents_of(tmp_path)
    assert "fundament.db-wal" in contents
    assert records[0].id.encode() in b"".join(contents.values())  # so a key would have been seen
    for plaintext in plaintexts:
        assert not any(plaintext.removeprefix("sk-fundament-").encode() in content for content in contents.values())


async def test_another_process_s_key_works_at_once_and_its_revocation_within_a_second(database_url: str) -> None:
    ours, theirs = open_database(database_url), open_database(database_url)
    refresher = KeyRefresher(KeyRing(), KeyRepository(ours))
    await refresher.refresh()
    following = asyncio.create_task(refresher.run())

    record, plaintext = await KeyRepository(theirs).create("laptop")
    assert await refresher.find(plaintext) == record

    await KeyRepository(theirs).revoke("laptop")
    start = time.monotonic()
    while await refresher.find(plaintext) is not None:
        assert time.monotonic() - start < 1
        await asyncio.sleep(0.01)

    following.cancel()
    await asyncio.wait([following])
    await ours.dispose()
    await theirs.dispose()


async def test_a_database_without_tables_is_unavailable_and_comes_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fundament.db"
    engine = open_database(url)
    repository = KeyRepository(engine)
    for call in (repository.version, repository.load, repository.list, lambda: repository.create("laptop")):
        with pytest.raises(Unavailable, match="no such table"):
            await call()
    await asyncio.to_thread(upgrade, url)
    assert await repository.version() == 0
    await engine.dispose()


async def test_a_failure_s_text_holds_no_digest(repository: KeyRepository, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE keys"))
    with pytest.raises(Unavailable) as caught:
        await repository.create("laptop")
    assert "laptop" not in caught.value.message


def test_a_gateway_worker_does_not_carry_what_only_commands_and_migrations_need() -> None:
    code = (
        "import sys, fundament.gateway.keys, fundament.storage.keys\n"
        "print(sorted({'alembic', 'mako', 'typer', 'asyncpg'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
