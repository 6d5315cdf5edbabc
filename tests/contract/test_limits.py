"""Limits as a client meets them: headers, refusals, and what is given back, on every endpoint that asks a model."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from websockets.sync.client import connect

from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from customers import Customer
from fundament.settings import StorageConfig
from scripted_answers import (
    Barrier,
    Hang,
    chat_answer,
    chat_events,
    chat_stream,
    completion_answer,
    error_answer,
    sse_answer,
)
from scripted_upstream import ScriptedUpstream
from service import Service, wait_until

PLANS = """
[[plans.small.limits]]
model = "*"
rpm = 5
input_tpm = 1000
output_tpm = 500
max_in_flight = 2

[[models]]
id = "priced-model"
price = { input = 1.0, output = 1000.0 }
[[models.upstreams]]
base_url = "%s"
"""
CHAT = {"model": "open-model", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}
RESPONSE = {"model": "open-model", "input": "Hi", "max_output_tokens": 100}
COMPLETION = {"model": "open-model", "prompt": "Hi", "max_tokens": 100}
LIMITS = ("requests", "tokens", "output-tokens")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    base_url = running_upstream.base_url
    config = scripted_config(base_url) + PLANS % base_url
    with Service(tmp_path_factory.mktemp("limits"), config, environment=UPSTREAM_ENVIRONMENT) as service:
        yield service


@pytest.fixture
def customer(service: Service, upstream: ScriptedUpstream) -> Customer:
    upstream.default(chat_answer("four"), path="/v1/chat/completions")
    upstream.default(completion_answer("four"), path="/v1/completions")
    return Customer(service, "small")


def remaining(headers: Any) -> tuple[int, ...]:
    return tuple(int(headers[f"x-ratelimit-remaining-{kind}"]) for kind in LIMITS)


@pytest.mark.parametrize(
    ("path", "body"), [("/chat/completions", CHAT), ("/completions", COMPLETION), ("/responses", RESPONSE)]
)
def test_each_answer_tells_the_limits_and_use_counts_not_what_was_reserved(
    customer: Customer, path: str, body: dict[str, Any]
) -> None:
    first = customer.post(path, body)
    assert first.status == 200
    assert tuple(int(first.headers[f"x-ratelimit-limit-{kind}"]) for kind in LIMITS) == (5, 1000, 500)
    assert remaining(first.headers)[0] == 4
    assert remaining(first.headers)[2] == 400
    assert all(first.headers[f"x-ratelimit-reset-{kind}"] == "1m0s" for kind in LIMITS)
    second = customer.post(path, body)
    assert remaining(second.headers)[0] == 3
    assert remaining(second.headers)[2] == 500 - 4 - 100
    assert 1000 - remaining(second.headers)[1] in range(9 + 1, 9 + 40), "9 tokens were used, and some are reserved"
    assert 50 < float(second.headers["x-ratelimit-reset-tokens"].removesuffix("s")) < 60


def test_a_stream_tells_the_limits_before_its_first_event(customer: Customer, upstream: ScriptedUpstream) -> None:
    upstream.answer(chat_stream(["a", "b"], usage=True), chat_stream(["a", "b"], usage=True))
    for path, body in (("/chat/completions", CHAT), ("/responses", RESPONSE)):
        with customer.send(path, body | {"stream": True}) as exchange:
            assert exchange.headers["x-ratelimit-limit-requests"] == "5"
            exchange.read()
    assert remaining(customer.post("/chat/completions", CHAT).headers)[2] == 500 - 2 - 2 - 100


def test_a_failure_of_the_upstream_tells_them_too_and_costs_no_tokens(
    customer: Customer, upstream: ScriptedUpstream
) -> None:
    upstream.answer(error_answer(500, "broken", type="server_error"))
    failed = customer.post("/chat/completions", CHAT)
    assert failed.status >= 500
    assert remaining(failed.headers)[2] == 400
    reserved = -(-len(json.dumps(CHAT)) // 4)
    assert remaining(customer.post("/chat/completions", CHAT).headers) == (3, 1000 - reserved, 400)


def test_what_is_refused_by_validation_costs_nothing(customer: Customer) -> None:
    for body in (CHAT | {"temperature": 7}, CHAT | {"model": "nobody"}, CHAT | {"max_tokens": 5000}):
        refused = customer.post("/chat/completions", body)
        assert refused.status in {400, 404}
        assert "x-ratelimit-limit-requests" not in refused.headers
    assert remaining(customer.post("/chat/completions", CHAT).headers)[0] == 4


def test_the_sixth_request_is_refused_whichever_key_and_endpoint(customer: Customer) -> None:
    customer.post("/chat/completions", CHAT)
    customer.post("/completions", COMPLETION)
    customer.key = customer.new_key()
    customer.post("/responses", RESPONSE)
    customer.post("/chat/completions", CHAT)
    assert customer.post("/chat/completions", CHAT).status == 200
    refused = customer.post("/responses", RESPONSE)
    assert refused.status == 429
    assert (refused.error["type"], refused.error["code"], refused.error["param"]) == (
        "requests",
        "rate_limit_exceeded",
        None,
    )
    reached = "Rate limit reached for open-model on requests per min (RPM): Limit 5, Used 5, Requested 1."
    assert refused.error["message"].startswith(f"{reached} Please try again in ")
    assert remaining(refused.headers)[0] == 0
    assert 50 < int(refused.headers["retry-after"]) <= 60
    assert 50_000 < int(refused.headers["retry-after-ms"]) <= 60_000
    assert "x-should-retry" not in refused.headers


def test_the_official_client_sees_a_rate_limit_error_and_its_headers(customer: Customer) -> None:
    with customer.service.client(api_key=customer.key) as client, pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="open-model", messages=[{"role": "user", "content": "Hi"}], max_tokens=501)
    assert "Request too large" in refused.value.message
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.value.response.headers


def test_a_second_candidate_is_reserved_as_well(customer: Customer) -> None:
    assert remaining(customer.post("/chat/completions", CHAT | {"n": 2}).headers)[2] == 300
    assert customer.post("/chat/completions", CHAT | {"n": 6}).status == 429


def test_a_stream_that_its_client_leaves_frees_its_place_and_what_it_did_not_use(
    customer: Customer, upstream: ScriptedUpstream
) -> None:
    events = chat_events(["a"] * 7)
    upstream.answer(*[sse_answer([b"".join(events[:6]), Hang()])] * 2)
    streams = [customer.send("/chat/completions", CHAT | {"stream": True}) for _ in range(2)]
    for stream in streams:
        for _ in zip(range(6), stream.events(), strict=False):
            pass
    refused = customer.post("/chat/completions", CHAT)
    assert refused.status == 429
    assert "on concurrent requests: Limit 2, Used 2" in refused.error["message"]
    assert refused.headers["retry-after"] == "1"
    for stream in streams:
        stream.leave()
    assert wait_until(lambda: len(upstream.abandoned) == 2, 5)
    assert remaining(customer.post("/chat/completions", CHAT).headers)[2] == 500 - 5 - 5 - 100


def test_a_response_in_the_background_holds_its_place_until_it_ends(
    customer: Customer, upstream: ScriptedUpstream
) -> None:
    barrier = Barrier()
    upstream.answer(sse_answer([barrier, *chat_events(["a"], usage_asked=True), b"data: [DONE]\n\n"]))
    begun = customer.post("/responses", RESPONSE | {"background": True})
    assert begun.status == 200
    assert remaining(begun.headers)[2] == 400
    assert barrier.reached.wait(5)
    assert remaining(customer.post("/chat/completions", CHAT).headers)[2] == 300
    barrier.release()

    def ended() -> bool:
        status = customer.service.request("GET", f"/v2/responses/{begun.json['id']}", key=customer.key).json["status"]
        return status == "completed"

    assert wait_until(ended, 5, every_s=0.05)
    assert remaining(customer.post("/chat/completions", CHAT).headers)[2] == 500 - 1 - 4 - 100


def test_a_compaction_is_a_request_like_others(customer: Customer) -> None:
    compacted = customer.post("/responses/compact", {"model": "open-model", "input": "Hi"})
    assert compacted.status in {200, 429}, compacted.body
    assert compacted.headers["x-ratelimit-limit-requests"] == "5"


def test_a_budget_that_is_spent_ends_it_for_the_month(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("four" * 25))
    customer = Customer(service, "unlimited", monthly_budget_nanos=250_000_000)
    chat = CHAT | {"model": "priced-model"}
    answers = [customer.post("/chat/completions", chat) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    error = answers[-1].error
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert error["message"].startswith("You exceeded your current quota")
    assert answers[-1].headers["x-should-retry"] == "false"


def test_over_a_websocket_a_refusal_is_an_event(customer: Customer) -> None:
    url = f"ws://127.0.0.1:{customer.service.port}/v2/responses"
    with connect(url, additional_headers={"Authorization": f"Bearer {customer.key}"}) as socket:
        socket.send(json.dumps({"type": "response.create", **RESPONSE, "max_output_tokens": 501}))
        event = json.loads(socket.recv(timeout=5))
    assert (event["type"], event["status"], event["error"]["code"]) == ("error", 429, "rate_limit_exceeded")
    assert event["error"]["headers"]["x-should-retry"] == "false"


def test_without_limits_nothing_is_told(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("four"))
    answers = [service.post("/v2/chat/completions", CHAT) for _ in range(6)]
    assert {answer.status for answer in answers} == {200}
    assert not [name for name in answers[0].headers if name.startswith("x-ratelimit")]


def test_two_workers_without_a_store_serve_only_those_without_limits(tmp_path: Any, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("four"))
    config = scripted_config(upstream.base_url) + PLANS % upstream.base_url
    with Service(tmp_path, config, workers=2, environment=UPSTREAM_ENVIRONMENT) as service:
        assert service.post("/v2/chat/completions", CHAT).status == 200
        refused = Customer(service, "small").post("/chat/completions", CHAT)
    assert refused.status == 503
    assert refused.error["code"] == "limits_unavailable"
    assert "storage.counters" in refused.error["message"]


def test_counting_is_in_memory_unless_told_otherwise() -> None:
    assert StorageConfig().counters == "memory"
