"""Opening and migrating a real SQLite file, alone and with eight processes at once; and PostgreSQL."""

import asyncio
import fcntl
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from databases import PostgreSQL
from fundament.errors import ConfigError, Unavailable
from fundament.storage import database
from fundament.storage.database import HEAD, BatchWriter, open_database, reading, upgrade
from fundament.storage.tables import metadata, revisions


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/data/fundament.db"
    upgrade(url)
    return url


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_database(url)
    yield engine
    await engine.dispose()


def test_the_named_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_the_migrations_make_the_tables_that_the_code_sees(database_url: str) -> None:
    engine = open_database(database_url)
    async with reading(engine).connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
        )
    await engine.dispose()
    assert differences == []


def test_a_new_data_folder_is_its_owners_alone(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/a/b/fundament.db")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_upgrading_twice_changes_nothing_and_the_second_time_does_not_import_alembic(tmp_path: Path, url: str) -> None:
    file = tmp_path / "data" / "fundament.db"
    before = file.read_bytes()
    code = (
        "import sys, time\nfrom fundament.storage.database import upgrade\n"
        "start = time.perf_counter()\nupgrade(sys.argv[1])\n"
        "assert 'alembic' not in sys.modules\nprint(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code, url], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 0.3
    assert file.read_bytes() == before


def test_eight_processes_may_upgrade_a_new_database_at_once(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fundament.storage.database import upgrade\n"
        "for url in sys.stdin: upgrade(url.strip()); print('done')"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-u", "-c", code]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(8)]
    for number in range(2):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"sqlite:///{tmp_path}/{number}/fundament.db\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "done\n":
                pytest.fail(process.communicate()[1])
    assert [process.communicate() for process in processes] == [("", "")] * 8


def test_an_upgrade_waits_for_one_that_runs(tmp_path: Path) -> None:
    # Eight bare connections that switch one new file to WAL at once: 99 of 1,200 fail with "database is locked".
    file = tmp_path / "fundament.db"
    with (tmp_path / "fundament.db.lock").open("w") as lock, ThreadPoolExecutor() as threads:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threads.submit(upgrade, f"sqlite:///{file}")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        assert not file.exists()
        fcntl.flock(lock, fcntl.LOCK_UN)
        waiting.result(timeout=10)
    assert file.exists()


def test_tables_of_a_newer_version_stop_the_start(tmp_path: Path, url: str) -> None:
    with sqlite3.connect(tmp_path / "data" / "fundament.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ConfigError, match="revision 9999"):
        upgrade(url)


def test_a_database_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"storage\.database: cannot be used"):
        upgrade(f"sqlite:///{tmp_path}/file/fundament.db")


def test_a_file_that_is_no_database_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "fundament.db").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match="file is not a database"):
        upgrade(f"sqlite:///{tmp_path}/fundament.db")


@pytest.mark.parametrize(
    "url", ["", "fundament.db", "mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "::secret"]
)
def test_another_kind_of_url_is_refused_by_name_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"storage\.database") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_an_unknown_parameter_of_postgresql_is_refused_by_name_and_the_url_not_quoted() -> None:
    with pytest.raises(ConfigError, match=r"storage\.database: unknown parameter 'sslmod'") as caught:
        open_database("postgresql://user:secret@localhost/fundament?sslmod=require")
    assert "secret" not in str(caught.value)


def test_sslmode_is_obeyed(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    upgrade(f"{url}?sslmode=prefer")
    with pytest.raises(ConfigError, match="SSL"):  # the tests' server has none
        upgrade(f"{url}?sslmode=require")


def test_postgresql_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"storage\.database: cannot be used") as caught:
        upgrade("postgresql://user:secret@127.0.0.1:1/fundament")
    assert "secret" not in str(caught.value)


def test_eight_callers_may_upgrade_a_new_postgresql_at_once(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(upgrade, [url] * 8)) == [None] * 8


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 1), ("busy_timeout", 5000), ("foreign_keys", 1)]
)
async def test_each_connection_has_its_settings(engine: AsyncEngine, pragma: str, value: object) -> None:
    async with reading(engine).connect() as connection:
        assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar_one() == value


async def test_two_processes_that_read_and_then_write_wait_for_each_other(url: str) -> None:
    # With SQLite's default, deferred transactions, the second write fails at once: "database is locked".
    engines = [open_database(url) for _ in range(2)]  # two engines stand for two processes: each has its own connection

    async def count(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            value = (await connection.execute(select(revisions.c.value))).scalar_one()
            await asyncio.sleep(0.1)
            await connection.execute(revisions.update().values(value=value + 1))

    await asyncio.gather(*(count(engine) for engine in engines))
    async with reading(engines[0]).connect() as connection:
        assert (await connection.execute(select(revisions.c.value))).scalar_one() == 2
    for engine in engines:
        await engine.dispose()


async def test_a_reader_does_not_wait_for_a_writer(url: str, engine: AsyncEngine) -> None:
    other = open_database(url)
    async with engine.begin() as writing:
        await writing.execute(insert(revisions).values(name="other", value=1))
        async with asyncio.timeout(1), reading(other).connect() as connection:
            assert (await connection.execute(select(revisions.c.name))).scalars().all() == ["keys"]
    await other.dispose()


async def test_a_transaction_that_fails_leaves_nothing(engine: AsyncEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as connection:
            await connection.execute(insert(revisions).values(name="other", value=1 // 0))
    async with reading(engine).connect() as connection:
        assert (await connection.execute(select(revisions.c.name))).scalars().all() == ["keys"]


async def test_a_batch_is_written_whole_or_not_at_all(database_url: str) -> None:
    engine = open_database(database_url)
    names = select(revisions.c.name).where(revisions.c.name.like("batch%"))
    one, twice = {"name": "batch 1", "value": 1}, [{"name": "batch 2", "value": 1}] * 2
    try:
        writer = BatchWriter(engine)
        with pytest.raises(Unavailable, match=r"(?i)unique"):
            await writer.write([(insert(revisions), [one]), (insert(revisions), twice)])
        async with reading(engine).connect() as connection:
            assert (await connection.execute(names)).scalars().all() == []
        await writer.write([(insert(revisions), [one]), (insert(revisions), twice[:1])])
        async with reading(engine).connect() as connection:
            assert sorted((await connection.execute(names)).scalars().all()) == ["batch 1", "batch 2"]
    finally:
        await engine.dispose()
