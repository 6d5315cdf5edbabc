"""`fundament keys` as a shell sees it: what is on stdout, what on stderr, and the exit code."""

import re
from datetime import UTC, datetime
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
    rows = {row[2]: row for row in (line.split("\t") for line in result.stdout.splitlines())}
    moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    key_id, _, _, hint, scopes, models, created, expires, used, revoked = rows["laptop"]
    assert re.fullmatch(r"key_[0-9a-f]{24}", key_id)
    assert hint == f"{laptop[:16]}…{laptop[-4:]}"
    assert moment.fullmatch(created)
    assert (scopes, models, expires, used, revoked) == ("inference", "", "", "", "")
    assert {row[1] for row in rows.values()} == {"default"}
    assert moment.fullmatch(rows["phone"][9])
    assert laptop not in result.output


def test_list_is_a_table_on_a_terminal(data_dir: Path) -> None:
    keys(data_dir, "create", "--name", "[bold]laptop")
    shown = keys(data_dir, "list", env=FOLDED).stdout
    assert "\t" not in shown
    assert "Created" in shown
    assert "[bold]laptop" in shown


@pytest.mark.parametrize("column", [0, 2, 3], ids=["id", "name", "hint"])
def test_revoke_takes_what_list_shows(data_dir: Path, column: int) -> None:
    keys(data_dir, "create", "--name", "laptop")
    reference = keys(data_dir, "list").stdout.split("\t")[column]
    result = keys(data_dir, "revoke", reference)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "laptop" in result.stderr
    assert keys(data_dir, "list").stdout.rstrip("\n").split("\t")[9] != ""


def test_create_takes_scopes_models_and_an_end(data_dir: Path) -> None:
    options = ("--scope", "usage", "--scope", "inference", "--model", "smollm2", "--model", "SmolLM2-135M-Instruct")
    result = keys(data_dir, "create", "--name", "laptop", *options, "--expires", "2099-01-31")
    assert result.exit_code == 0, result.stderr
    row = keys(data_dir, "list").stdout.rstrip("\n").split("\t")
    assert (row[4], row[5], row[7]) == ("inference usage", "SmolLM2-135M-Instruct", "2099-01-31T00:00:00Z")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--contract", "acme"], "No contract has the id or the name 'acme'."),
        (["--scope", "admin"], "No scope is named 'admin'. There are: inference, usage."),
        (
            ["--model", "gpt-99"],
            "No model has the id or the alias 'gpt-99'. There are: SmolLM2-135M-Instruct, smollm2.",
        ),
        (["--expires", "soon"], "'soon' is no moment; write it as 30d or 2027-01-31."),
        (["--expires", "2020-01-31"], "A key must expire in the future."),
    ],
)
def test_create_refuses_by_name_what_cannot_be(data_dir: Path, options: list[str], message: str) -> None:
    result = keys(data_dir, "create", "--name", "laptop", *options)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"{message}\n")
    assert keys(data_dir, "list").stdout == ""


def test_rotate_prints_the_new_key_alone_and_lists_when_the_old_one_ends(data_dir: Path) -> None:
    old = keys(data_dir, "create", "--name", "laptop").stdout.strip()
    result = keys(data_dir, "rotate", "laptop", "--overlap", "30m")
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(r"sk-fundament-[A-Za-z0-9_-]{43}\n", result.stdout)
    assert result.stdout.strip() != old
    rows = [line.split("\t") for line in keys(data_dir, "list").stdout.splitlines()]
    [ends] = [row[7] for row in rows if row[3].startswith(old[:16])]
    assert abs((datetime.fromisoformat(ends) - datetime.now(UTC)).total_seconds() - 1800) < 60
    assert [row[7] for row in rows if not row[3].startswith(old[:16])] == [""]
    assert ends in result.stderr


@pytest.mark.parametrize("overlap", ["1", "h", "-1h", "1.5h", "99999d", ""])
def test_rotate_refuses_what_is_no_duration(data_dir: Path, overlap: str) -> None:
    keys(data_dir, "create", "--name", "laptop")
    result = keys(data_dir, "rotate", "laptop", "--overlap", overlap)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"'{overlap}' is no duration" in result.stderr
    assert len(keys(data_dir, "list").stdout.splitlines()) == 1


def test_revoke_of_an_unknown_key_fails(data_dir: Path) -> None:
    result = keys(data_dir, "revoke", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'nobody'" in result.stderr


def test_a_wrong_configuration_is_named(data_dir: Path, tmp_path: Path) -> None:
    result = keys(data_dir, "list", "--config", str(tmp_path / "missing.toml"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "missing.toml" in result.stderr
