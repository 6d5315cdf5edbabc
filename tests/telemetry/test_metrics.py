"""What is counted of a request, and how all workers' counts become one answer."""

import os
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fundament import __version__
from fundament.gateway.meter import UsageRecord
from fundament.telemetry.metrics import UPSTREAM_FAILURES
from telemetry.counting import Counting, record

UPSTREAMS = [("model", "0"), ("model", "1"), ("other", "0")]


def ended(counting: Counting, *records: UsageRecord, worker: int = 0) -> None:
    for one in records:
        counting.workers[worker].begun(one)
        counting.workers[worker].settled(one, None)


def test_a_request_is_counted_with_its_tokens_under_its_own_model(counting: Counting) -> None:
    ended(counting, record(cached_tokens=4, reasoning_tokens=2))
    value = counting.value
    assert value("fundament_requests_total", endpoint="chat", model="model", outcome="completed") == 1
    assert value("fundament_input_tokens_total", model="model") == 10
    assert value("fundament_cached_input_tokens_total", model="model") == 4
    assert value("fundament_output_tokens_total", model="model") == 5
    assert value("fundament_reasoning_tokens_total", model="model") == 2
    others = {name: shown for name, shown in counting.shown().items() if ("model", "other") in name[1] and shown != 0}
    assert others == {}


def test_any_workers_answer_is_the_sum_of_all(counting: Counting) -> None:
    ended(counting, record(), record(), worker=0)
    ended(counting, record(), record(outcome="failed"), worker=1)
    labels = {"endpoint": "chat", "model": "model"}
    assert counting.value("fundament_requests_total", **labels, outcome="completed") == 3
    assert counting.value("fundament_requests_total", **labels, outcome="failed") == 1
    assert counting.value("fundament_input_tokens_total", model="model") == 40


def test_a_request_is_in_flight_from_its_beginning_to_its_end(counting: Counting) -> None:
    one = record()
    counting.workers[0].begun(one)
    counting.workers[1].begun(record())
    assert counting.value("fundament_requests_in_flight", model="model") == 2
    counting.workers[0].settled(one, None)
    assert counting.value("fundament_requests_in_flight", model="model") == 1


def test_times_of_a_stream_fall_into_their_buckets(counting: Counting) -> None:
    # 5 tokens in 1.2 s, the first after 0.2 s: 0.25 s for each of the other four.
    ended(counting, record(stream=True, first_byte_ms=200.0))
    for what, below, above, total in [
        ("time_to_first_token", "0.1", "0.25", 0.2),
        ("time_per_output_token", "0.2", "0.3", 0.25),
        ("request_duration", "1.0", "2.5", 1.2),
    ]:
        name = f"fundament_{what}_seconds"
        assert counting.value(f"{name}_bucket", model="model", le=below) == 0, name
        assert counting.value(f"{name}_bucket", model="model", le=above) == 1, name
        assert counting.value(f"{name}_bucket", model="model", le="+Inf") == 1, name
        assert counting.value(f"{name}_count", model="model") == 1, name
        assert counting.value(f"{name}_sum", model="model") == pytest.approx(total), name


def test_a_bound_belongs_to_its_bucket_and_what_is_above_all_is_counted(counting: Counting) -> None:
    ended(counting, record(duration_ms=1000.0), record(duration_ms=9_999_999.0))
    name = "fundament_request_duration_seconds_bucket"
    assert counting.value(name, model="model", le="0.5") == 0
    assert counting.value(name, model="model", le="1.0") == 1
    assert counting.value(name, model="model", le="1280.0") == 1
    assert counting.value(name, model="model", le="+Inf") == 2


@pytest.mark.parametrize(
    ("changes", "first_tokens", "per_token", "durations"),
    [
        ({}, 0, 0, 1),
        ({"first_byte_ms": 1.0}, 0, 0, 1),
        ({"stream": True, "first_byte_ms": 1.0, "output_tokens": 1}, 1, 0, 1),
        ({"stream": True, "first_byte_ms": 1.0, "outcome": "cancelled"}, 1, 0, 0),
        ({"outcome": "failed"}, 0, 0, 0),
    ],
)
def test_a_time_is_counted_only_where_it_says_something(
    counting: Counting, changes: dict[str, object], first_tokens: int, per_token: int, durations: int
) -> None:
    ended(counting, record(**changes))
    assert counting.value("fundament_time_to_first_token_seconds_count", model="model") == first_tokens
    assert counting.value("fundament_time_per_output_token_seconds_count", model="model") == per_token
    assert counting.value("fundament_request_duration_seconds_count", model="model") == durations


@pytest.mark.parametrize("kind", UPSTREAM_FAILURES)
def test_a_failure_behind_the_gateway_is_counted_by_its_code(counting: Counting, kind: str) -> None:
    ended(counting, record(outcome="failed", error_code=kind))
    assert counting.value("fundament_upstream_failures_total", model="model", kind=kind) == 1


@pytest.mark.parametrize("code", [None, "what an upstream wrote", "context_length_exceeded"])
def test_no_other_code_becomes_a_label(counting: Counting, code: str | None) -> None:
    before = counting.shown().keys()
    ended(counting, record(outcome="failed", error_code=code))
    assert counting.shown().keys() == before
    failures = {key: value for key, value in counting.shown().items() if key[0] == "fundament_upstream_failures_total"}
    assert set(failures.values()) == {0}


