"""What the service writes is for its owner alone, whatever the umask that it is started with."""

import os
from pathlib import Path

import pytest

from scripted_answers import chat_answer
from scripted_upstream import ScriptedUpstream
from service import Service


@pytest.mark.parametrize("made_by", ["serve", "keys create"])
def test_nobody_else_can_read_what_is_in_the_data_directory(
    tmp_path: Path, upstream: ScriptedUpstream, made_by: str
) -> None:
    upstream.default(chat_answer("Hello"))
    config = f'[[models]]\nid = "m"\n[[models.upstreams]]\nbase_url = "{upstream.base_url}"\nresponses = false\n'
    service = Service(tmp_path / "service", config, flags=["--quickstart"])
    service.data.rmdir()
    umask = os.umask(0)
    try:
        if made_by == "keys create":
            service.create_key("early")
        service.start()
    finally:
        os.umask(umask)
    try:
        service.wait_ready()
        assert service.post("/v2/responses", {"model": "m", "input": "x"}).status == 200
        found = {path: path.stat().st_mode & 0o777 for path in (service.data, *service.data.rglob("*"))}
        service.stop()
    finally:
        service.destroy()
    assert {"fundament.db", "engines.json", "quickstart.key"} <= {path.name for path in found}
    assert any(path.suffix == ".jsonl" for path in found)
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}


@pytest.mark.parametrize("key", ["two\nlines", "a space", "sk-ü"])
def test_a_key_that_would_begin_another_header_stops_the_start_and_is_not_repeated(tmp_path: Path, key: str) -> None:
    config = '[[models]]\nid = "m"\n[[models.upstreams]]\nbase_url = "http://127.0.0.1:9/v1"\napi_key_env = "KEY"\n'
    service = Service(tmp_path / "service", config, environment={"KEY": f"hunter2{key}"})
    done = service.command("serve", "--port", "0", "--config", str(service.config))
    assert done.returncode == 1
    assert "models[0].upstreams[0].api_key_env: the environment variable KEY holds" in done.stderr
    assert "hunter2" not in done.stderr
