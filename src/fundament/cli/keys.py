"""`fundament keys`: creates, lists, rotates and revokes API keys, beside a running service or without one.

It knows how keys are shown. What they are is `fundament.gateway.keys`' knowledge, where they are is `storage`'s.
"""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.cli.config import ConfigOption, DataDirOption
from fundament.cli.database import os_user, with_database
from fundament.cli.shown import print_rows, when
from fundament.gateway.contracts import DEFAULT_CONTRACT
from fundament.gateway.keys import KeyRecord, model_ids_of, scopes_of
from fundament.gateway.moments import duration_s, moment
from fundament.settings import Config
from fundament.storage.keys import KeyRepository

_COLUMNS = ("Id", "Contract", "Name", "Key", "Scopes", "Models", "Created", "Expires", "Last used", "Revoked")

app = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)
Reference = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, its name, or its hint.")]


@app.command()
def create(  # noqa: PLR0917 - each is a flag; typer passes them by name
    name: Annotated[str, typer.Option("--name", help="Who or what the key is for.")],
    contract: Annotated[
        str, typer.Option(help="The contract's name or id; the default one is made when it is missing.")
    ] = DEFAULT_CONTRACT,
    expires: Annotated[str | None, typer.Option(help="30d from now, or at 2027-01-31.", metavar="WHEN")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that it may use, and no others; may be repeated.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="inference (default), usage, or both, each with --scope.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print a new key, alone on stdout. It is shown this once: only its hash is stored."""

    async def work(engine: AsyncEngine, config: Config) -> tuple[KeyRecord, str]:
        return await KeyRepository(engine, os_user()).create(
            name,
            contract=contract,
            scopes=scopes_of(scope or ["inference"]),
            models=model_ids_of(model, config.models) if model else None,
            expires_at=None if expires is None else moment(expires),
        )

    record, plaintext = with_database(config, data_dir, work)
    typer.echo(f"Created {record.id} for '{name}'. Keep the key: it cannot be shown again.", err=True)
    typer.echo(plaintext)


@app.command(name="list")
def list_(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Show all keys: a table on a terminal, else the same columns with tabs between."""
    records = with_database(config, data_dir, lambda engine, _: KeyRepository(engine).list())
    rows = [
        (
            record.id,
            record.contract.name,
            record.name,
            record.hint,
            " ".join(record.scopes),
            " ".join(record.models or ()),
            *map(when, (record.created_at, record.expires_at, record.last_used_at, record.revoked_at)),
        )
        for record in records
    ]
    print_rows(_COLUMNS, rows, folded=_COLUMNS[1:3] + _COLUMNS[4:])


@app.command()
def rotate(
    key: Reference,
    overlap: Annotated[
        str, typer.Option(help="How long the old key works beside the new one: 30m, 1h, 7d, or 0.", metavar="DURATION")
    ] = "1h",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print a new key in the place of another, alone on stdout. The other one expires when the overlap is over."""

    async def work(engine: AsyncEngine, _: Config) -> tuple[KeyRecord, KeyRecord, str]:
        return await KeyRepository(engine, os_user()).rotate(key, duration_s(overlap))

    old, record, plaintext = with_database(config, data_dir, work)
    typer.echo(
        f"Created {record.id} for '{record.name}'. Keep the key: it cannot be shown again. The old one, {old.id}, "
        f"expires at {when(old.expires_at)}.",
        err=True,
    )
    typer.echo(plaintext)


@app.command()
def revoke(key: Reference, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Revoke a key. A running service refuses it within a second."""
    record = with_database(config, data_dir, lambda engine, _: KeyRepository(engine, os_user()).revoke(key))
    typer.echo(f"Revoked {record.id} ('{record.name}').", err=True)
