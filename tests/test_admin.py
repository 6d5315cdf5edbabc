"""The variable that holds the admin key: which it is, and that no key that was written in its place is repeated."""

from pathlib import Path

import pytest

from fundament.config import load
from fundament.errors import ConfigError

KEY = "a-secret-of-the-admin"


def test_the_variable_of_the_admin_key_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no fundament.toml is
    load(environ={"FUNDAMENT_ADMIN_KEY": KEY})
    file = tmp_path / "other.toml"
    file.write_text("admin.key_env = 'FUNDAMENT_OTHER_KEY'")
    assert load(file, {"FUNDAMENT_OTHER_KEY": KEY}).config.admin.key_env == "FUNDAMENT_OTHER_KEY"
    with pytest.raises(ConfigError, match="FUNDAMENT_ADMIN_KEY: unknown environment variable"):
        load(file, {"FUNDAMENT_ADMIN_KEY": KEY})


def test_a_key_in_the_place_of_its_variable_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "fundament.toml"
    file.write_text(f"admin.key_env = '{KEY}'")
    with pytest.raises(ConfigError, match=r"admin\.key_env: expected the name of an environment variable") as caught:
        load(file, {})
    assert KEY not in str(caught.value)
