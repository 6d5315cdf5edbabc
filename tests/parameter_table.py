"""docs/parameters.md, read as data: a row a parameter, a row a change by a profile, a row a difference.

It knows the page's form, not its truth.
"""

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


@dataclass(frozen=True)
class ResponsesRow:
    """What the page says of one parameter of a response; `chat` is the chat's name for it, if it has one."""

    name: str
    word: str
    chat: str
    taken: tuple[Any, ...]


def responses_parameters() -> list[ResponsesRow]:
    rows = []
    for title, cells in _table_rows(PAGE.read_text()):
        if title == "Responses" and cells[0].startswith("`"):
            chat = re.search("(?:as|into) `([^`]*)`", cells[1])
            _, _, values = cells[1].partition("taken: ")
            taken = tuple(msgspec.json.decode(value) for value in re.findall("`([^`]*)`", values))
            rows.append(ResponsesRow(cells[0].strip("`"), _word(cells[1]), chat[1] if chat else "", taken))
    return rows


def words(section: str) -> dict[str, str]:
    """The bold words of a section's table, by what its rows are about."""
    rows = [cells for title, cells in _table_rows(PAGE.read_text()) if title == section]
    return {cells[0].strip("`"): _word(cells[1]) for cells in rows if cells[0].startswith("`")}


def extensions() -> dict[str, set[str]]:
    """The parameters that OpenAI does not know, with the endpoints of the embedded engine that take them."""
    rows = [cells for title, cells in _table_rows(PAGE.read_text()) if title == "Parameters that OpenAI does not know"]
    return {cells[0].strip("`"): set(cells[2].split(", ")) for cells in rows if cells[0].startswith("`")}


@dataclass(frozen=True)
class Change:
    """What the page says that a profile does with one parameter; `values` are those in the cell, after its word."""

    profile: str
    endpoint: str
    name: str
    word: str
    values: tuple[Any, ...]


def changes_by_profiles() -> list[Change]:
    """The rows of "What a profile changes", one for each profile that a row names."""
    changes: list[Change] = []
    for title, cells in _table_rows(PAGE.read_text()):
        if title == "What a profile changes" and cells[0] in ENDPOINTS:
            values = tuple(msgspec.json.decode(value) for value in re.findall("`([^`]*)`", cells[3]))
            endpoint, name, word = ENDPOINTS[cells[0]], cells[1].strip("`"), _word(cells[3])
            changes += [Change(profile, endpoint, name, word, values) for profile in re.findall("`([^`]*)`", cells[2])]
    return changes


def stated_differences(schema: str, text: str | None = None) -> set[str]:
    """The differences that the page lists for one request schema, with those that are everywhere."""
    page = PAGE.read_text() if text is None else text
    stated: set[str] = set()
    for part in re.split(r"^(?=Everywhere:|In `)", page.partition("## Differences")[2], flags=re.MULTILINE):
        if part.startswith(("Everywhere:", f"In `{schema}`:")):
            stated |= {cells[0].strip("`") for _, cells in _table_rows(part) if cells[0].startswith("`")}
    return stated


def says(stated: str, difference: str) -> bool:
    """Whether a row of the list means this difference; `…` in it stands for anything."""
    return re.fullmatch(re.escape(stated).replace("…", ".*"), difference) is not None


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