def test_answers_are_counted_by_status_and_only_those_that_occurred_are_shown(counting: Counting) -> None:
    for status in (200, 200, 429, 599, 100):
        counting.workers[0].answered(status)
    found = {labels: value for (name, labels), value in counting.shown().items() if "http_requests" in name}
    assert {dict(labels)["status"]: value for labels, value in found.items()} == {
        "100": 1, "200": 2, "429": 1, "599": 1
    }  # fmt: skip


def test_limits_and_their_store_are_counted(counting: Counting) -> None:
    counting.workers[0].refused("requests")
    counting.workers[1].refused("requests")
    counting.workers[0].store_down(down=True)
    counting.workers[1].store_down(down=True)
    counting.workers[1].store_down(down=False)
    assert counting.value("fundament_limits_refused_total", kind="requests") == 2
    assert counting.value("fundament_limits_refused_total", kind="budget") == 0
    assert counting.value("fundament_counters_store_down") == 1


def test_lines_before_several_upstreams_of_a_model_add_up(counting: Counting) -> None:
    first, second = (counting.workers[0].line("model") for _ in range(2))
    first.waiting(3)
    second.waiting(2)
    first.waiting(1)
    assert counting.value("fundament_requests_waiting", model="model") == 3
    second.waiting(0)
    first.waiting(0)
    assert counting.value("fundament_requests_waiting", model="model") == 0


def test_an_upstreams_circuit_is_the_number_of_workers_where_it_is_open(counting: Counting) -> None:
    for worker in counting.workers:
        worker.circuit("model", 0, is_open=True)
        worker.moved("model", 1)
    assert counting.value("fundament_upstream_circuit_open", model="model", upstream="0") == 2
    counting.workers[1].circuit("model", 0, is_open=False)
    assert counting.value("fundament_upstream_circuit_open", model="model", upstream="0") == 1
    assert counting.value("fundament_upstream_circuit_open", model="model", upstream="1") == 0
    assert counting.value("fundament_upstream_moved_total", model="model", upstream="1") == 2


def test_only_upstreams_that_there_are_are_shown(counting: Counting) -> None:
    upstreams = {labels for name, labels in counting.shown() if name == "fundament_upstream_circuit_open"}
    assert upstreams == {frozenset({("model", model), ("upstream", position)}) for model, position in UPSTREAMS}


def test_the_line_before_a_model_is_shown(counting: Counting) -> None:
    counting.workers[0].line("model").waiting(3)
    counting.workers[1].line("model").waiting(4)
    counting.workers[0].line("model").waited(0.0)
    counting.workers[0].line("model").waited(0.3)
    assert counting.value("fundament_requests_waiting", model="model") == 7
    assert counting.value("fundament_queue_time_seconds_bucket", model="model", le="0.001") == 1
    assert counting.value("fundament_queue_time_seconds_count", model="model") == 2


def test_processes_are_shown_with_their_starts_and_what_the_machine_knows_of_them(counting: Counting) -> None:
    counting.board.started("worker-1", os.getpid())
    counting.board.started("worker-2", 2**22 + 1)  # above every process id
    counting.board.ended("worker-2")
    counting.board.started("worker-2", 2**22 + 1)
    value = counting.value
    assert [value("fundament_process_up", process=name) for name in ("worker-1", "worker-2", "engine model")] == [
        1,
        1,
        0,
    ]
    assert value("fundament_process_starts_total", process="worker-2") == 2
    assert (value("fundament_process_resident_memory_bytes", process="worker-1") or 0) > 1e6
    assert (value("fundament_process_open_fds", process="worker-1") or 0) > 2
    assert (value("fundament_process_cpu_seconds_total", process="worker-1") or 0) > 0
    assert value("fundament_process_resident_memory_bytes", process="worker-2") is None, "there is no such process"
    counting.board.ended("worker-1")
    assert value("fundament_process_up", process="worker-1") == 0
    assert value("fundament_process_resident_memory_bytes", process="worker-1") is None


def test_the_journals_size_and_the_version_are_shown(counting: Counting, tmp_path: Path) -> None:
    (tmp_path / "1-2.jsonl").write_bytes(b"x" * 100)
    (tmp_path / "3-4.jsonl").write_bytes(b"x" * 11)
    (tmp_path / "other").write_bytes(b"x")
    assert counting.value("fundament_usage_journal_bytes") == 111


def test_the_ledgers_lag_is_shown_where_it_is_known(counting: Counting) -> None:
    counting.moved_until = time.time() - 100
    assert 100 <= counting.value("fundament_usage_ledger_lag_seconds") < 160
    assert counting.value("fundament_build_info", version=__version__) == 1


def test_a_scraper_that_asks_for_openmetrics_gets_it(counting: Counting) -> None:
    ended(counting, record())
    body, media_type = counting.exposition.render("application/openmetrics-text;version=1.0.0;q=0.7,text/plain;q=0.3")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    assert "fundament_requests" in {family.name for family in text_string_to_metric_families(body.decode())}
    assert counting.exposition.render("")[1].startswith("text/plain; version=0.0.4")
