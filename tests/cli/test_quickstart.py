"""The quickstart's key: kept from start to start as long as it works, and nobody else's is touched."""

from pathlib import Path

import pytest

from fundament.cli.serve import _quickstart_key
from fundament.config import load
from fundament.gateway.keys import KeyRing
from fundament.settings import Config
from fundament.storage.contracts import ContractRepository
from fundament.storage.database import open_database, upgrade
from fundament.storage.keys import KeyRepository


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = load(environ={"FUNDAMENT_DATA_DIR": str(tmp_path / "data")}).config
    upgrade(config.database_url)
    return config


async def test_a_working_key_is_kept_and_a_rotated_one_is_not(config: Config) -> None:
    key = await _quickstart_key(config)
    assert await _quickstart_key(config) == key
    engine = open_database(config.database_url)
    await KeyRepository(engine).rotate("quickstart", overlap_s=3600)
    newer = await _quickstart_key(config)
    assert newer != key
    assert await _quickstart_key(config) == newer
    ring = KeyRing((await KeyRepository(engine).load())[1])
    await engine.dispose()
    assert (len(ring), ring.find(newer) is not None) == (1, True)


async def test_a_key_of_its_name_in_another_contract_is_left_alone(config: Config) -> None:
    engine = open_database(config.database_url)
    await ContractRepository(engine, config.plans).create("acme", "essential")
    theirs, _ = await KeyRepository(engine).create("quickstart", contract="acme")
    await _quickstart_key(config)
    _, loaded = await KeyRepository(engine).load()
    await engine.dispose()
    assert theirs in loaded
    assert len(loaded) == 2
