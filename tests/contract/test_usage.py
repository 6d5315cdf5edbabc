"""What was used, as `GET /usage` and `fundament usage report` tell it: each request once, soon, to the right one."""

import csv
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from databases import in_a_thread
from fundament.protocol.answers import UsageReport
from fundament.settings import DEFAULT_PLANS
from fundament.storage.contracts import ContractRepository
from fundament.storage.database import open_database
from fundament.storage.keys import KeyRepository
from scripted_answers import DONE, chat_answer, chat_events, error_answer, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Service, wait_until
from specification import assert_valid

CONFIG = """
[billing]
currency = "CHF"

[[models]]
id = "priced"
aliases = ["alias"]
region = "ch"
price = {{ input = 0.15, cached_input = 0.075, output = 0.6 }}
[[models.upstreams]]
base_url = "{base_url}"

[[models]]
id = "free"
[[models.upstreams]]
base_url = "{base_url}"
"""
CHAT = "/v2/chat/completions"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("usage")
    with Service(directory, CONFIG.format(base_url=running_upstream.base_url), workers=2) as service:
        yield service


class Customer:
    """A contract with two keys to use models, and one to read what they used."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.name = f"customer {time.time_ns()}"
        self.keys: list[str] = []
        self.reader = ""
        in_a_thread(self._sign(f"sqlite:///{service.data}/fundament.db"))

    async def _sign(self, url: str) -> None:
        """As the commands do, which take a second each."""
        engine = open_database(url)
        await ContractRepository(engine, DEFAULT_PLANS).create(self.name, "unlimited")
        keys = KeyRepository(engine)
        self.keys = [(await keys.create(name, contract=self.name))[1] for name in ("one", "two")]
        _, self.reader = await keys.create("reader", contract=self.name, scopes=("usage",))
        await engine.dispose()

    def ask(self, model: str = "priced", key: int = 0, **fields: Any) -> Any:
        body = {"model": model, "messages": [{"role": "user", "content": "x"}]} | fields
        return self._service.post(CHAT, body, key=self.keys[key])

    def usage(self, query: str = "") -> Any:
        reply = self._service.request("GET", f"/v2/usage{query}", key=self.reader)
        assert reply.status == 200, reply.body
        msgspec.json.decode(reply.body, type=UsageReport, strict=True)
        return reply.json

    def wait_booked(self, requests: int) -> None:
        def booked() -> int:
            return sum(row["requests"] for row in self.usage()["data"])

        assert wait_until(lambda: booked() >= requests, 10, every_s=0.05)
        assert booked() == requests

    def report(self, *arguments: str) -> str:
        done = self._service.command("usage", "report", "--contract", self.name, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def customer(service: Service, upstream: ScriptedUpstream) -> Customer:
    upstream.default(chat_answer("Hello", prompt_tokens=1000, cached_tokens=400))
    return Customer(service)


COST = 600 * 150 + 400 * 75 + 5 * 600  # nanos: a price for a million tokens is a thousandth of that in nanos a token


def test_a_request_is_told_to_its_contract_soon_with_its_cost(customer: Customer) -> None:
    began_at = time.monotonic()
    assert customer.ask("alias").status == 200
    customer.wait_booked(1)
    assert time.monotonic() - began_at < 5
    today = str(datetime.now(UTC).date())
    row = {
        "object": "usage",
        "day": today,
        "model": "priced",
        "requests": 1,
        "input_tokens": 1000,
        "cached_tokens": 400,
        "output_tokens": 5,
        "reasoning_tokens": 0,
        "cost_nanos": COST,
    }
    assert customer.usage("?by=day,model") == {"object": "list", "currency": "CHF", "data": [row]}


def test_all_keys_of_a_contract_are_summed_and_told_apart(customer: Customer) -> None:
    for model, key in (("priced", 0), ("priced", 1), ("free", 1)):
        customer.ask(model, key)
    customer.wait_booked(3)
    [total] = customer.usage("?by=contract")["data"]
    assert (total["contract_name"], total["requests"], total["cost_nanos"]) == (customer.name, 3, 2 * COST)
    by_key = customer.usage("?by=key")["data"]
    assert {row["key_name"]: (row["requests"], row["cost_nanos"]) for row in by_key} == {
        "one": (1, COST),
        "two": (2, COST),
    }
    assert [row["model"] for row in customer.usage("?by=model&key=two")["data"]] == ["free", "priced"]
    assert [row["requests"] for row in customer.usage("?by=key,model&model=free")["data"]] == [1]


def test_another_contract_sees_nothing_of_it(service: Service, customer: Customer) -> None:
    customer.ask()
    customer.wait_booked(1)
    assert Customer(service).usage("?by=contract,key")["data"] == []


def test_streams_and_failures_are_records_too(customer: Customer, upstream: ScriptedUpstream) -> None:
    upstream.answer(sse_answer([*chat_events(["Hello"], usage_asked=True), DONE]))
    assert customer.ask(stream=True).status == 200
    upstream.answer(error_answer(400, "no"))
    assert customer.ask().status == 400
    customer.wait_booked(2)
    [total] = customer.usage("?by=contract")["data"]
    assert (total["input_tokens"], total["output_tokens"], total["cost_nanos"]) == (9, 5, 9 * 150 + 5 * 600)


def test_only_days_that_are_asked_for_are_told(customer: Customer) -> None:
    customer.ask()
    customer.wait_booked(1)
    today = datetime.now(UTC).date()
    tomorrow, yesterday = today + timedelta(days=1), today - timedelta(days=1)
    assert customer.usage(f"?until={yesterday}")["data"] == []
    assert customer.usage(f"?since={tomorrow}")["data"] == []
    assert len(customer.usage(f"?since={today}&until={today}")["data"]) == 1


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("by=hour", "by", "invalid_value"),
        ("by=day,day", "by", "invalid_value"),
        ("since=yesterday", "since", "invalid_value"),
        ("since=20261123", "since", "invalid_value"),
        ("since=2026-11-23&until=2026-11-22", "since", "invalid_value"),
        ("since=2020-01-01&until=2026-11-22", "since", "invalid_value"),
        ("until=0001-01-01", None, None),
        ("contract=other", "contract", "unknown_parameter"),
        ("from=2026-11-23", "from", "unknown_parameter"),
    ],
)
def test_a_wrong_query_is_refused_by_name(
    service: Service, customer: Customer, query: str, param: str | None, code: str | None
) -> None:
    reply = service.request("GET", f"/v2/usage?{query}", key=customer.reader)
    if param is None:
        assert (reply.status, reply.json["data"]) == (200, [])
        return
    assert reply.status == 400
    assert_valid("ErrorResponse", reply.json)
    assert (reply.error["param"], reply.error["code"]) == (param, code)


def test_a_key_without_the_scope_sees_nothing_and_one_with_only_it_uses_nothing(
    service: Service, customer: Customer
) -> None:
    refused = service.request("GET", "/v2/usage", key=customer.keys[0])
    assert (refused.status, refused.error["code"]) == (403, "missing_scope")
    body = {"model": "free", "messages": [{"role": "user", "content": "x"}]}
    assert service.post(CHAT, body, key=customer.reader).status == 403
    assert service.request("GET", "/v2/usage", key=None).status == 401


def test_the_command_prints_the_same_for_people_and_for_programs(customer: Customer) -> None:
    customer.ask()
    customer.ask("free", 1)
    customer.wait_booked(2)
    assert json.loads(customer.report("--by", "key,model", "--format", "json")) == customer.usage("?by=key,model")
    rows = list(csv.DictReader(io.StringIO(customer.report("--by", "contract,key,model", "--format", "csv"))))
    assert [
        (row["contract_name"], row["key_name"], row["model"], row["cost"]) for row in rows if row["model"] == "priced"
    ] == [(customer.name, "one", "priced", "0.000123")]
    assert {row["currency"] for row in rows} == {"CHF"}
    assert rows[0]["key_id"].startswith("key_")
    table = [line.split("\t") for line in customer.report("--by", "day,model").splitlines()]
    assert [line[1:] for line in table] == [
        ["free", "1", "1000", "400", "5", "0", "0.00"],
        ["priced", "1", "1000", "400", "5", "0", "0.000123"],
    ]


def test_the_command_refuses_what_it_does_not_know(service: Service) -> None:
    done = service.command("usage", "report", "--by", "hour")
    assert (done.returncode, done.stdout) == (1, "")
    assert "by" in done.stderr
    assert "hour" in done.stderr


def test_models_show_their_price(service: Service) -> None:
    price = {"input": 0.15, "cached_input": 0.075, "output": 0.6, "per_tokens": 1_000_000, "currency": "CHF"}
    assert service.request("GET", "/v2/models/priced").json["meta_data"]["price"] == price
    assert "price" not in service.request("GET", "/v2/models/free").json["meta_data"]


def test_the_records_of_the_journal_are_moved_and_say_who_paid(service: Service, customer: Customer) -> None:
    reply = customer.ask()
    customer.wait_booked(1)
    journal = b"".join(path.read_bytes() for path in Path(service.data / "usage").glob("*.jsonl"))
    [record] = [json.loads(line) for line in journal.splitlines() if reply.headers["x-request-id"].encode() in line]
    assert record["contract_id"].startswith("contract_")
    assert (record["region"], record["cost_nanos"]) == ("ch", COST)
