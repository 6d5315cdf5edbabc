"""What the real service tells about itself: metrics that any worker sums up, spans, the access log. Never content."""

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from lines import Lines
from otlp import Collector, Span
from scripted_answers import Barrier, Pause, chat_answer, chat_events, chat_stream, error_answer, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Service, wait_until
from telemetry.counting import samples

SECRET = "do not tell anybody"
CHAT = {"model": "open-alias", "messages": [{"role": "user", "content": SECRET}]}
STREAM = {**CHAT, "stream": True}
CLIENT_SPAN = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def told_service(
    tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream, collector: Collector
) -> Iterator[Service]:
    telemetry = f'[telemetry]\naccess_log = true\notlp_endpoint = "{collector.endpoint}/"\n'
    config = scripted_config(running_upstream.base_url) + telemetry
    environment = {**UPSTREAM_ENVIRONMENT, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with Service(tmp_path_factory.mktemp("told"), config, workers=2, environment=environment) as service:
        yield service


@pytest.fixture
def service(told_service: Service, upstream: ScriptedUpstream) -> Service:
    """Two workers that tell everything."""
    return told_service


@dataclass(frozen=True)
class ClientTrace:
    """A trace of one test alone: spans of requests before it may still be on their way."""

    id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"traceparent": f"00-{self.id}-{CLIENT_SPAN}-01"}

    def wait_span(self, collector: Collector) -> Span:
        def arrived() -> list[Span]:
            return [span for span in collector.spans if span.trace_id == self.id]

        assert wait_until(lambda: bool(arrived()), 20), "no span of the trace arrived"
        [span] = arrived()
        return span


@pytest.fixture
def trace() -> ClientTrace:
    return ClientTrace(secrets.token_hex(16))


class Shown:
    """The service's metrics at one moment."""

    def __init__(self, service: Service) -> None:
        answer = service.request("GET", "/metrics", key=None)
        assert answer.status == 200
        self.samples = samples(answer.body)

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples.get((f"fundament_{name}", frozenset(labels.items())), 0.0)

    def completed(self, model: str = "open-model", endpoint: str = "chat") -> float:
        return self("requests_total", endpoint=endpoint, model=model, outcome="completed")


def access_lines(service: Service, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in service.log_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "request" and line["request_id"] == request_id]


def test_every_workers_answer_is_the_sum_of_all(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("Hello"))
    before = Shown(service)
    with Lines() as lines:
        first, second = lines.to_each(service)
        for line, count in ((first, 3), (second, 2)):
            for _ in range(count):
                assert line.request("POST", "/v2/chat/completions", CHAT).status == 200
        for line in (first, second):
            shown = samples(line.request("GET", "/metrics").body)
            labels = {"endpoint": "chat", "model": "open-model", "outcome": "completed"}
            completed = shown["fundament_requests_total", frozenset(labels.items())]
            assert completed == before.completed() + 5
            tokens = shown["fundament_output_tokens_total", frozenset({("model", "open-model")})]
            assert tokens == before("output_tokens_total", model="open-model") + 5 * len("Hello")


def test_no_count_goes_back_when_a_worker_is_killed_and_replaced(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_answer("Hello"))
    with Lines() as lines:
        for line in lines.to_each(service):
            assert line.request("POST", "/v2/chat/completions", CHAT).status == 200
        barrier = Barrier()
        upstream.answer(sse_answer([*chat_events(["a"]), barrier]))
        victim = lines.to(service)
        victim.send("POST", "/v2/chat/completions", STREAM)
        assert barrier.reached.wait(5)
        assert wait_until(lambda: Shown(service)("requests_in_flight", model="open-model") == 1, 5)
        before = Shown(service)
        victim.worker.kill()
        barrier.release()
    assert wait_until(lambda: len(service.workers()) == 2 and victim.worker not in service.workers(), 20)
    assert wait_until(lambda: Shown(service)("requests_in_flight", model="open-model") == 0, 20), (
        "it ended with its worker"
    )
    after = Shown(service)
    assert after.completed() == before.completed()
    counts = {key: value for key, value in before.samples.items() if key[0].endswith(("_total", "_bucket", "_count"))}
    went_back = {
        key for key, value in counts.items() if "process_cpu" not in key[0] and after.samples.get(key, 0) < value
    }
    assert went_back == set()
    starts = [after("process_starts_total", process=f"worker-{n}") for n in (1, 2)]
    assert max(starts) >= 2
    assert after("process_starts_total", process="supervisor") == 1
    with Lines() as lines:
        for line in lines.to_each(service):
            assert line.request("POST", "/v2/chat/completions", CHAT).status == 200
    assert Shown(service).completed() == before.completed() + 2


