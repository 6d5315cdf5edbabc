"""The service's processes as series: which of them run, and how often each was started.

The supervisor writes, for only it knows when a process starts and ends. It knows names and process ids, not what a
process does.
"""

from collections.abc import Mapping, Sequence

from fundament.telemetry.cells import Cells, Family, Layout

SUPERVISOR = "supervisor"
_UP, _STARTS = "fundament_process_up", "fundament_process_starts_total"
_PID = "pid"


class ProcessBoard:
    """Who runs, under which process id.

    Args:
        names: the processes that the supervisor keeps; they get cells beside the supervisor itself.
        cells: a region of `ProcessBoard.layout(names)`.
    """

    @staticmethod
    def layout(names: Sequence[str]) -> Layout:
        by_process = {"process": (SUPERVISOR, *names)}
        return Layout(
            [
                Family(name=_UP, kind="gauge", text="Whether the process runs.", labels=by_process),
                Family(name=_STARTS, kind="counter", text="How often the process was started.", labels=by_process),
                Family(name=_PID, kind="gauge", text="", labels=by_process),  # for who reads /proc, not shown
            ]
        )

    def __init__(self, names: Sequence[str], cells: Cells) -> None:
        self._names = (SUPERVISOR, *names)
        self._layout = self.layout(names)
        self._cells = cells

    def started(self, name: str, pid: int) -> None:
        index = self._layout.index
        self._cells[index(_PID, name)] = pid
        self._cells[index(_UP, name)] = 1
        self._cells[index(_STARTS, name)] += 1

    def ended(self, name: str) -> None:
        self._cells[self._layout.index(_UP, name)] = 0

    def pids(self) -> Mapping[str, int]:
        """The process ids of those that run, by name."""
        index = self._layout.index
        running = [name for name in self._names if self._cells[index(_UP, name)]]
        return {name: int(self._cells[index(_PID, name)]) for name in running}
