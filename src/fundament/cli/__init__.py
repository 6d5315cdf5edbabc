"""The `fundament` command: one file a command; this one only lists them."""

import os
from typing import Annotated

import typer

from fundament import __version__
from fundament.cli import audit, config, contracts, database, keys, usage
from fundament.cli.serve import serve

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.command()(serve)
app.add_typer(contracts.app, name="contracts")
app.add_typer(keys.app, name="keys")
app.add_typer(usage.app, name="usage")
app.add_typer(audit.app, name="audit")
app.add_typer(database.app, name="db")
app.add_typer(config.app, name="config")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fundament {__version__}")
        raise typer.Exit


@app.callback()
def fundament(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One OpenAI-compatible API for the models you host and the models you buy."""


def main() -> None:
    os.umask(0o077)  # whatever is written, by this process or its children, is for its owner alone
    app()