def test_who_is_in_flight_and_who_waits_is_seen_while_it_is_so(service: Service, upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    upstream.default(sse_answer([*chat_events(["a"]), barrier, b"data: [DONE]\n\n"]))
    narrow = {**STREAM, "model": "narrow-model"}
    before = Shown(service)
    with Lines() as lines:
        first = lines.to(service)
        exchange = first.send("POST", "/v2/chat/completions", narrow)
        assert barrier.reached.wait(5)
        second = lines.to(service)
        while second.worker != first.worker:
            second = lines.to(service)
        waiting = second.send("POST", "/v2/chat/completions", narrow)
        assert wait_until(lambda: Shown(service)("requests_waiting", model="narrow-model") == 1, 5)
        assert Shown(service)("requests_in_flight", model="narrow-model") == 2
        barrier.release()
        exchange.read()
        waiting.read()
    after = Shown(service)
    assert after("requests_waiting", model="narrow-model") == after("requests_in_flight", model="narrow-model") == 0
    for name in ("queue_time", "time_to_first_token", "request_duration"):
        count = f"{name}_seconds_count"
        assert after(count, model="narrow-model") == before(count, model="narrow-model") + 2
    assert after("queue_time_seconds_sum", model="narrow-model") > before(
        "queue_time_seconds_sum", model="narrow-model"
    )


def test_failures_and_refusals_are_counted(service: Service, upstream: ScriptedUpstream) -> None:
    before = Shown(service)
    upstream.answer(error_answer(500, "broken"))
    assert service.post("/v2/chat/completions", CHAT).status == 502
    assert service.post("/v2/chat/completions", CHAT, key="sk-no").status == 401
    assert service.post("/v2/chat/completions", {**CHAT, "model": "unreachable-model"}).status == 502
    after = Shown(service)
    for model in ("open-model", "unreachable-model"):
        labels = {"model": model, "kind": "upstream_error"}
        assert after("upstream_failures_total", **labels) == before("upstream_failures_total", **labels) + 1
    assert after("http_requests_total", status="401") == before("http_requests_total", status="401") + 1
    assert after("http_requests_total", status="502") == before("http_requests_total", status="502") + 2


def test_a_client_that_leaves_is_counted_and_logged_as_such(service: Service, upstream: ScriptedUpstream) -> None:
    barrier = Barrier()
    upstream.answer(sse_answer([barrier]))
    before = Shown(service)
    with service.send("POST", "/v2/chat/completions", STREAM):
        upstream.wait_requests(1)
    assert wait_until(
        lambda: Shown(service)("http_requests_total", status="499") == before("http_requests_total", status="499") + 1,
        5,
    )
    cancelled = {"endpoint": "chat", "model": "open-model", "outcome": "cancelled"}
    assert Shown(service)("requests_total", **cancelled) == before("requests_total", **cancelled) + 1
    barrier.release()


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_continues_its_clients_trace_to_the_models_server(
    service: Service, upstream: ScriptedUpstream, collector: Collector, trace: ClientTrace, stream: bool
) -> None:
    upstream.answer(chat_stream([SECRET], usage=True) if stream else chat_answer(SECRET))
    answer = service.post("/v2/chat/completions", {**CHAT, "stream": stream}, headers=trace.headers)
    span = trace.wait_span(collector)
    assert (span.name, span.trace_id, span.parent_id) == ("chat open-alias", trace.id, CLIENT_SPAN)
    assert upstream.requests[0].headers["traceparent"] == f"00-{trace.id}-{span.span_id}-01"
    assert span.attributes["gen_ai.provider.name"] == "vllm"
    assert span.attributes["gen_ai.response.model"] == "open-model"
    assert span.attributes["gen_ai.usage.output_tokens"] == len(SECRET)
    assert span.attributes["fundament.request.id"] == answer.headers["x-request-id"]
    assert SECRET not in span.everything
    assert service.key not in span.everything


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"background": True}])
def test_a_response_continues_its_clients_trace_too(
    service: Service, upstream: ScriptedUpstream, collector: Collector, trace: ClientTrace, more: dict[str, Any]
) -> None:
    upstream.default(chat_stream([SECRET], usage=True) if more else chat_answer(SECRET))
    before = Shown(service)
    answer = service.post("/v2/responses", {"model": "open-model", "input": SECRET, **more}, headers=trace.headers)
    span = trace.wait_span(collector)
    assert (span.name, span.trace_id, span.parent_id) == ("chat open-model", trace.id, CLIENT_SPAN)
    assert upstream.requests[0].headers["traceparent"] == f"00-{trace.id}-{span.span_id}-01"
    assert (span.attributes["fundament.endpoint"], span.attributes["fundament.outcome"]) == ("responses", "completed")
    assert SECRET not in span.everything
    [line] = access_lines(service, answer.headers["x-request-id"])
    assert (line["endpoint"], line["trace_id"], line["status"]) == ("responses", trace.id, 200)
    assert Shown(service).completed(endpoint="responses") == before.completed(endpoint="responses") + 1
    first_tokens = "time_to_first_token_seconds_count"
    streamed = Shown(service)(first_tokens, model="open-model") - before(first_tokens, model="open-model")
    assert streamed == (1 if "stream" in more else 0)


