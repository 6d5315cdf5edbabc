"""Metrics as Prometheus reads them: the sum over all workers, whichever is asked, and what the machine says of them.

It knows prometheus-client, which writes the formats and reads /proc; it does not know what is counted.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from fundament import __version__
from fundament.telemetry.cells import Cells, Family, Layout, sum_of
from fundament.telemetry.processes import ProcessBoard


class Exposition(Collector):
    """All series of the service.

    Args:
        layout: of each of the workers' regions.
        workers: their regions.
        names: the processes that the supervisor keeps.
        processes: the region of its `ProcessBoard`.
        journal: the directory of the usage journal.
        moved_until: until when (Unix seconds) all of the journal is in the ledger, as far as that is known.
    """

    def __init__(
        self,
        layout: Layout,
        workers: Sequence[Cells],
        names: Sequence[str],
        processes: Cells,
        *,
        journal: Path,
        moved_until: Callable[[], float | None],
    ) -> None:
        self._layout = layout
        self._workers = workers
        self._processes = processes
        self._process_layout = ProcessBoard.layout(names)
        self._board = ProcessBoard(names, processes)
        self._journal = journal
        self._moved_until = moved_until

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body and its media type, as the header `Accept` asks."""
        encoder, media_type = choose_encoder(accept)
        return encoder(self), media_type

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("fundament_build_info", "The version that runs; always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        counted = sum_of(self._workers)
        for family in self._layout.families:
            yield _metric(family, self._layout, counted)
        for family in self._process_layout.families:
            if family.text:
                yield _metric(family, self._process_layout, self._processes)
        yield from self._of_the_machine()
        yield GaugeMetricFamily(
            "fundament_usage_journal_bytes", "Size of the usage journal.", value=self._journal_bytes()
        )
        if (moved_until := self._moved_until()) is not None:
            lag_s = max(0.0, time.time() - moved_until)
            yield GaugeMetricFamily("fundament_usage_ledger_lag_seconds", "Age of the ledger.", value=lag_s)

    def _journal_bytes(self) -> int:
        size = 0
        for segment in self._journal.glob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # removed in this moment
                size += segment.stat().st_size
        return size

    def _of_the_machine(self) -> Iterator[Metric]:
        """CPU, memory and descriptors of every process, as /proc has them; nothing where there is no /proc."""
        found: dict[str, Metric] = {}
        for name, pid in self._board.pids().items():
            for metric in ProcessCollector("fundament", pid=lambda pid=pid: pid, registry=None).collect():
                kept = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                kept.samples += [sample._replace(labels={"process": name}) for sample in metric.samples]
        yield from found.values()


def _metric(family: Family, layout: Layout, cells: Sequence[float]) -> Metric:
    names = list(family.labels)
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
    if family.kind == "histogram":
        return _histogram(family, layout, cells)
    metric = kinds[family.kind](family.name, family.text, labels=names)
    for values in family.series():
        value = cells[layout.index(family.name, *values)]
        if value or not family.rare:
            metric.add_metric(values, value)
    return metric


def _histogram(family: Family, layout: Layout, cells: Sequence[float]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.text, labels=list(family.labels))
    bounds = [*(str(float(bound)) for bound in family.buckets), "+Inf"]
    for values in family.series():
        first = layout.index(family.name, *values)
        counts = accumulate(cells[first : first + len(bounds)])
        metric.add_metric(values, list(zip(bounds, counts, strict=True)), cells[first + len(bounds)])
    return metric
