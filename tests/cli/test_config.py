"""`fundament config` as a shell sees it: what is checked, what is shown, and the exit code."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from fundament.cli.config import app
from fundament.config import load, settings
from fundament.settings import DEFAULT_MODEL

MODEL = '[[models]]\nid = "a"\n'
LOCAL = MODEL + 'source = "a.gguf"\n'
UPSTREAM = MODEL + '[[models.upstreams]]\nbase_url = "http://upstream:8000/v1"\n'


def test_check_says_ok_and_how_many_models(config_file: Path) -> None:
    config_file.write_text(LOCAL + UPSTREAM.replace('"a"', '"b"'), encoding="utf-8")

    result = CliRunner().invoke(app, ["check", "--config", str(config_file)])

    assert (result.exit_code, result.stdout) == (0, f"{config_file}: ok, 2 models\n")


def test_check_exits_1_and_names_the_setting_on_stderr(config_file: Path) -> None:
    config_file.write_text(LOCAL + "slots = 'x'", encoding="utf-8")

    result = CliRunner().invoke(app, ["check", "--config", str(config_file)])

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "models[0].slots: expected an integer >= 1, got 'x' (from fundament.toml)\n"


def test_show_prints_every_value_with_its_origin_and_no_password(config_file: Path) -> None:
    config_file.write_text(LOCAL + "[storage]\ndatabase = 'postgresql://me:hunter2@h/d'", encoding="utf-8")
    environ = {"FUNDAMENT_SERVER_PORT": "9000"}

    result = CliRunner().invoke(app, ["show", "--config", str(config_file), "--data-dir", "/d"], env=environ)

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert "server.port = 9000  # environment FUNDAMENT_SERVER_PORT" in lines
    assert 'server.data_dir = "/d"  # flag --data-dir' in lines
    assert 'storage.database = "postgresql://***@h/d"  # fundament.toml' in lines
    assert "models[0].threads = none  # default" in lines
    assert len(lines) == len(settings(load(config_file, environ).config))


def test_show_draws_a_table_on_a_terminal(config_file: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from fundament.cli.config import app; app(['show'])"]
    drawn = ""
    with (
        subprocess.Popen(command, stdout=theirs, env={**os.environ, "COLUMNS": "200", "TERM": "xterm"}) as process,
        open(ours, encoding="utf-8") as terminal,  # noqa: PTH123 - a descriptor, not a path
    ):
        os.close(theirs)
        try:
            for line in terminal:
                drawn += line
        except OSError:  # how Linux says that the other end is closed
            pass

    assert process.returncode == 0
    assert re.search(r"Setting.*Value.*Origin", drawn)
    assert re.search(r"server\.port +8080 +default", drawn)
    assert DEFAULT_MODEL.source is not None
    assert DEFAULT_MODEL.source in drawn
    assert "models[0].id" in drawn