def test_a_responses_first_token_is_not_the_event_that_announces_it(
    service: Service, upstream: ScriptedUpstream
) -> None:
    upstream.answer(sse_answer([b"", Pause(0.3), *chat_events(["a"]), b"data: [DONE]\n\n"]))
    answer = service.post("/v2/responses", {"model": "open-model", "input": "x", "stream": True})
    [line] = access_lines(service, answer.headers["x-request-id"])
    assert 250 < line["first_byte_ms"] <= line["duration_ms"]


def test_a_response_that_cannot_be_kept_has_ended(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(chat_stream(["a"]))
    asked = {"model": "open-model", "input": "x", "background": True}
    with contextlib.closing(sqlite3.connect(service.data / "fundament.db", timeout=10)) as database:
        database.execute("ALTER TABLE responses RENAME TO away")
        try:
            answer = service.post("/v2/responses", asked)
        finally:
            database.execute("ALTER TABLE away RENAME TO responses")
    assert answer.status == 503
    [line] = access_lines(service, answer.headers["x-request-id"])
    assert (line["outcome"], line["status"]) == ("failed", 503)
    assert Shown(service)("requests_in_flight", model="open-model") == 0


def test_each_request_is_one_line_without_content_or_key(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(chat_answer(SECRET), error_answer(500, "broken"))
    good = service.post("/v2/chat/completions?q=question", CHAT)
    failed = service.post("/v2/chat/completions", CHAT)
    refused = service.post("/v2/chat/completions", CHAT, key="sk-wrong-key")
    models = service.request("GET", "/v2/models?q=question")
    service.request("GET", "/health/live", key=None)
    lines = []
    for answer in (good, failed, refused, models):
        [line] = access_lines(service, answer.headers["x-request-id"])
        lines.append(line)
    assert [line["status"] for line in lines] == [200, 502, 401, 200]
    assert (
        lines[0].items()
        >= {"endpoint": "chat", "model": "open-model", "outcome": "completed", "output_tokens": 19}.items()
    )
    assert lines[0]["key_id"].startswith("key_")
    assert lines[1].items() >= {"outcome": "failed", "error_code": "upstream_error"}.items()
    assert lines[2].items() >= {"method": "POST", "path": "/v2/chat/completions"}.items()
    assert lines[3].items() >= {"method": "GET", "path": "/v2/models"}.items()
    log = service.log_text()
    for secret in (SECRET, service.key, "sk-wrong-key", "question", "/health/live"):
        assert secret not in log


def test_metrics_name_no_client(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(chat_answer("Hello"))
    service.post("/v2/chat/completions", CHAT)
    service.post("/v2/chat/completions", {**CHAT, "model": SECRET})
    body = service.request("GET", "/metrics", key=None).body.decode()
    for told in (service.key, "key_", SECRET, "open-alias"):
        assert told not in body


def test_what_is_off_is_off(
    tmp_path: Path, running_upstream: ScriptedUpstream, upstream: ScriptedUpstream, trace: ClientTrace
) -> None:
    config = scripted_config(running_upstream.base_url) + "[telemetry]\nmetrics = false\n"
    upstream.default(chat_answer("Hello"))
    with Service(tmp_path / "quiet", config, environment=UPSTREAM_ENVIRONMENT) as service:
        answer = service.post("/v2/chat/completions", CHAT, headers=trace.headers)
        assert answer.status == 200
        assert service.request("GET", "/metrics", key=None).error["code"] == "unknown_url"
        assert "traceparent" not in upstream.requests[0].headers
        assert access_lines(service, answer.headers["x-request-id"]) == []
