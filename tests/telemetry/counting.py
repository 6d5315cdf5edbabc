"""A worker's metrics over memory of a test's own, and the records of requests that are told to them."""

import os
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from fundament.gateway.meter import UsageRecord
from fundament.settings import Config, ModelConfig, ServerConfig, UpstreamConfig
from fundament.telemetry.cells import regions, shared_memory
from fundament.telemetry.exposition import Exposition
from fundament.telemetry.metrics import Metrics
from fundament.telemetry.processes import ProcessBoard
from fundament.telemetry.worker import layouts

MODELS = ("model", "other")
PROCESSES = ("engine model", "worker-1", "worker-2")
_CONFIG = Config(
    server=ServerConfig(workers=2),
    models=tuple(
        ModelConfig(id=id, upstreams=(UpstreamConfig(base_url="http://x"),) * count)
        for id, count in zip(MODELS, (2, 1), strict=True)
    ),
)


class Counting:
    """The metrics of two workers and a supervisor, and what Prometheus is shown of them."""

    def __init__(self, journal: Path) -> None:
        self.moved_until: float | None = 0.0
        wanted = layouts(_CONFIG, PROCESSES)
        descriptor = shared_memory(wanted)
        processes, *self.cells = regions(descriptor, wanted)
        os.close(descriptor)
        self.layout = wanted[1]
        self.workers = [Metrics(MODELS, wanted[1], cells) for cells in self.cells]
        self.board = ProcessBoard(PROCESSES, processes)
        self.exposition = Exposition(
            wanted[1], self.cells, PROCESSES, processes, journal=journal, moved_until=lambda: self.moved_until
        )

    def shown(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample, by its name and labels, as Prometheus' own parser reads them."""
        body, _ = self.exposition.render("")
        return samples(body)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample's value, None where it is not shown."""
        return self.shown().get((name, frozenset(labels.items())))


def samples(body: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def record(**changes: Any) -> UsageRecord:
    """A chat of `model` that was completed and not streamed."""
    fields = {
        "request_id": "req_1",
        "time": 1767225600.0,
        "contract_id": "contract_1",
        "key_id": "key_1",
        "endpoint": "chat",
        "model": "model",
        "asked_model": "alias",
        "outcome": "completed",
        "input_tokens": 10,
        "output_tokens": 5,
        "tokens_known": True,
        "duration_ms": 1200.0,
    }
    return UsageRecord(**fields | changes)
