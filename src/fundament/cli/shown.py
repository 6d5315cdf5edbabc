"""How commands show rows and moments, and how people write durations and moments. It knows no command."""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fundament.errors import InvalidChange

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = timedelta(days=36_500)


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


def duration_s(text: str) -> int:
    """Seconds of "90s", "30m", "1h", "30d", or "0".

    Raises:
        InvalidChange: it is no duration, or longer than a century.
    """
    found = re.fullmatch(r"([0-9]{1,10})([smhd])", text)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else None if text != "0" else 0
    if seconds is None or seconds > _LONGEST.total_seconds():
        raise InvalidChange(f"'{text}' is no duration; write it as 90s, 30m, 1h or 30d.")
    return seconds


def moment(text: str) -> int:
    """Unix seconds of "30d" from now, of a date ("2027-01-31": its first second in UTC) or of a date with time.

    Raises:
        InvalidChange: it is none of these.
    """
    if re.fullmatch("[0-9]+[a-z]?", text):
        return int(time.time()) + duration_s(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidChange(f"'{text}' is no moment; write it as 30d or 2027-01-31.") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
