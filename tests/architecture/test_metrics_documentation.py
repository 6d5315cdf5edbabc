"""docs/metrics.md names every metric with its type and labels, and no other; the dashboard asks for nothing else.

It reads both files and asks an `Exposition` what there is.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fundament
from telemetry.counting import Counting

ROOT = Path(fundament.__file__).parents[2]
DOCUMENTATION = ROOT / "docs" / "metrics.md"
DASHBOARD = ROOT / "deploy" / "grafana" / "fundament.json"
_ROW = re.compile(r"^\| `(fundament_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
_SELECTED = re.compile(r"(fundament_\w+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring) ?\(([^)]*)\)")


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


def exposed(counting: Counting) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each family, by the name that its samples begin with."""
    for name in ("supervisor", "worker-1"):
        counting.board.started(name, os.getpid())
    found = {}
    for family in counting.exposition.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        found[name] = (
            family.type,
            labels or (frozenset({"status"}) if name == "fundament_http_requests_total" else labels),
        )
    return found


def queries(dashboard: Any) -> Iterator[str]:
    """Every expression of the panels, and what the variables ask."""
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query")


def faults(query: str, metrics: dict[str, tuple[str, frozenset[str]]]) -> list[str]:
    """What a query asks for that does not exist."""
    found: list[str] = []
    known = {"job", "instance"}  # Prometheus adds them
    for sample, selectors in _SELECTED.findall(query):
        part = re.fullmatch(r"(.+)_(bucket|sum|count)", sample)
        name = part[1] if part and metrics.get(part[1], ("",))[0] == "histogram" else sample
        if name not in metrics or (metrics[name][0] == "histogram" and name == sample):
            found.append(sample)
            continue
        labels = metrics[name][1] | ({"le"} if sample.endswith("_bucket") else set())
        known |= labels
        found += [f"{sample}{{{label}}}" for label in re.findall(r"(\w+) *(?:=|!)", selectors) if label not in labels]
    asked = [label.strip() for group in _GROUPED.findall(query) for label in group.split(",")]
    asked += re.findall(r"label_values\([^,]*, *(\w+)\)", query)
    return found + [f"by {label}" for label in asked if label not in known]


def test_every_metric_is_documented_with_its_type_and_labels_and_nothing_else_is(counting: Counting) -> None:
    rows = {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in _ROW.findall(DOCUMENTATION.read_text())
    }
    assert rows == exposed(counting)


def test_the_dashboard_asks_for_metrics_and_labels_that_exist(counting: Counting) -> None:
    metrics = exposed(counting)
    asked = list(queries(json.loads(DASHBOARD.read_text())))
    assert len(asked) > 20
    assert {query: wrong for query in asked if (wrong := faults(query, metrics))} == {}


def test_every_metric_that_one_looks_at_is_on_the_dashboard(counting: Counting) -> None:
    text = " ".join(queries(json.loads(DASHBOARD.read_text())))
    missing = {name for name in exposed(counting) if name not in text}
    assert missing == {"fundament_process_virtual_memory_bytes", "fundament_process_start_time_seconds"}


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("rate(fundament_gone_total[5m])", ["fundament_gone_total"]),
        ('fundament_requests_total{key="x"}', ["fundament_requests_total{key}"]),
        ("sum by (contract) (fundament_requests_total)", ["by contract"]),
        ("sum by (le) (fundament_input_tokens_total)", ["by le"]),
        ("fundament_queue_time_seconds", ["fundament_queue_time_seconds"]),
        ("label_values(fundament_requests_total, key)", ["by key"]),
        ("sum by (le, model) (rate(fundament_queue_time_seconds_bucket[5m]))", []),
    ],
)
def test_what_does_not_exist_is_found(counting: Counting, query: str, wrong: list[str]) -> None:
    assert faults(query, exposed(counting)) == wrong
