"""`fundament keys`: creates, lists and revokes API keys, beside a running service or without one.

It knows how keys are shown. What they are is `fundament.gateway.keys`' knowledge, where they are is `storage`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fundament.cli.config import ConfigOption, DataDirOption
from fundament.config import load
from fundament.errors import ConfigError, InvalidChange, Unavailable, UnknownRecord
from fundament.storage.database import open_database, upgrade
from fundament.storage.keys import KeyRepository

T = TypeVar("T")

_COLUMNS = ("Id", "Name", "Key", "Created", "Revoked")

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Who or what the key is for.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print a new key, alone on stdout. It is shown this once: only its hash is stored."""
    record, plaintext = _with_repository(config, data_dir, lambda keys: keys.create(name))
    typer.echo(f"Created {record.id} for '{name}'. Keep the key: it cannot be shown again.", err=True)
    typer.echo(plaintext)


@app.command(name="list")
def list_(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Show all keys: a table on a terminal, else tab-separated id, name, hint, created, revoked."""
    records = _with_repository(config, data_dir, lambda keys: keys.list())
    rows = [(r.id, r.name, r.hint, _when(r.created_at), _when(r.revoked_at)) for r in records]
    console = Console()
    if console.is_terminal:
        columns = [Column(title, no_wrap=title != "Name", overflow="fold") for title in _COLUMNS]
        table = Table(*columns, box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for row in rows:
            shown = (*row[:3], *(moment[:10] for moment in row[3:]))  # the day: 80 columns hold no more
            table.add_row(*(Text(cell) for cell in shown))
        console.print(table)
    else:
        for row in rows:
            typer.echo("\t".join(row))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY_ID_OR_NAME", help="The key's id, its name, or its hint.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Revoke a key. A running service refuses it within a second."""
    record = _with_repository(config, data_dir, lambda keys: keys.revoke(key))
    typer.echo(f"Revoked {record.id} ('{record.name}').", err=True)


def _with_repository(config: Path | None, data_dir: Path | None, work: Callable[[KeyRepository], Awaitable[T]]) -> T:
    """Do the work on the configured database, made or migrated first; say what went wrong and exit 1."""

    async def run(url: str) -> T:
        engine = open_database(url)
        try:
            return await work(KeyRepository(engine))
        finally:
            await engine.dispose()

    try:
        url = load(config, flags={"server.data_dir": data_dir}).config.database_url
        upgrade(url)
        return asyncio.run(run(url))
    except (ConfigError, Unavailable, InvalidChange, UnknownRecord) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _when(unix_s: int | None) -> str:
    return "" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
