"""Codex CLI on our Responses API: `codex exec` with a command that the model has it run.

Codex is the real program, from the wheel that its own Python SDK uses. The scripted upstream plays the model.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from scripted_answers import DONE, MODEL, Answer, event, sse_answer, usage
from scripted_upstream import Request, ScriptedUpstream
from service import Service

CHAT = "/v1/chat/completions"
ENDS_WITHIN_S = 60.0
CONFIGURATION = """
model = "{model}"
model_provider = "fundament"
web_search = "disabled"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.fundament]
name = "Fundament"
base_url = "{base_url}"
env_key = "FUNDAMENT_KEY"
wire_api = "responses"
supports_websockets = {sockets}
request_max_retries = 0
stream_max_retries = 0
"""


@pytest.fixture(scope="session")
def codex(lacking: Callable[[str], NoReturn]) -> Path:
    """The program."""
    try:
        from codex_cli_bin import bundled_codex_path  # noqa: PLC0415 - it may be missing
    except ImportError:
        lacking("Codex CLI (the package openai-codex-cli-bin, which `make dev` installs)")
    return bundled_codex_path()


def played(delta: dict[str, Any], reason: str) -> Answer:
    body = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1767225600, "model": MODEL}
    choices = [
        [{"index": 0, "delta": {"role": "assistant", "content": None} | delta, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": reason}],
    ]
    chunks = [{**body, "choices": choice, "usage": None} for choice in choices]
    return sse_answer([*map(event, [*chunks, {**body, "choices": [], "usage": usage(20, 10)}]), DONE])


def calling(name: str, **arguments: Any) -> Answer:
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return played({"tool_calls": [call]}, "tool_calls")


def execute(codex: Path, service: Service, directory: Path, task: str, *, sockets: bool = False) -> str:
    """What `codex exec` prints to stdout: its last answer."""
    home, work = directory / "home", directory / "work"
    home.mkdir()
    work.mkdir()
    settings = {"model": "gpt-4.1", "base_url": service.base_url, "sockets": str(sockets).lower()}
    (home / "config.toml").write_text(CONFIGURATION.format(**settings))
    done = subprocess.run(
        [codex, "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", task],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), "FUNDAMENT_KEY": service.key},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Falling back" not in done.stderr, done.stderr  # from WebSockets to HTTP
    return done.stdout.strip()


def results(request: Request) -> list[str]:
    return [message["content"] for message in request.json["messages"] if message["role"] == "tool"]


@pytest.mark.parametrize("sockets", [False, True], ids=["http", "websocket"])
def test_codex_runs_a_command_and_answers(
    codex: Path, scripted: Service, upstream: ScriptedUpstream, tmp_path: Path, sockets: bool
) -> None:
    task = "Write a file and read it."
    upstream.answer(
        calling("exec_command", cmd="printf 'six times %s' seven > told.txt && cat told.txt"),
        played({"content": "It says: six times seven."}, "stop"),
        path=CHAT,
    )
    assert execute(codex, scripted, tmp_path, task, sockets=sockets) == "It says: six times seven."
    assert (tmp_path / "work" / "told.txt").read_text() == "six times seven"
    asked, told = upstream.requests
    assert asked.json["messages"][-1] == {"role": "user", "content": task}
    (result,) = results(told)
    assert "six times seven" in result


def test_codex_finds_its_tools_that_are_in_a_namespace(
    codex: Path, scripted: Service, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.answer(
        calling("multi_agent_v1__close_agent", target="nobody"), played({"content": "Nobody."}, "stop"), path=CHAT
    )
    assert execute(codex, scripted, tmp_path, "Close the agent called nobody.") == "Nobody."
    (result,) = results(upstream.requests[-1])
    assert "nobody" in result
    assert "unsupported call" not in result
