"""Secrets stay where they belong: whatever fails, at the most talkative level, no log, error or file has one.

Each secret and each prompt is a text of its own; requests that fail in all ways are made, and then everything is read.
"""

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from databases import PostgreSQL
from responses.mcp_servers import Serving, answering, toolbox
from scripted_answers import DONE, Answer, chat_answer, chat_events, error_answer, event, sse_answer
from scripted_upstream import Request, ScriptedUpstream
from service import Reply, Service, wait_until

STATUSES = (200, 400, 401, 403, 404, 408, 422, 429, 500, 503, 504)


def canary(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(8)}"


OPERATORS = {name: canary(name) for name in ("upstream-key", "database-password")}
CLIENTS = {name: canary(name) for name in ("wrong-key", "mcp-token", "mcp-header", "mcp-url")}
SAID = {name: canary(name) for name in ("prompt", "system", "field", "value", "answer", "result", "frame", "path")}
KEPT = canary("kept")


def config(base_url: str, more: str) -> str:
    return f"""
        {more}
        [server]
        log_level = "debug"
        [tools]
        allow_private_addresses = true
        [[models]]
        id = "m"
        [[models.upstreams]]
        base_url = "{base_url}"
        api_key_env = "UPSTREAM_KEY"
        responses = false
        first_byte_timeout_s = 1
    """


ENVIRONMENT = {"UPSTREAM_KEY": f"sk-{OPERATORS['upstream-key']}"}


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("secrets")
    with Service(directory, config(running_upstream.base_url, ""), environment=ENVIRONMENT) as service:
        yield service


def echoing(status: int) -> Any:
    """An upstream that repeats in its error all that it was told, our credential included."""

    def answer(request: Request) -> Answer:
        told = f"{request.headers['authorization']} said {request.body.decode()} and got {SAID['answer']}"
        return error_answer(status, told) if status != 200 else Answer([told.encode()])

    return answer


