"""`fundament audit`: shows who changed what of contracts and keys. It knows how entries are shown."""

from typing import Annotated

import msgspec
import typer

from fundament.cli.config import ConfigOption, DataDirOption
from fundament.cli.database import with_database
from fundament.cli.shown import print_rows, when
from fundament.storage.audit import AuditRepository

app = typer.Typer(help="Show who changed what.", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Show who changed what."""


@app.command(name="list")
def list_(
    limit: Annotated[int, typer.Option(help="How many, the newest.", min=1)] = 100,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show changes, the newest first: time, actor, action, id and present name of the object, what is new."""
    entries = with_database(config, data_dir, lambda engine, _: AuditRepository(engine).list(limit))
    rows = [
        (
            when(entry.time),
            entry.actor,
            entry.action,
            entry.object_id,
            entry.object_name or "",
            msgspec.json.encode(entry.changes).decode(),
        )
        for entry in entries
    ]
    print_rows(("Time", "Actor", "Action", "Object", "Name", "Changes"), rows, folded=("Actor", "Name", "Changes"))
