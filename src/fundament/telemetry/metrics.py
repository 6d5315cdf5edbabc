"""What is counted, under which names, and the part that counts in a gateway worker.

It knows the names (docs/metrics.md describes each; a test keeps the two alike) and the records of `gateway/meter.py`.
Labels are models of the catalogue and words from this file, never a client's text, a key or a contract. How the counts
of several processes come together is known by `cells.py`, how they are shown by `exposition.py`.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from fundament.gateway.counters import Refusal
from fundament.gateway.meter import Endpoint, Outcome, UsageRecord
from fundament.gateway.trace import Trace
from fundament.telemetry.cells import Cells, Family, Layout

UPSTREAM_FAILURES = (
    "engine_error",
    "model_starting",
    "overloaded",
    "upstream_credential_refused",
    "upstream_error",
    "upstream_model_not_found",
    "upstream_timeout",
    "upstream_unavailable",
)
"""The error codes (docs/operations.md) of requests that failed behind the gateway."""

# vLLM's buckets for the same histograms, with the few that a queue or a distant model needs.
_TO_FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160)
_PER_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_DURATION_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
_WAITED_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


def worker_families(models: Mapping[str, int]) -> list[Family]:
    """What every gateway worker counts, for the models of these ids, each with so many upstreams."""
    by_model = {"model": list(models)}
    by_request = {"endpoint": get_args(Endpoint), **by_model, "outcome": get_args(Outcome)}
    by_failure = {**by_model, "kind": UPSTREAM_FAILURES}
    upstreams = [(model, str(position)) for model, count in models.items() for position in range(count)]
    by_upstream = {**by_model, "upstream": sorted({position for _, position in upstreams})}
    statuses = {"status": [str(status) for status in range(100, 600)]}

    def counter(name: str, text: str, labels: Mapping[str, Sequence[str]], *, rare: bool = False) -> Family:
        return Family(name=f"fundament_{name}_total", kind="counter", text=text, labels=labels, rare=rare)

    def gauge(name: str, text: str, labels: Mapping[str, Sequence[str]] | None = None) -> Family:
        return Family(name=f"fundament_{name}", kind="gauge", text=text, labels=labels or {})

    def histogram(name: str, text: str, buckets: Sequence[float]) -> Family:
        return Family(name=f"fundament_{name}", kind="histogram", text=text, labels=by_model, buckets=buckets)

    return [
        Family(
            name="fundament_upstream_circuit_open",
            kind="gauge",
            text="Gateway workers that leave an upstream alone, because it has failed.",
            labels=by_upstream,
            only=upstreams,
        ),
        Family(
            name="fundament_upstream_moved_total",
            kind="counter",
            text="Requests that another upstream was asked for, because this one failed.",
            labels=by_upstream,
            only=upstreams,
        ),
        counter("http_requests", "HTTP requests that ended, by the status of the answer.", statuses, rare=True),
        counter("requests", "Requests to models that ended.", by_request),
        counter("input_tokens", "Tokens that models read.", by_model),
        counter("cached_input_tokens", "Tokens of the input that a model's server had in its cache.", by_model),
        counter("output_tokens", "Tokens that models wrote.", by_model),
        counter("reasoning_tokens", "Tokens of the output that were thoughts.", by_model),
        counter("upstream_failures", "Requests that failed behind the gateway, by error code.", by_failure),
        counter("limits_refused", "Requests refused by a limit.", {"kind": get_args(Refusal)}),
        gauge("requests_in_flight", "Requests to models that have not ended.", by_model),
        gauge("requests_waiting", "Requests in line for a place at the model's server.", by_model),
        gauge("counters_store_down", "Gateway workers that cannot reach the store of the limits' counters."),
        histogram("queue_time_seconds", "Time that a request stood in line.", _WAITED_S),
        histogram("time_to_first_token_seconds", "Time to a streamed answer's first event.", _TO_FIRST_TOKEN_S),
        histogram("time_per_output_token_seconds", "Time for each token after the first.", _PER_TOKEN_S),
        histogram("request_duration_seconds", "Time of a completed request.", _DURATION_S),
    ]


@dataclass(frozen=True, slots=True)
class _ModelCells:
    """Where a model's series are; found once, for a lookup costs more than a count."""

    requests: dict[tuple[Endpoint, Outcome], int]
    failures: dict[str, int]
    in_flight: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    first_token: int
    per_token: int
    duration: int