def chat(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": SAID["system"]}, {"role": "user", "content": SAID["prompt"]}]
    return {"model": "m", "messages": messages, **fields}


def bad_bodies() -> Iterator[bytes]:
    text = json.dumps(chat())
    yield text[:-1].encode()
    yield (text + "}").encode()
    yield json.dumps(chat(**{SAID["field"]: 1})).encode()
    yield json.dumps(chat(temperature=SAID["value"])).encode()
    yield json.dumps(chat(model=SAID["value"])).encode()
    yield json.dumps([SAID["prompt"]]).encode()
    yield text.encode().replace(b"canary-prompt", b"\xff\xfe")
    yield json.dumps({"model": "m", "messages": [{"role": "user", "content": {"x": SAID["prompt"]}}]}).encode()


def fail_in_all_ways(service: Service, upstream: ScriptedUpstream) -> Iterator[Reply]:
    for stream in (False, True):
        for status in STATUSES:
            upstream.reset()
            upstream.answer(chat_answer(SAID["answer"]))  # well between its failures, so that its circuit stays closed
            upstream.default(echoing(status))
            yield service.post("/v2/chat/completions", chat())
            yield service.post("/v2/chat/completions", chat(stream=stream))
            fields = {"instructions": SAID["system"], "input": SAID["prompt"]}
            yield service.post("/v2/responses", {"model": "m", "stream": stream, "store": False, **fields})
    echoed = {"error": {"message": f"{ENVIRONMENT['UPSTREAM_KEY']} {SAID['prompt']}", "code": 500}}
    begun = chat_events([SAID["answer"]])[:2]
    for steps in (
        [event(echoed)],
        [*begun, event(echoed)],
        [*begun, b"data: " + SAID["answer"].encode() + b"\n\n"],
        begun,
    ):
        upstream.reset()
        upstream.answer(sse_answer(steps), sse_answer(steps))
        yield service.post("/v2/chat/completions", chat(stream=True))
        yield service.post("/v2/responses", {"model": "m", "stream": True, "store": False, "input": SAID["prompt"]})
    for body in bad_bodies():
        yield service.post("/v2/chat/completions", body)
        yield service.post("/v2/responses", body)
    for key in (f"sk-{CLIENTS['wrong-key']}", f"sk-fundament-{CLIENTS['wrong-key'].ljust(43, 'x')[:43]}"):
        yield service.post("/v2/chat/completions", chat(), key=key)
    yield service.request("GET", f"/v2/responses/{SAID['path']}")
    yield service.request("GET", f"/v2/{SAID['path']}?{SAID['path']}")


def fail_over_mcp_and_websocket(service: Service, upstream: ScriptedUpstream) -> Iterator[Reply]:
    upstream.reset()
    upstream.default(sse_answer([*chat_events([SAID["answer"]]), DONE]))
    body = f"{CLIENTS['mcp-token']} {SAID['result']}".encode()
    faults = [answering(status, body=body) for status in (200, 401, 404, 500)]
    for app in (toolbox().streamable_http_app(), *faults):
        with Serving(app) as server:
            tool = {
                "type": "mcp",
                "server_label": "box",
                "server_url": f"{server.url}?key={CLIENTS['mcp-url']}",
                "authorization": CLIENTS["mcp-token"],
                "headers": {"x-secret": CLIENTS["mcp-header"]},
                "require_approval": "never",
            }
            asked = {"model": "m", "input": SAID["prompt"], "tools": [tool], "store": False}
            yield service.post("/v2/responses", asked)
            yield service.post("/v2/responses", asked | {"store": True, "input": KEPT})
    headers = {"Authorization": f"Bearer {service.key}"}
    with connect(f"ws://127.0.0.1:{service.port}/v2/responses", additional_headers=headers) as peer:
        for frame in (
            SAID["frame"],
            json.dumps({"type": "response.create", "model": "m", "input": SAID["frame"], "x": 1}),
        ):
            peer.send(frame)
            with contextlib.suppress(WebSocketException):
                peer.recv(timeout=5)


def leaks(text: bytes, unwanted: Mapping[str, str]) -> set[str]:
    return {name for name, secret in unwanted.items() if secret.encode() in text}


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_whatever_fails_no_log_error_or_file_has_a_secret_or_a_prompt(
    on_sqlite: Service, running_upstream: ScriptedUpstream
) -> None:
    service, upstream = on_sqlite, running_upstream
    key = {"key": service.key.removeprefix("sk-fundament-")}
    replies = [*fail_in_all_ways(service, upstream), *fail_over_mcp_and_websocket(service, upstream)]
    assert {200, 400, 401, 404, 429, 502, 503, 504} <= {reply.status for reply in replies}
    upstream.default(chat_answer(SAID["answer"]))
    assert service.post("/v2/responses", {"model": "m", "input": KEPT}).status == 200
    for worker in service.workers():
        worker.kill()
    assert wait_until(lambda: "process_ended" in service.log_text(), timeout_s=10)
    for reply in replies:
        assert not leaks(reply.body, OPERATORS | key), reply.body
    log = service.log.read_bytes() + service.output.read_bytes()
    assert b"request_failed" in log
    assert not leaks(log, OPERATORS | CLIENTS | SAID | key | {"kept": KEPT})
    said = {name: text for name, text in SAID.items() if name != "answer"}  # that one was kept, beside its prompt
    files = everything_in(service.data)
    assert KEPT.encode() in files
    assert not leaks(files, OPERATORS | CLIENTS | said | key)


def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    service = Service(tmp_path / "service", config("http://127.0.0.1:9/v1", ""), environment=ENVIRONMENT)
    url = f"postgresql://me:{OPERATORS['database-password']}@127.0.0.1:9/none"
    service.config.write_text(service.config.read_text() + f'\n[storage]\ndatabase = "{url}"\n')
    said = b""
    for arguments in (("config", "show"), ("config", "check"), ("keys", "list"), ("serve", "--port", "0")):
        done = service.command(*arguments, "--config", str(service.config))
        said += f"{done.stdout}{done.stderr}".encode()
    assert b"***@127.0.0.1:9" in said
    assert said.count(b"storage.database: cannot be used") == 2
    assert not leaks(said, OPERATORS)


def test_a_database_that_is_away_tells_nobody_its_password(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer(SAID["answer"]))
    with PostgreSQL() as database:
        url = database.new_database().replace("fundament@", f"fundament:{OPERATORS['database-password']}@")
        text = config(upstream.base_url, f'storage.database = "{url}"')
        with Service(tmp_path / "service", text, environment=ENVIRONMENT) as service:
            assert service.post("/v2/responses", {"model": "m", "input": KEPT}).status == 200
            database.stop()
            replies = [service.post("/v2/responses", {"model": "m", "input": KEPT}, timeout_s=90)]
            replies.append(service.post("/v2/chat/completions", chat(), key=f"sk-fundament-{'x' * 43}"))
            assert {reply.status for reply in replies} == {503}
            assert wait_until(lambda: "keys_source_down" in service.log_text(), timeout_s=10)
            database.start()
            assert wait_until(lambda: "keys_source_back" in service.log_text(), timeout_s=20)
            told = b"".join(reply.body for reply in replies)
            kept = {"kept": KEPT}
            assert not leaks(told + service.log.read_bytes() + everything_in(service.data), OPERATORS | SAID | kept)
