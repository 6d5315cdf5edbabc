"""`fundament keys` as a shell sees it: what is on stdout, what on stderr, and the exit code."""

import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fundament.cli.keys import app

FOLDED = {"FORCE_COLOR": "1", "COLUMNS": "200"}  # Rich takes this for a terminal


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where no fundament.toml is
    return tmp_path / "data"


def keys(data_dir: Path, *arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data-dir", str(data_dir)], env=env)


def test_create_prints_the_key_alone_on_stdout(data_dir: Path) -> None:
    result = keys(data_dir, "create", "--name", "laptop")
    assert result.exit_code == 0
    assert re.fullmatch(r"sk-fundament-[A-Za-z0-9_-]{43}\n", result.stdout)
    assert "laptop" in result.stderr
    assert result.stdout.strip() not in result.stderr


def test_create_makes_the_data_folder_for_its_owner_and_stores_no_key_in_it(data_dir: Path) -> None:
    secret = keys(data_dir, "create", "--name", "laptop").stdout.strip().removeprefix("sk-fundament-")
    assert data_dir.stat().st_mode & 0o777 == 0o700
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    assert files
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_create_refuses_a_name_in_use(data_dir: Path) -> None:
    keys(data_dir, "create", "--name", "laptop")
    result = keys(data_dir, "create", "--name", "laptop")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "An active key of the contract 'default' is named 'laptop' already.\n"


def test_list_is_tab_separated_away_from_a_terminal(data_dir: Path) -> None:
    laptop = keys(data_dir, "create", "--name", "laptop").stdout.strip()
    keys(data_dir, "create", "--name", "phone")
    keys(data_dir, "revoke", "phone")
    result = keys(data_dir, "list")
    rows = {row[1]: row for row in (line.split("\t") for line in result.stdout.splitlines())}
    moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    key_id, _, hint, created, revoked = rows["laptop"]
    assert re.fullmatch(r"key_[0-9a-f]{24}", key_id)
    assert hint == f"{laptop[:16]}…{laptop[-4:]}"
    assert moment.fullmatch(created)
    assert revoked == ""
    assert moment.fullmatch(rows["phone"][4])
    assert laptop not in result.output


def test_list_is_a_table_on_a_terminal(data_dir: Path) -> None:
    keys(data_dir, "create", "--name", "[bold]laptop")
    shown = keys(data_dir, "list", env=FOLDED).stdout
    assert "\t" not in shown
    assert "Created" in shown
    assert "[bold]laptop" in shown


@pytest.mark.parametrize("column", [0, 1, 2], ids=["id", "name", "hint"])
def test_revoke_takes_what_list_shows(data_dir: Path, column: int) -> None:
    keys(data_dir, "create", "--name", "laptop")
    reference = keys(data_dir, "list").stdout.split("\t")[column]
    result = keys(data_dir, "revoke", reference)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "laptop" in result.stderr
    assert keys(data_dir, "list").stdout.rstrip("\n").split("\t")[4] != ""


def test_revoke_of_an_unknown_key_fails(data_dir: Path) -> None:
    result = keys(data_dir, "revoke", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'nobody'" in result.stderr


def test_a_wrong_configuration_is_named(data_dir: Path, tmp_path: Path) -> None:
    result = keys(data_dir, "list", "--config", str(tmp_path / "missing.toml"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "missing.toml" in result.stderr
