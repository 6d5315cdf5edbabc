"""`fundament contracts` and `fundament db` as a shell sees them: stdout, stderr, and the exit code."""

import re
import sqlite3
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fundament.cli import app
from fundament.storage import database

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where no fundament.toml is
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def rows() -> list[list[str]]:
    return [line.split("\t") for line in run("contracts", "list").stdout.splitlines()]


def test_create_prints_the_id_alone_on_stdout() -> None:
    result = run("contracts", "create", "--name", "acme", "--plan", "essential", "--monthly-budget", "100")
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(r"contract_[0-9a-f]{24}\n", result.stdout)
    [[id, *row, created, closed]] = rows()
    assert id == result.stdout.strip()
    assert row == ["acme", "essential", "100.00"]
    assert MOMENT.fullmatch(created)
    assert closed == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--name", "acme", "--plan", "gold"],
            "No plan is named 'gold'. There are: essential, professional, agentic, un",
        ),
        (["--name", "a\tb", "--plan", "essential"], "A contract's name must be printable"),
        (["--name", "acme", "--plan", "essential", "--monthly-budget", "much"], "'much' is no amount"),
    ],
)
def test_create_refuses_by_name_what_cannot_be(options: list[str], message: str) -> None:
    result = run("contracts", "create", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(message)
    assert rows() == []


def test_a_plan_of_the_file_can_be_had(directory: Path) -> None:
    (directory / "fundament.toml").write_text("[plans.gold]")
    assert run("contracts", "create", "--name", "acme", "--plan", "gold").exit_code == 0


def test_set_changes_what_is_given_and_nothing_else() -> None:
    run("contracts", "create", "--name", "acme", "--plan", "essential", "--monthly-budget", "5")
    told = run("contracts", "set", "acme", "--plan", "agentic")
    assert told.stderr == "The contract 'acme' is on the plan 'agentic' with a monthly budget of 5.00.\n"
    assert rows()[0][2:4] == ["agentic", "5.00"]
    run("contracts", "set", "acme", "--monthly-budget", "0.001")
    assert rows()[0][2:4] == ["agentic", "0.001"]
    told = run("contracts", "set", "acme", "--monthly-budget", "none")
    assert told.stderr == "The contract 'acme' is on the plan 'agentic' with no monthly budget.\n"
    assert rows()[0][2:4] == ["agentic", ""]


def test_close_ends_the_contract_and_its_keys() -> None:
    run("contracts", "create", "--name", "acme", "--plan", "essential")
    run("keys", "create", "--contract", "acme", "--name", "laptop")
    assert run("contracts", "close", "acme").exit_code == 0
    assert MOMENT.fullmatch(rows()[0][5])
    assert MOMENT.fullmatch(run("keys", "list").stdout.rstrip("\n").split("\t")[9])
    refused = run("keys", "create", "--contract", "acme", "--name", "phone")
    assert (refused.exit_code, refused.stderr) == (1, "The contract 'acme' is closed.\n")


def test_a_key_without_a_contract_is_of_the_default_one_on_the_plan_without_limits() -> None:
    run("keys", "create", "--name", "laptop")
    assert [row[1:4] for row in rows()] == [["default", "unlimited", ""]]


@pytest.mark.parametrize("command", [["set", "nobody", "--plan", "essential"], ["close", "nobody"]])
def test_an_unknown_contract_is_named(command: list[str]) -> None:
    result = run("contracts", *command)
    assert (result.exit_code, result.stderr) == (1, "No contract has the id or the name 'nobody'.\n")


def test_an_older_database_is_refused_until_it_is_upgraded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "HEAD", "0002")
        assert run("db", "upgrade").exit_code == 0
    with sqlite3.connect(directory / "data" / "fundament.db") as connection:
        connection.execute("INSERT INTO keys VALUES ('key_1', 'laptop', x'00', 'sk-f', 5, NULL)")
    connection.close()
    refused = run("keys", "list")
    assert refused.exit_code == 1
    assert "run: fundament db upgrade" in refused.stderr
    done = run("db", "upgrade")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"The database is at revision {database.HEAD}.\n"
    assert run("keys", "list").stdout.split("\t")[:3] == ["key_1", "default", "laptop"]


def test_an_upgrade_of_a_database_that_cannot_be_used_fails_by_name(directory: Path) -> None:
    (directory / "fundament.toml").write_text("storage.database = 'postgresql://me:secret@127.0.0.1:1/x'")
    result = run("db", "upgrade")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("storage.database: cannot be used")
    assert "secret" not in result.stderr
