"""The admin API of a running service, on SQLite and on PostgreSQL: what it changes, refuses and tells, and to whom."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from databases import PostgreSQL
from scripted_answers import chat_answer, json_answer
from scripted_upstream import ScriptedUpstream
from service import Process, Reply, Service, free_port, wait_until
from specification import assert_valid

ADMIN_KEY = "an-admin-key-for-tests"
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "admin.md"
CONFIG = """
[admin]
port = {port}
[storage]
database = "{database}"
[plans.small]
models = ["a"]
[[plans.small.limits]]
rpm = 500
[[models]]
id = "a"
aliases = ["alias"]
price = {{ input = 1.0, output = 2.0 }}
[[models.upstreams]]
base_url = "{base_url}"
responses = false
[[models]]
id = "pooled"
[[models.upstreams]]
base_url = "{base_url}"
[[models.upstreams]]
base_url = "http://127.0.0.1:1/v1"
[[models]]
id = "gone"
[[models.upstreams]]
base_url = "http://127.0.0.1:1/v1"
"""


class AdminService(Service):
    """A service with an admin API."""

    admin_port: int

    def admin(self, method: str, path: str, body: object = None, key: str | None = ADMIN_KEY) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=60)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, "/admin" + path, data, headers)
        response = connection.getresponse()
        reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        connection.close()
        return reply

    def ask(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        reply = self.admin(method, path, body)
        assert reply.status == status, reply.body
        assert reply.headers["content-type"] == "application/json"
        return reply.json

    def command_lines(self, *arguments: str) -> list[str]:
        done = self.command(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def refused(self, method: str, path: str, body: object = None, status: int = 400) -> tuple[str, str | None, str]:
        reply = self.admin(method, path, body)
        assert reply.status == status, reply.body
        assert reply.headers["x-request-id"].startswith("req_")
        error = assert_valid("ErrorResponse", reply.json)["error"]
        return error["code"], error["param"], error["message"]


def new_service(directory: Path, upstream: ScriptedUpstream, database: str, key: str | None = ADMIN_KEY) -> Any:
    port = free_port()
    config = CONFIG.format(port=port, database=database, base_url=upstream.base_url)
    service = AdminService(directory, config, environment={"FUNDAMENT_ADMIN_KEY": key} if key else {})
    service.admin_port = port
    return service


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream
) -> Iterator[AdminService]:
    database = "sqlite:///fundament.db"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        database = server.new_database()
    with new_service(tmp_path_factory.mktemp("admin"), running_upstream, database) as service:
        wait_until(lambda: accepts(service.admin_port), 20)
        yield service


@pytest.fixture
def service(running: AdminService, upstream: ScriptedUpstream) -> AdminService:
    upstream.default(chat_answer("Hello", prompt_tokens=1000))
    return running


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def admins(service: Service) -> list[Process]:
    return [process for process in service.processes() if "fundament.admin" in process.command]


def chat(service: Service, key: str) -> int:
    body = {"model": "a", "messages": [{"role": "user", "content": "x"}]}
    return service.post("/v2/chat/completions", body, key=key).status


def documented() -> list[tuple[str, str]]:
    """The method and the path of each row of the table in the documentation."""
    return re.findall(r"^\| `([A-Z]+) (/\S+)`", DOCUMENTATION.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "key", [None, "", "another-key-for-tests", ADMIN_KEY + "x", ADMIN_KEY[:-1], "quick" + "x" * 9, "käse"]
)
def test_nothing_is_told_without_the_key(service: AdminService, key: str | None) -> None:
    for method, path in [*documented(), ("GET", "/admin/nothing"), ("GET", "/admin")]:
        reply = service.admin(method, path.removeprefix("/admin"), key=key)
        assert reply.status == 401, path
        assert assert_valid("ErrorResponse", reply.json)["error"]["code"] == "invalid_api_key"
        assert ADMIN_KEY.encode() not in reply.body


def test_a_clients_key_is_no_admin_key_and_the_other_way_round(service: AdminService) -> None:
    assert service.admin("GET", "/contracts", key=service.key).status == 401
    assert service.request("GET", "/v2/models", key=ADMIN_KEY).status == 401


def test_the_two_listeners_have_nothing_in_common(service: AdminService) -> None:
    assert service.request("GET", "/admin/contracts", key=ADMIN_KEY).status == 404
    assert service.refused("GET", "/../v2/models", status=404)[0] == "unknown_url"


def test_it_is_there_only_where_it_is_asked_for_and_then_on_loopback(service: AdminService, scripted: Service) -> None:
    assert [len(admins(each)) for each in (service, scripted)] == [1, 0]
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f":{service.admin_port:04X}"
    assert [row[1] for row in rows if row[3] == "0A" and row[1].endswith(port)] == [f"0100007F{port}"]


def test_every_documented_endpoint_is_there_and_every_other_method_is_refused(service: AdminService) -> None:
    for method, path in documented():
        filled = re.sub(r"\{\w+\}", "nobody", path.removeprefix("/admin"))
        assert service.admin(method, filled).status != 405, (method, path)
        reply = service.admin("PUT", filled)
        assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
        allowed = set(reply.headers["allow"].split(", ")) - {"HEAD"}
        assert allowed == {each for each, other in documented() if other == path}


def test_a_contract_is_made_changed_and_closed(service: AdminService) -> None:
    made = service.ask("POST", "/contracts", {"name": "acme", "plan": "small", "monthly_budget": "100.00"}, 201)
    assert (made["object"], made["name"], made["plan"], made["monthly_budget"]) == (
        "contract",
        "acme",
        "small",
        "100.00",
    )
    assert abs(made["created_at"] - time.time()) < 60
    assert service.ask("GET", "/contracts/acme") == service.ask("GET", f"/contracts/{made['id']}") == made
    assert made in service.ask("GET", "/contracts")["data"]
    changed = service.ask("PATCH", "/contracts/acme", {"monthly_budget": None})
    assert changed == made | {"monthly_budget": None}
    changed = service.ask("PATCH", "/contracts/acme", {"plan": "unlimited"})
    assert changed == made | {"monthly_budget": None, "plan": "unlimited"}
    closed = service.ask("DELETE", "/contracts/acme")
    assert closed["closed_at"] is not None
    assert service.ask("DELETE", "/contracts/acme") == closed
    listed = [row.split("\t") for row in service.command_lines("contracts", "list")]
    assert [row[1] for row in listed if row[0] == made["id"]] == ["acme"]


def test_a_key_is_made_rotated_and_revoked_and_every_worker_obeys(service: AdminService) -> None:
    service.ask("POST", "/contracts", {"name": "rotating", "plan": "small"}, 201)
    made = service.ask("POST", "/contracts/rotating/keys", {"name": "laptop", "models": ["alias"]}, 201)
    assert (made["contract"]["name"], made["models"], made["scopes"]) == ("rotating", ["a"], ["inference"])
    assert chat(service, made["key"]) == 200
    rotated = service.ask("POST", f"/keys/{made['id']}/rotate", {"overlap": "30m"}, 201)
    assert "key" not in rotated["old"]
    assert abs(rotated["old"]["expires_at"] - time.time() - 1800) < 60
    assert rotated["old"]["replaced_by"] == rotated["new"]["id"]
    new = rotated["new"]["key"]
    assert chat(service, made["key"]) == chat(service, new) == 200
    revoked = service.ask("DELETE", f"/keys/{rotated['new']['id']}")
    assert revoked["revoked_at"] is not None
    assert wait_until(lambda: chat(service, new) == 401, 1)
    assert chat(service, made["key"]) == 200
    listed = service.ask("GET", "/contracts/rotating/keys")["data"]
    assert [key["id"] for key in listed] == [made["id"], rotated["new"]["id"]]
    assert all("key" not in key for key in listed)
    assert {key["id"] for key in listed} <= {key["id"] for key in service.ask("GET", "/keys")["data"]}
    service.ask("DELETE", "/contracts/rotating")
    assert wait_until(lambda: chat(service, made["key"]) == 401, 1)


def test_a_rotation_without_a_body_overlaps_by_an_hour(service: AdminService) -> None:
    made = service.ask("POST", "/keys", {"name": "by default", "scopes": ["usage", "inference"], "expires": "30d"}, 201)
    assert (made["contract"]["name"], made["scopes"]) == ("default", ["inference", "usage"])
    assert abs(made["expires_at"] - time.time() - 30 * 86_400) < 60
    old = service.ask("POST", f"/keys/{made['id']}/rotate", status=201)["old"]
    assert abs(old["expires_at"] - time.time() - 3600) < 60


@pytest.mark.parametrize(
    ("asked", "body", "status", "code", "param"),
    [
        ("POST /contracts", {"plan": "small"}, 400, "missing_required_parameter", "name"),
        ("POST /contracts", {"name": "x", "plan": "gold"}, 400, "invalid_change", None),
        ("POST /contracts", {"name": "x", "plan": "small", "budget": 1}, 400, "unknown_parameter", "budget"),
        ("POST /contracts", {"name": 5, "plan": "small"}, 400, "invalid_type", "name"),
        ("POST /contracts", {"name": "x", "plan": "small", "monthly_budget": "much"}, 400, "invalid_change", None),
        ("POST /contracts", ["x"], 400, None, None),
        ("GET /contracts/nobody", None, 404, "not_found", None),
        ("PATCH /contracts/nobody", {"plan": "small"}, 404, "not_found", None),
        ("DELETE /contracts/nobody", None, 404, "not_found", None),
        ("POST /contracts/nobody/erase", None, 404, "not_found", None),
        ("GET /contracts/nobody/keys", None, 404, "not_found", None),
        ("POST /contracts/nobody/keys", {"name": "x"}, 404, "not_found", None),
        ("POST /contracts/default/keys", {"name": "x", "contract": "y"}, 400, "unknown_parameter", "contract"),
        ("POST /keys", {"name": "x", "models": ["gpt-99"]}, 400, "invalid_change", None),
        ("POST /keys", {"name": "x", "scopes": ["admin"]}, 400, "invalid_change", None),
        ("POST /keys", {"name": "x", "expires": "soon"}, 400, "invalid_change", None),
        ("POST /keys/nobody/rotate", {}, 404, "not_found", None),
        ("DELETE /keys/nobody", None, 404, "not_found", None),
        ("GET /usage?by=moon", None, 400, "invalid_value", "by"),
        ("GET /usage?format=xml", None, 400, "invalid_value", "format"),
        ("GET /audit?limit=0", None, 400, "invalid_value", "limit"),
        ("GET /audit?limit=x", None, 400, "invalid_value", "limit"),
        ("GET /audit?page=2", None, 400, "unknown_parameter", "page"),
        ("GET /nothing", None, 404, "unknown_url", None),
    ],
)
def test_what_cannot_be_is_refused_by_name(  # noqa: PLR0917 - each is a column of the table above
    service: AdminService, asked: str, body: object, status: int, code: str, param: str | None
) -> None:
    method, path = asked.split(" ")
    before = service.ask("GET", "/audit")
    assert service.refused(method, path, body, status)[:2] == (code, param)
    assert service.ask("GET", "/audit") == before


def test_plans_are_told(service: AdminService) -> None:
    plans = {plan["name"]: plan for plan in service.ask("GET", "/plans")["data"]}
    assert plans.keys() == {"agentic", "essential", "professional", "small", "unlimited"}
    assert (plans["small"]["models"], plans["small"]["limits"][0]["rpm"]) == (["a"], 500)


def test_models_are_asked_how_they_are(service: AdminService, upstream: ScriptedUpstream) -> None:
    def states() -> list[tuple[str, str]]:
        return [(model["id"], model["state"]) for model in service.ask("GET", "/models")["data"]]

    for status, state in ((200, "ready"), (404, "ready"), (401, "credential_refused"), (503, "failing")):
        upstream.default(json_answer({}, status=status), path="/v1/models")
        away = [("pooled", "unreachable"), ("gone", "unreachable")]
        assert states() == [("a", state), ("pooled", state), *away]


def test_usage_is_reported_as_json_and_as_csv(service: AdminService) -> None:
    service.ask("POST", "/contracts", {"name": "using", "plan": "small"}, 201)
    key = service.ask("POST", "/contracts/using/keys", {"name": "laptop"}, 201)["key"]
    assert chat(service, key) == 200
    path = "/usage?by=contract,model&contract=using"
    assert wait_until(lambda: service.ask("GET", path)["data"] != [], 10, 0.1)
    report = service.ask("GET", path)
    [row] = report["data"]
    assert (report["currency"], row["contract_name"], row["model"], row["requests"]) == ("EUR", "using", "a", 1)
    assert row["input_tokens"] == 1000
    reply = service.admin("GET", f"{path}&format=csv")
    assert reply.headers["content-type"].startswith("text/csv")
    told = service.command("usage", "report", "--by", "contract,model", "--contract", "using", "--format", "csv")
    assert reply.body.decode() == told.stdout
    assert told.stdout.splitlines()[1].split(",")[1:4] == ["using", "a", "1"]


def test_the_log_says_who_did_what_by_api_and_by_command(service: AdminService) -> None:
    service.ask("POST", "/contracts", {"name": "watched", "plan": "small"}, 201)
    assert service.command("contracts", "close", "watched").returncode == 0
    closed, created = service.ask("GET", "/audit?limit=2")["data"]
    assert (created["action"], created["actor"]) == ("contract.create", "admin key: 127.0.0.1")
    assert (closed["action"], closed["object_name"]) == ("contract.close", "watched")
    assert closed["actor"].startswith("cli: ")
    page = service.ask("GET", f"/audit?limit=1&before={closed['id']}")
    assert (page["data"], page["has_more"]) == ([created], True)
    [line] = service.command_lines("audit", "list", "--limit", "1")
    assert line.split("\t")[1:5] == [closed["actor"], "contract.close", closed["object_id"], "watched"]
    assert ADMIN_KEY not in json.dumps(service.ask("GET", "/audit?limit=1000"))


def files_with(directory: Path, text: str) -> list[str]:
    return [str(path) for path in directory.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_contract_is_erased_while_the_service_runs(service: AdminService, upstream: ScriptedUpstream) -> None:
    text = "TheTextOfThisContract"
    upstream.default(chat_answer(f"{text} in the answer"))
    service.ask("POST", "/contracts", {"name": "to be erased", "plan": "small"}, 201)
    made = service.ask("POST", "/contracts/to%20be%20erased/keys", {"name": "laptop"}, 201)
    for number in range(20):
        body = {"model": "a", "input": f"{text} {'x' * 200 * number}", "background": number % 5 == 0}
        assert service.post("/v2/responses", body, key=made["key"]).status == 200
    item = {"type": "message", "role": "user", "content": text}
    assert service.post("/v2/conversations", {"items": [item] * 20}, key=made["key"]).status == 200
    upstream.default(chat_answer("another answer"))
    other = service.post("/v2/responses", {"model": "a", "input": "mine"}).json
    sqlite = (service.data / "fundament.db").exists()
    assert bool(files_with(service.data, text)) == sqlite
    path = f"/usage?contract={made['contract']['id']}"
    assert wait_until(lambda: service.ask("GET", path)["data"][:1] != [], 10, 0.1)
    erased = service.ask("POST", "/contracts/to%20be%20erased/erase")
    assert (erased["id"], erased["responses"], erased["conversations"]) == (made["contract"]["id"], 20, 1)
    assert service.request("GET", "/v2/models", key=made["key"]).status == 401
    assert service.ask("GET", path)["data"] == []
    assert service.refused("GET", "/contracts/to%20be%20erased", status=404)[0] == "not_found"
    assert service.ask("GET", f"/contracts/{erased['id']}")["name"] == erased["id"]
    assert service.request("GET", f"/v2/responses/{other['id']}").status == 200
    for word in (text, "to be erased"):
        assert files_with(service.data, word) == []
    again = service.ask("POST", f"/contracts/{erased['id']}/erase")
    assert (again["responses"], again["requests"], again["erased_at"]) == (0, 0, erased["erased_at"])


def test_no_text_is_left_when_the_service_has_ended(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("TheTextOfThisContract"))
    with new_service(tmp_path / "s", upstream, "sqlite:///fundament.db") as service:
        key = service.create_key("laptop")
        for _ in range(10):
            assert service.post("/v2/responses", {"model": "a", "input": "x"}, key=key).status == 200
        done = service.command("contracts", "erase", "default", "--yes")
        assert done.returncode == 0, done.stderr
        assert files_with(service.data, "TheTextOfThisContract") == []
        service.stop()
        assert files_with(service.data, "TheTextOfThisContract") == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "admin.key_env: the environment variable FUNDAMENT_ADMIN_KEY is not set"),
        ("short", "admin.key_env: the key in the environment variable FUNDAMENT_ADMIN_KEY must have at least 16"),
        ("with a space inside it", "admin.key_env: the key in the environment variable FUNDAMENT_ADMIN_KEY must"),
    ],
)
def test_the_start_is_refused_without_a_good_key(
    tmp_path: Path, upstream: ScriptedUpstream, key: str | None, message: str
) -> None:
    text = new_service(tmp_path / "s", upstream, "sqlite:///fundament.db", key).refused_start()
    assert message in text
    assert key is None or key not in text


def test_the_start_is_refused_where_the_port_is_taken(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    service = new_service(tmp_path / "s", upstream, "sqlite:///fundament.db")
    with socket.create_server(("127.0.0.1", service.admin_port)):
        assert f"admin.port: cannot listen on 127.0.0.1:{service.admin_port}" in service.refused_start()
