"""How commands show rows and moments. It knows no command."""

from collections.abc import Sequence
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text


def print_rows(titles: Sequence[str], rows: Sequence[Sequence[str]], *, folded: Sequence[str] = ()) -> None:
    """Rows as a table on a terminal, where the columns `folded` give way to the others; elsewhere with tabs between."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            typer.echo("\t".join(row))
        return
    columns = [Column(title, no_wrap=title not in folded, overflow="fold") for title in titles]
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def when(unix_s: int | None) -> str:
    """A moment in UTC; empty for none."""
    return "" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
