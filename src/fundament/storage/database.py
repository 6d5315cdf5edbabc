"""Opening a database and bringing its tables up to date. It knows the two dialects and their locking; no table.

How "database is locked" is kept from happening with SQLite: the file is in WAL mode, so readers and the writer never
wait for each other. A process has one connection, so its writers queue in the pool. A transaction takes the write lock
when it begins (BEGIN IMMEDIATE), where SQLite waits up to 5 s for other processes; later it would fail at once.
8 processes that write without a pause wait 1.6 s at worst.
"""

import asyncio
import fcntl
import functools
import sqlite3
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import ClauseElement, Connection, UpdateBase, event, inspect, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from fundament.errors import ConfigError, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

HEAD = "0006"
"""The newest migration. Named here so that a start without migrations need not import Alembic; a test compares."""

POSTGRESQL_CONNECTIONS = 10  # of a process; PostgreSQL takes 100 in all by default
CONNECT_TIMEOUT_S = 5  # to PostgreSQL, where a machine that is gone would not answer
STATEMENT_TIMEOUT_S = 60

_MIGRATIONS = Path(__file__).with_name("migrations")
_UPGRADE_LOCK = 0x66756E64  # any number that no other program takes in the same PostgreSQL database


def open_database(url: str) -> AsyncEngine:
    """An engine for `sqlite:///path/to/file` or `postgresql://…`; no connection is made before the first use.

    Write in `engine.begin()`; read in `reading(engine).connect()`. Never open a second connection inside the first:
    with SQLite there is only one.

    Raises:
        ConfigError: the URL is not one of these.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_async_engine(
            parsed.set(drivername="sqlite+aiosqlite"),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
            pool_reset_on_return=None,  # another step of its thread; all that begins here ends by itself
            hide_parameters=True,  # a digest or a prompt must not reach a log through an exception's text
        )
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    query = dict(parsed.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")  # what the driver calls it; the values are libpq's
    return create_async_engine(
        parsed.set(drivername="postgresql+asyncpg", query=query),
        pool_size=POSTGRESQL_CONNECTIONS,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S},
    )


def reading(engine: AsyncEngine) -> AsyncEngine:
    """The same engine and pool for statements that only read: each sees one state of the database and takes no lock."""
    return engine.execution_options(reads_only=True)


Batch = Sequence[tuple[UpdateBase, Sequence[Mapping[str, Any]]]]
"""Statements, each with the rows of parameters that it is executed for."""


class BatchWriter:
    """Writes batches of statements that give no rows, each batch in one transaction.

    With SQLite that is one step of the driver's thread. SQLAlchemy takes one for each statement and two more for the
    transaction, and a step costs as much as many rows: 80 us of CPU a row in groups of 8, not 36.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._compiled: dict[ClauseElement, str] = {}

    async def write(self, batch: Batch) -> None:
        """Raises `Unavailable`, and then nothing is written."""
        with unavailable_on_failure():
            if self._engine.dialect.name != "sqlite":
                async with self._engine.begin() as connection:
                    for statement, rows in batch:
                        await connection.execute(statement, rows)
                return
            texts = [(self._text(statement), rows) for statement, rows in batch]
            async with reading(self._engine).connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                # aiosqlite has no public name for a step of one's own.
                await driver._execute(_write_sqlite, driver._conn, texts)  # noqa: SLF001 - see above

    def _text(self, statement: ClauseElement) -> str:
        text = self._compiled.get(statement)
        if text is None:
            text = self._compiled[statement] = str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))
        return text


