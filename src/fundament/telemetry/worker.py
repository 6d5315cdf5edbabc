"""All that a gateway worker tells about itself, put together as the configuration wants it.

It knows the parts of this package and the settings; it does not know who calls them.
"""

import sys
from collections.abc import Callable, Sequence

from fundament.settings import Config
from fundament.telemetry.access_log import AccessLog
from fundament.telemetry.cells import Layout, clear_gauges, regions
from fundament.telemetry.metrics import Metrics, worker_families
from fundament.telemetry.processes import ProcessBoard


def layouts(config: Config, processes: Sequence[str]) -> list[Layout]:
    """The regions of the service's shared memory: one for the supervisor, which keeps `processes`, one for each worker.

    All processes ask for it, and get the same.
    """
    of_workers = Layout(worker_families({model.id: len(model.upstreams) for model in config.models}))
    return [ProcessBoard.layout(processes), *[of_workers] * config.server.workers]


class WorkerTelemetry:
    """What one worker records. Belongs to its event loop.

    Args:
        descriptor: of the shared memory.
        position: of this worker among the workers, from 0.
        processes: the names of all processes that the supervisor keeps.
        moved_until: until when all of the usage journal is in the ledger (Unix seconds), as far as that is known.
    """

    def __init__(
        self,
        config: Config,
        *,
        descriptor: int,
        position: int,
        processes: Sequence[str],
        moved_until: Callable[[], float | None],
    ) -> None:
        all_layouts = layouts(config, processes)
        layout = all_layouts[1]
        of_supervisor, *of_workers = regions(descriptor, all_layouts)
        clear_gauges(layout, of_workers[position])
        self.metrics = Metrics([model.id for model in config.models], layout, of_workers[position])
        self.render: Callable[[str], tuple[bytes, str]] | None = None
        if config.telemetry.metrics:
            from fundament.telemetry.exposition import Exposition  # noqa: PLC0415 - 0.08 s, which no command waits for

            journal = config.journal_dir
            self.render = Exposition(
                layout, of_workers, processes, of_supervisor, journal=journal, moved_until=moved_until
            ).render
        self.access_log = AccessLog(sys.stderr) if config.telemetry.access_log else None
        self._traces = None
        if config.telemetry.otlp_endpoint is not None:
            from fundament.telemetry.traces import Traces  # noqa: PLC0415 - OpenTelemetry takes half a second

            self._traces = Traces(config.telemetry.otlp_endpoint, _providers(config))
        self.recorders = [part for part in (self.metrics, self.access_log, self._traces) if part is not None]

    def close(self) -> None:
        """Tells what is left. Blocks for `traces.LAST_WORDS_S` at most."""
        if self.access_log is not None:
            self.access_log.flush()
        if self._traces is not None:
            self._traces.close()


def _providers(config: Config) -> dict[str, str]:
    """`gen_ai.provider.name` of each model: the kind of server that it is behind."""
    return {model.id: model.upstreams[0].profile if model.upstreams else "fundament" for model in config.models}