class Metrics:
    """Counts in the cells of this process: a `Recorder` of the meter, and who else is to be told what happened."""

    def __init__(self, models: Sequence[str], layout: Layout, cells: Cells) -> None:
        self._layout = layout
        self._cells = cells
        self._models = {model: self._cells_of(model) for model in models}
        self._statuses = layout.index("fundament_http_requests_total", "100") - 100
        self._refused = {kind: layout.index("fundament_limits_refused_total", kind) for kind in get_args(Refusal)}
        self._store_down = layout.index("fundament_counters_store_down")

    def begun(self, record: UsageRecord) -> None:
        self._cells[self._models[record.model].in_flight] += 1

    def settled(self, record: UsageRecord, trace: Trace | None) -> None:  # noqa: ARG002 - `Recorder`'s signature
        cells = self._cells
        of = self._models[record.model]
        cells[of.in_flight] -= 1
        cells[of.requests[record.endpoint, record.outcome]] += 1
        cells[of.input_tokens] += record.input_tokens
        cells[of.output_tokens] += record.output_tokens
        if record.cached_tokens:
            cells[of.cached_tokens] += record.cached_tokens
        if record.reasoning_tokens:
            cells[of.reasoning_tokens] += record.reasoning_tokens
        duration_s = record.duration_ms / 1000
        if record.stream and record.first_byte_ms is not None:
            first_s = record.first_byte_ms / 1000
            _observe(cells, of.first_token, _TO_FIRST_TOKEN_S, first_s)
            if record.output_tokens > 1 and record.outcome == "completed":
                _observe(cells, of.per_token, _PER_TOKEN_S, (duration_s - first_s) / (record.output_tokens - 1))
        if record.outcome == "completed":
            _observe(cells, of.duration, _DURATION_S, duration_s)
        elif record.error_code in of.failures:
            cells[of.failures[record.error_code]] += 1

    def answered(self, status: int) -> None:
        """An HTTP request ended with this status (100 to 599)."""
        self._cells[self._statuses + status] += 1

    def refused(self, kind: Refusal) -> None:
        """A limit refused a request."""
        self._cells[self._refused[kind]] += 1

    def store_down(self, down: bool) -> None:
        """Whether this worker cannot reach the store of the limits' counters."""
        self._cells[self._store_down] = float(down)

    def circuit(self, model: str, upstream: int, is_open: bool) -> None:
        """Whether this worker leaves the upstream at this position alone."""
        self._cells[self._layout.index("fundament_upstream_circuit_open", model, str(upstream))] = float(is_open)

    def moved(self, model: str, upstream: int) -> None:
        """Another upstream is asked for a request that the one at this position failed."""
        self._cells[self._layout.index("fundament_upstream_moved_total", model, str(upstream))] += 1

    def line(self, model: str) -> "LineCells":
        """Who is told of one line before this model's servers; each line needs its own."""
        waiting = self._layout.index("fundament_requests_waiting", model)
        return LineCells(self._cells, waiting, self._layout.index("fundament_queue_time_seconds", model))

    def _cells_of(self, model: str) -> _ModelCells:
        index = self._layout.index
        return _ModelCells(
            requests={
                (endpoint, outcome): index("fundament_requests_total", endpoint, model, outcome)
                for endpoint in get_args(Endpoint)
                for outcome in get_args(Outcome)
            },
            failures={kind: index("fundament_upstream_failures_total", model, kind) for kind in UPSTREAM_FAILURES},
            in_flight=index("fundament_requests_in_flight", model),
            input_tokens=index("fundament_input_tokens_total", model),
            cached_tokens=index("fundament_cached_input_tokens_total", model),
            output_tokens=index("fundament_output_tokens_total", model),
            reasoning_tokens=index("fundament_reasoning_tokens_total", model),
            first_token=index("fundament_time_to_first_token_seconds", model),
            per_token=index("fundament_time_per_output_token_seconds", model),
            duration=index("fundament_request_duration_seconds", model),
        )


class LineCells:
    """Counts who waits in one line, and how long it took. Lines of one model add up."""

    __slots__ = ("_cells", "_length", "_queue_time", "_waiting")

    def __init__(self, cells: Cells, waiting: int, queue_time: int) -> None:
        self._cells = cells
        self._waiting = waiting
        self._queue_time = queue_time
        self._length = 0

    def waiting(self, count: int) -> None:
        self._cells[self._waiting] += count - self._length
        self._length = count

    def waited(self, seconds: float) -> None:
        _observe(self._cells, self._queue_time, _WAITED_S, seconds)


def _observe(cells: Cells, first: int, buckets: Sequence[float], value: float) -> None:
    cells[first + bisect_left(buckets, value)] += 1
    cells[first + len(buckets) + 1] += value
