"""A database of an older version, and one whose contracts do not fit the configuration, at the start of the service."""

import sqlite3
from pathlib import Path

import pytest

from fundament.storage import database
from fundament.storage.database import upgrade
from scripted_upstream import ScriptedUpstream
from service import Service, wait_until

MODEL = """
[[models]]
id = "m"
[[models.upstreams]]
base_url = "{base_url}"
"""


def older_database(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "HEAD", "0002")
        upgrade(f"sqlite:///{service.data}/fundament.db")


def revision(service: Service) -> str:
    connection = sqlite3.connect(service.data / "fundament.db")
    [(found,)] = connection.execute("SELECT version_num FROM alembic_version")
    connection.close()
    return found


def test_the_start_refuses_an_older_database_until_it_is_upgraded(
    tmp_path: Path, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(tmp_path / "older", MODEL.format(base_url=upstream.base_url))
    older_database(service, monkeypatch)
    assert "run: fundament db upgrade" in service.refused_start()
    assert revision(service) == "0002"
    done = service.command("db", "upgrade")
    assert done.returncode == 0, done.stderr
    with service:
        assert service.request("GET", "/v2/models").status == 200


def test_the_quickstart_upgrades_by_itself(
    tmp_path: Path, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(tmp_path / "older", MODEL.format(base_url=upstream.base_url), flags=["--quickstart"])
    older_database(service, monkeypatch)
    with service:
        assert revision(service) == database.HEAD


def test_the_quickstart_says_so_when_no_key_can_be_made(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    service = Service(tmp_path / "quick", MODEL.format(base_url=upstream.base_url), flags=["--quickstart"])
    service.create_contract("default")
    assert service.command("contracts", "close", "default").returncode == 0
    with service:
        assert wait_until(lambda: "is closed." in service.output.read_text(), 10)


def test_the_start_refuses_a_contract_on_a_plan_that_is_not_there(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    service = Service(tmp_path / "plans", MODEL.format(base_url=upstream.base_url) + "[plans.gold]\n")
    service.create_contract("acme", "gold")
    with service:
        pass
    service.config.write_text(MODEL.format(base_url=upstream.base_url))
    log = service.refused_start()
    assert "plans.gold: is not there, but the contract 'acme' is on it" in log
    assert service.command("contracts", "set", "acme", "--plan", "essential").returncode == 0
    with service:
        pass
