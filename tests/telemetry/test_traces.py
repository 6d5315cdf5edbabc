"""Spans as a collector receives them, and that a collector which is not there holds nobody up."""

import logging
import time

import pytest

from fundament.gateway.trace import Trace
from fundament.telemetry.traces import LAST_WORDS_S, Traces
from otlp import Collector
from telemetry.counting import record

TRACE = Trace(trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331", parent_id="00f067aa0ba902b7")
PROVIDERS = {"model": "vllm", "other": "fundament"}


def test_a_request_is_a_span_by_the_conventions() -> None:
    with Collector() as collector:
        traces = Traces(collector.endpoint, PROVIDERS)
        one = record(stream=True, first_byte_ms=200.0, cached_tokens=4, reasoning_tokens=2)
        traces.begun(one)
        traces.settled(one, TRACE)
        traces.close()
        [span] = collector.wait_spans(1)
        assert collector.paths == ["/v1/traces"]
    assert (span.name, span.kind, span.failed) == ("chat alias", 3, False)
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE.trace_id, TRACE.span_id, TRACE.parent_id)
    assert (span.start_ns, span.end_ns - span.start_ns) == (1767225600_000_000_000, 1_200_000_000)
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "alias",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "model",
        "gen_ai.response.time_to_first_chunk": 0.2,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "http.response.status_code": 200,
        "fundament.endpoint": "chat",
        "fundament.contract.id": "contract_1",
        "fundament.key.id": "key_1",
        "fundament.outcome": "completed",
        "fundament.request.id": "req_1",
    }
    assert span.resource["service.name"] == "fundament"


def test_a_failure_is_an_error_with_its_code_and_a_client_that_left_is_none() -> None:
    root = Trace(trace_id=TRACE.trace_id, span_id=TRACE.span_id)
    with Collector() as collector:
        traces = Traces(collector.endpoint, PROVIDERS)
        traces.settled(record(outcome="failed", error_code="upstream_timeout", status=504), TRACE)
        traces.settled(record(outcome="cancelled", status=499), TRACE)
        traces.settled(record(outcome="failed", endpoint="completions", model="other"), root)
        traces.close()
        failed, cancelled, raw = collector.wait_spans(3)
    assert (failed.failed, failed.attributes["error.type"]) == (True, "upstream_timeout")
    assert failed.attributes["http.response.status_code"] == 504
    assert not cancelled.failed
    assert "error.type" not in cancelled.attributes
    assert (raw.name, raw.parent_id, raw.attributes["error.type"]) == ("text_completion alias", "", "_OTHER")


def test_what_the_client_does_not_sample_is_not_sent() -> None:
    with Collector() as collector:
        traces = Traces(collector.endpoint, PROVIDERS)
        traces.settled(record(), Trace(trace_id=TRACE.trace_id, span_id=TRACE.span_id, sampled=False))
        traces.settled(record(), None)
        traces.settled(record(model="other"), TRACE)
        traces.close()
        [span] = collector.wait_spans(1)
    assert span.attributes["gen_ai.response.model"] == "other"


@pytest.mark.parametrize("hang", [True, False])
def test_a_collector_that_is_away_holds_nobody_up(hang: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "disabled", True)
    with Collector(hang=True) as collector:
        traces = Traces(collector.endpoint if hang else "http://127.0.0.1:9", PROVIDERS)
        began = time.monotonic()
        for _ in range(3000):  # more than wait for it
            traces.settled(record(), TRACE)
        assert time.monotonic() - began < 2, "a request waited for the collector"
        began = time.monotonic()
        traces.close()
        assert time.monotonic() - began < LAST_WORDS_S + 1
