"""Keys on a service with four workers: good when they are made, refused everywhere within a second of revoking."""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from scripted_answers import chat_answer
from scripted_upstream import ScriptedUpstream
from service import Service, connections_of

CONFIG = """
[[models]]
id = "m"
[[models.upstreams]]
base_url = "{base_url}"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("keys")
    with Service(directory, CONFIG.format(base_url=running_upstream.base_url), workers=4) as service:
        yield service


@pytest.fixture
def connections(service: Service) -> Iterator[list[http.client.HTTPConnection]]:
    """Open connections, some to each worker."""
    opened: list[http.client.HTTPConnection] = []
    workers = service.workers()
    assert len(workers) == 4
    while not all(connections_of(worker.pid, service.port) for worker in workers):
        assert len(opened) < 200, "one worker takes no connections"
        opened.append(http.client.HTTPConnection("127.0.0.1", service.port, timeout=10))
        assert status(opened[-1], "none") == 401
    yield opened
    for connection in opened:
        connection.close()


def status(connection: http.client.HTTPConnection, key: str) -> int:
    connection.request("GET", "/v2/models", headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    response.read()
    return response.status


def test_a_created_key_works_at_once_in_every_worker(
    service: Service, connections: list[http.client.HTTPConnection]
) -> None:
    key = service.create_key("at once")
    assert {status(connection, key) for connection in connections} == {200}


def test_a_revoked_key_is_refused_by_every_worker_within_a_second(
    service: Service, connections: list[http.client.HTTPConnection]
) -> None:
    key = service.create_key("to revoke")
    other = service.create_key("to keep")
    assert {status(connection, key) for connection in connections} == {200}
    done = service.command("keys", "revoke", "to revoke")
    assert done.returncode == 0, done.stderr
    revoked_at = time.monotonic()
    while {status(connection, key) for connection in connections} != {401}:
        assert time.monotonic() - revoked_at < 1
        time.sleep(0.02)
    assert {status(connection, other) for connection in connections} == {200}


def test_a_rotation_with_overlap_fails_no_request_and_ends_the_old_key(
    service: Service, connections: list[http.client.HTTPConnection]
) -> None:
    key = service.create_key("to rotate")
    seen: list[int] = []
    rotated = threading.Event()

    def ask() -> None:
        while not rotated.is_set():
            seen.extend(status(connection, key) for connection in connections)

    with ThreadPoolExecutor(1) as client:
        asking = client.submit(ask)
        try:
            done = service.command("keys", "rotate", "to rotate", "--overlap", "6s")
        finally:
            rotated.set()
        asking.result()
    assert done.returncode == 0, done.stderr
    newer = done.stdout.removesuffix("\n")
    ends_at = datetime.fromisoformat(done.stderr.split("expires at ")[1].removesuffix(".\n")).timestamp()
    while time.time() < ends_at - 0.5:
        seen.extend(status(connection, key) for connection in connections)
        seen.extend(status(connection, newer) for connection in connections)
    assert len(seen) > 10 * len(connections)
    assert set(seen) == {200}
    time.sleep(max(0.0, ends_at + 0.1 - time.time()))
    assert {status(connection, key) for connection in connections} == {401}
    assert {status(connection, newer) for connection in connections} == {200}
    assert "expired at" in service.request("GET", "/v2/models", key=key).error["message"]


def test_a_created_key_is_printed_alone_and_is_in_no_file(service: Service, running_upstream: ScriptedUpstream) -> None:
    done = service.command("keys", "create", "--name", "secret")
    assert re.fullmatch(r"sk-fundament-[A-Za-z0-9_-]{43}\n", done.stdout)
    key = done.stdout.strip()
    running_upstream.reset()
    running_upstream.answer(chat_answer("Hello"))
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert service.post("/v2/chat/completions", body, key=key).status == 200
    assert service.post("/v2/chat/completions", body, key=key[:-1] + "!").status == 401
    assert service.post("/v2/chat/completions", {**body, "temperature": 9}, key=key).status == 400
    files = [file for file in service.directory.rglob("*") if file.is_file()]
    assert files
    # The secret's first letters may stand in the key's hint; ten more may stand nowhere.
    assert [file for file in files if key[13:26].encode() in file.read_bytes()] == []


def test_keys_are_listed_without_their_secret(service: Service) -> None:
    key = service.create_key("listed")
    done = service.command("keys", "list")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if "\tlisted\t" in line]
    assert line.startswith("key_")
    assert key not in done.stdout


def test_revoking_what_does_not_exist_fails_by_name(service: Service) -> None:
    done = service.command("keys", "revoke", "nobody's")
    assert done.returncode == 1
    assert "nobody's" in done.stderr
    assert "Traceback" not in done.stderr
