"""Every row of the threat model in `SECURITY.md` names tests that exist. Whether they would fail, people find out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## Threat model\n")[1].split("\n## ")[0]
_, _, *ROWS = [line for line in TABLE.splitlines() if line.startswith("|")]


@cache
def functions(path: str) -> frozenset[str]:
    """The names of the functions in a file; none where there is no file."""
    file = ROOT / path
    nodes = ast.walk(ast.parse(file.read_bytes())) if file.is_file() else ()
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_the_threat_model_has_rows() -> None:
    assert len(ROWS) >= 25


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_threat_has_somebody_behind_it_a_defence_and_tests_that_exist(row: str) -> None:
    _, threat, who, defence, tests, _ = row.split("|")
    assert all(cell.strip() for cell in (threat, who, defence))
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
    assert named, "no test is named"
    assert re.sub(r"`[^`]+`", "", tests).strip(" ,") == ""
    assert [f"{path}::{name}" for path, name in named if name not in functions(path)] == []
