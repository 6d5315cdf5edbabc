"""docs/parameters.md, read as data: a row a parameter, a row a difference. It knows the page's form, not its truth."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

PAGE = Path(__file__).parent.parent / "docs" / "parameters.md"
ENDPOINTS = {"Chat completions": "chat", "Completions": "completions"}


@dataclass(frozen=True)
class Row:
    """What the page says of one parameter; `taken` are the values that a refused one may have."""

    endpoint: str
    name: str
    embedded: str
    upstream: str
    taken: tuple[Any, ...]


def parameters(text: str | None = None) -> list[Row]:
    rows = []
    for title, cells in _table_rows(PAGE.read_text() if text is None else text):
        if title in ENDPOINTS and cells[0].startswith("`"):
            _, _, values = cells[1].partition("taken: ")
            taken = tuple(msgspec.json.decode(value) for value in re.findall("`([^`]*)`", values))
            rows.append(Row(ENDPOINTS[title], cells[0].strip("`"), _word(cells[1]), _word(cells[2]), taken))
    return rows


def stated_differences(schema: str, text: str | None = None) -> set[str]:
    """The differences that the page lists for one request schema, with those that are everywhere."""
    page = PAGE.read_text() if text is None else text
    stated: set[str] = set()
    for part in re.split(r"^(?=Everywhere:|In `)", page.partition("## Differences")[2], flags=re.MULTILINE):
        if part.startswith(("Everywhere:", f"In `{schema}`:")):
            stated |= {cells[0].strip("`") for _, cells in _table_rows(part) if cells[0].startswith("`")}
    return stated


def _table_rows(text: str) -> list[tuple[str, list[str]]]:
    title, rows = "", []
    for line in text.splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        elif line.startswith("| "):
            rows.append((title, [cell.strip() for cell in line.strip().strip("|").split(" | ")]))
    return rows


def _word(cell: str) -> str:
    found = re.match(r"\*\*([a-z ]+)\*\*", cell)
    assert found, f"a cell without its bold word: {cell}"
    return found[1]
