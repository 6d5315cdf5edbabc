"""What a contract's plan and a key allow, on a running service with two workers: by model, scope and time."""

import time
from collections.abc import Callable, Iterator

import pytest

from scripted_answers import chat_answer
from scripted_upstream import ScriptedUpstream
from service import Reply, Service, wait_until
from specification import assert_valid

MODEL = """
[[models]]
id = "{id}"
aliases = ["{id}-alias"]
[[models.upstreams]]
base_url = "{base_url}"
"""
PLANS = """
[plans.small]
models = ["a"]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    models = "".join(MODEL.format(id=id, base_url=running_upstream.base_url) for id in ("a", "b"))
    with Service(tmp_path_factory.mktemp("contracts"), models + PLANS, workers=2) as service:
        service.create_contract("small", "small")
        yield service


@pytest.fixture
def chat(service: Service, upstream: ScriptedUpstream) -> Callable[[str, str], Reply]:
    upstream.default(chat_answer("Hello"))
    return lambda model, key: service.post(
        "/v2/chat/completions", {"model": model, "messages": [{"role": "user", "content": "x"}]}, key=key
    )


def models(service: Service, key: str) -> list[str]:
    listed = assert_valid("ListModelsResponse", service.request("GET", "/v2/models", key=key).json)
    return [model["id"] for model in listed["data"]]


def test_a_model_that_the_plan_is_without_is_refused_everywhere_and_not_listed(
    service: Service, upstream: ScriptedUpstream, chat: Callable[[str, str], Reply]
) -> None:
    key = service.create_key("planned", "--contract", "small")
    assert models(service, key) == ["a"]
    assert models(service, service.key) == ["a", "b"]
    assert chat("a", key).status == chat("a-alias", key).status == 200
    asked = len(upstream.requests)
    refused = [
        chat("b", key),
        chat("b-alias", key),
        service.post("/v2/completions", {"model": "b", "prompt": "x"}, key=key),
        service.post("/v2/responses", {"model": "b", "input": "x"}, key=key),
        service.post("/v2/responses/input_tokens", {"model": "b", "input": "x"}, key=key),
        service.request("GET", "/v2/models/b", key=key),
    ]
    for reply in refused:
        assert reply.status == 403
        error = assert_valid("ErrorResponse", reply.json)["error"]
        assert (error["type"], error["code"], error["param"]) == ("permission_denied", "permission_denied", "model")
        assert "'small'" in error["message"]
        assert "'b" in error["message"]
    assert len(upstream.requests) == asked


def test_a_key_may_have_fewer_models_than_its_plan(service: Service, chat: Callable[[str, str], Reply]) -> None:
    key = service.create_key("narrow", "--model", "b-alias")
    assert models(service, key) == ["b"]
    assert chat("b", key).status == 200
    assert chat("a", key).error["message"] == "This API key does not include the model 'a'."


def test_another_plan_is_in_force_within_a_second(service: Service, chat: Callable[[str, str], Reply]) -> None:
    service.create_contract("moving", "small")
    key = service.create_key("moving", "--contract", "moving")
    assert chat("b", key).status == 403
    assert service.command("contracts", "set", "moving", "--plan", "unlimited").returncode == 0
    # Each request is a new connection, which either worker may take: ten in a row are of both.
    assert wait_until(lambda: {chat("b", key).status for _ in range(10)} == {200}, 1)
    assert service.command("contracts", "close", "moving").returncode == 0
    assert wait_until(lambda: {chat("b", key).status for _ in range(10)} == {401}, 1)


def test_a_key_without_the_scope_generates_nothing_and_reads_nothing(
    service: Service, chat: Callable[[str, str], Reply]
) -> None:
    key = service.create_key("reader", "--scope", "usage")
    for reply in (chat("a", key), service.request("GET", "/v2/responses/resp_1", key=key)):
        assert reply.status == 403
        assert reply.error["code"] == "missing_scope"
        assert "'inference'" in reply.error["message"]


def test_a_key_expires_by_itself(service: Service, chat: Callable[[str, str], Reply]) -> None:
    key = service.create_key("brief", "--expires", "3s")
    assert chat("a", key).status == 200
    made_at = time.monotonic()
    assert wait_until(lambda: chat("a", key).status == 401, 4, 0.1)
    assert time.monotonic() - made_at < 3.5
    reply = chat("a", key)
    assert reply.error["code"] == "invalid_api_key"
    assert "expired at" in reply.error["message"]


def test_when_a_key_was_used_last_is_known_after_a_stop_at_the_latest(
    tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedUpstream
) -> None:
    config = MODEL.format(id="a", base_url=upstream.base_url)
    with Service(tmp_path_factory.mktemp("last-used"), config, workers=2) as service:
        used, unused = service.create_key("used"), service.create_key("unused")
        assert service.request("GET", "/v2/models", key=used).status == 200
        assert unused != used
        service.stop()
        rows = {
            row[2]: row[8] for row in (line.split("\t") for line in service.command("keys", "list").stdout.splitlines())
        }
    assert rows["used"]
    assert rows["unused"] == ""
