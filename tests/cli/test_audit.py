"""`fundament audit` and `fundament contracts erase` as a shell sees them: stdout, stderr, and the exit code."""

import os
import pwd
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fundament.cli import app
from fundament.cli.database import os_user


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where no fundament.toml is
    return tmp_path


def run(*arguments: str, input: str | None = None, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments], input=input, env=env)


def entries() -> list[list[str]]:
    return [line.split("\t") for line in run("audit", "list").stdout.splitlines()]


def names() -> list[str]:
    return [line.split("\t")[1] for line in run("contracts", "list").stdout.splitlines()]


def test_every_command_that_changes_something_leaves_an_entry_with_the_user() -> None:
    run("contracts", "create", "--name", "acme", "--plan", "essential")
    run("contracts", "set", "acme", "--plan", "agentic")
    run("keys", "create", "--contract", "acme", "--name", "laptop")
    run("keys", "rotate", "laptop")
    run("keys", "revoke", run("keys", "list").stdout.split("\t")[0])
    run("contracts", "close", "acme")
    found = entries()
    assert [row[2] for row in reversed(found)] == [
        "contract.create",
        "contract.change",
        "key.create",
        "key.rotate",
        "key.revoke",
        "contract.close",
    ]
    assert {row[1] for row in found} == {f"cli: {pwd.getpwuid(os.getuid()).pw_name}"}
    assert found[0][4] == "acme"
    assert found[4][5] == '{"plan":["essential","agentic"]}'
    assert run("audit", "list", "--limit", "1").stdout.count("\n") == 1


def test_the_user_cannot_be_chosen_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")
    assert "somebody-else" not in os_user()


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert os_user() == "cli: uid 4000000"


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_erase_asks_before_it_begins(answer: str) -> None:
    run("contracts", "create", "--name", "acme", "--plan", "essential")
    result = run("contracts", "erase", "acme", input=answer)
    assert result.exit_code == 1
    assert "Delete all that 'acme' has" in result.stderr
    assert names() == ["acme"]


@pytest.mark.parametrize(("options", "answer"), [([], "y\n"), (["--yes"], None)])
def test_erase_says_what_it_has_deleted(options: list[str], answer: str | None) -> None:
    id = run("contracts", "create", "--name", "acme", "--plan", "essential").stdout.strip()
    run("keys", "create", "--contract", "acme", "--name", "laptop")
    result = run("contracts", "erase", "acme", *options, input=answer)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.endswith(f"Erased {id}: 0 responses, 0 conversations, 0 requests of the usage ledger.\n")
    assert names() == []
    assert run("keys", "list").stdout == ""
    assert entries()[0][2:] == ["contract.erased", id, id, '{"keys":1}']


def test_an_unknown_contract_is_named() -> None:
    result = run("contracts", "erase", "nobody", "--yes")
    assert (result.exit_code, result.stderr) == (1, "No contract has the id or the name 'nobody'.\n")
