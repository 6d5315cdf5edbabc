"""`fundament db`: brings the database up to date. And how every other command works on it.

It knows the configuration and what is said of a failure; tables and migrations are `storage`'s knowledge.
"""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.cli.config import ConfigOption, DataDirOption
from fundament.config import load
from fundament.errors import FundamentError
from fundament.settings import Config
from fundament.storage.database import HEAD, open_database, require_tables
from fundament.storage.database import upgrade as upgrade_tables

T = TypeVar("T")

app = typer.Typer(help="Bring the database up to date.", no_args_is_help=True)


@app.callback()
def db() -> None:
    """Bring the database up to date."""


@app.command()
def upgrade(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Create the tables, or migrate those of an older version. A current database stays as it is."""
    try:
        upgrade_tables(load(config, flags={"server.data_dir": data_dir}).config.database_url)
    except FundamentError as error:
        fail(error)
    typer.echo(f"The database is at revision {HEAD}.", err=True)


def with_database(config: Path | None, data_dir: Path | None, work: Callable[[AsyncEngine, Config], Awaitable[T]]) -> T:
    """Do the work on the configured database, made first when it is missing; say what went wrong and exit 1."""

    async def run(loaded: Config) -> T:
        engine = open_database(loaded.database_url)
        try:
            return await work(engine, loaded)
        finally:
            await engine.dispose()

    try:
        loaded = load(config, flags={"server.data_dir": data_dir}).config
        require_tables(loaded.database_url)
        return asyncio.run(run(loaded))
    except FundamentError as error:
        fail(error)


def os_user() -> str:
    """Who runs the command, for the audit log."""
    uid = os.getuid()
    try:
        return f"cli: {pwd.getpwuid(uid).pw_name}"
    except KeyError:  # as in a container
        return f"cli: uid {uid}"


def fail(error: FundamentError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1) from None
