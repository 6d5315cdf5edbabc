"""`fundament config`: checks the configuration without starting anything, and shows every value with its origin.

It knows how to print settings; what they are and whether they are right is `fundament.config`'s knowledge.
"""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fundament.config import LoadedConfig, load, masked, settings
from fundament.errors import ConfigError

app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The configuration file.", metavar="FILE")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where weights and the database live.", metavar="DIR")
]


@app.command()
def check(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Exit 0 when the service would accept the configuration; else say what is wrong and exit 1."""
    loaded = _load_or_exit(config, data_dir)
    models = len(loaded.config.models)
    typer.echo(f"{loaded.path or 'defaults'}: ok, {models} model{'s' if models > 1 else ''}")


@app.command()
def show(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Print every value and where it came from; passwords in URLs are masked."""
    loaded = _load_or_exit(config, data_dir)
    console = Console()
    rows = [(name, _text(value), loaded.origins[name]) for name, value in settings(loaded.config).items()]
    if console.is_terminal:
        table = Table("Setting", Column("Value", overflow="fold"), "Origin", box=None)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    else:
        for name, value, origin in rows:
            typer.echo(f"{name} = {value}  # {origin}")


def _load_or_exit(config: Path | None, data_dir: Path | None) -> LoadedConfig:
    try:
        return load(config, flags={"server.data_dir": data_dir})
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _text(value: object) -> str:
    if value is None:
        return "none"
    return msgspec.json.encode(masked(value) if isinstance(value, str) else value).decode()