def _write_sqlite(connection: sqlite3.Connection, batch: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for text, rows in batch:
            connection.executemany(text, rows)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def unbroken(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, "CoroutineType[Any, Any, T]"]:
    """Lets `call` run to its end also when its caller is cancelled, as happens when a client leaves.

    PostgreSQL's driver gives up the connection of a statement that is cancelled, and the next call must open another.
    """

    @functools.wraps(call)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.shield(asyncio.create_task(call(*args, **kwargs)))

    return run


@contextmanager
def unavailable_on_failure() -> Generator[None]:
    """Turns every failure of a database into `Unavailable`. Its text holds no statement and no parameter."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise Unavailable(f"The database failed: {_cause(error)}") from error


@asynccontextmanager
async def asking(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection to read by; raises `Unavailable` when the database fails."""
    with unavailable_on_failure():
        async with reading(engine).connect() as connection:
            yield connection


@asynccontextmanager
async def changing(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A transaction to write in; raises as `asking`."""
    with unavailable_on_failure():
        async with engine.begin() as connection:
            yield connection


def upgrade(url: str) -> None:
    """Create or migrate the tables. Any number of processes may call this at once: one works, the others wait.

    It blocks, with an event loop of its own: call it before yours runs, or in a thread. SQLite's folder is created when
    missing, for its owner alone.

    Raises:
        ConfigError: as `open_database`; or the database cannot be used, or a newer Fundament has migrated it.
    """
    _bring_up(url, migrate=True)


def require_tables(url: str) -> None:
    """As `upgrade`, but tables of an older version are left as they are, and refused with a ConfigError, too."""
    _bring_up(url, migrate=False)


def _bring_up(url: str, *, migrate: bool) -> None:
    try:
        asyncio.run(_upgrade(url, migrate=migrate))
    except (SQLAlchemyError, OSError) as error:
        raise ConfigError(f"storage.database: cannot be used: {_cause(error)}") from error


def _cause(error: SQLAlchemyError | sqlite3.Error | OSError) -> BaseException:
    """What the driver said, without SQLAlchemy's account of the statement."""
    return error.orig if isinstance(error, DBAPIError) and error.orig else error


async def _upgrade(url: str, *, migrate: bool) -> None:
    engine = open_database(url)
    try:
        if engine.url.get_backend_name() != "sqlite":
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
                await connection.run_sync(_migrate, migrate=migrate)
            return
        path = Path(engine.url.database or "")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.with_name(path.name + ".lock")):
            async with reading(engine).connect() as connection:
                # WAL is a property of the file. Switching fails at once on a file in use: so here, not on each connect.
                await connection.execute(text("PRAGMA journal_mode=WAL"))
                if await connection.run_sync(_revision) == HEAD:
                    return
            async with engine.begin() as connection:
                await connection.run_sync(_migrate, migrate=migrate)
    finally:
        await engine.dispose()


def _migrate(connection: Connection, *, migrate: bool) -> None:
    found = _revision(connection)
    if found == HEAD:
        return
    if found is not None and not migrate and found < HEAD:
        raise ConfigError(
            f"storage.database: its tables are at revision {found}, and this version of Fundament needs {HEAD}. Make a "
            "backup, then run: fundament db upgrade (with the same --config and --data-dir)"
        )
    from alembic import command  # noqa: PLC0415 - 12 MB and 0.1 s that a start without migrations does not pay
    from alembic.config import Config  # noqa: PLC0415 - as above
    from alembic.util import CommandError  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, HEAD)
    except CommandError as error:
        raise ConfigError(
            f"storage.database: its tables are at revision {found}, which this version of Fundament does not know "
            f"(newest: {HEAD}); was it upgraded by a newer one?"
        ) from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The text may hold a password: it is not repeated.
        raise ConfigError("storage.database: not a database URL, such as sqlite:///fundament.db") from None
    if parsed.drivername not in {"sqlite", "postgresql"}:
        raise ConfigError(f"storage.database: expected sqlite:///… or postgresql://…, got '{parsed.drivername}:'")
    if parsed.drivername == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError("storage.database: SQLite needs a file, such as sqlite:///fundament.db")
    unknown = sorted(parsed.query.keys() - {"host", "port", "sslmode"})
    if parsed.drivername == "postgresql" and unknown:
        raise ConfigError(f"storage.database: unknown parameter '{unknown[0]}'; known are host, port and sslmode")
    return parsed


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # What is deleted is overwritten: prompts and answers must not stay in the file's free pages.
    for pragma in ("busy_timeout = 5000", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # Python's driver begins late, at the first INSERT; a lock must be taken before the first SELECT.
    # SQLAlchemy's own AUTOCOMMIT would do for readers, but takes more turns of the driver's thread: 1.05 ms, not 0.65.
    if not connection.get_execution_options().get("reads_only"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Hold the file's lock; the system gives it free however the process ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
