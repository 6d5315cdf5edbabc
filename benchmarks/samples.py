"""What the processes of a service hold at a moment: memory, descriptors, files. Reads /proc and the data directory.

Memory is *private*: pages of the process and of no file (`Anonymous` and `Swap` of /proc/PID/smaps_rollup): heap and
stacks, where a leak is. Libraries are not in it; how much of those a process is charged with depends on who else runs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TextIO

from benchmarks import UnmeasurableError
from benchmarks.processes import command_of
from benchmarks.servers import Gateway

_MODULES = {b"fundament.server": "worker", b"fundament.ledger": "ledger"}
MB = 1e6


@dataclass(frozen=True)
class Held:
    """Of one process, in bytes."""

    private: int
    resident: int
    descriptors: int


@dataclass(frozen=True)
class Sample:
    """At `at_s` seconds from the beginning of the load; sizes in bytes."""

    at_s: float
    processes: Mapping[str, Held]
    journal: int
    database: int

    def private_mb(self, name: str) -> float:
        """Of one process, or of all."""
        named = self.processes.values() if name == ALL else (self.processes[name],)
        return sum(held.private for held in named) / MB


ALL = "all processes"


class Sampler:
    """Takes samples of a service whose processes stay the same, and writes each to `file` as it comes."""

    def __init__(self, gateway: Gateway, file: TextIO) -> None:
        self._gateway = gateway
        self._file = file
        self._names = _named(gateway)
        self.samples: list[Sample] = []

    @property
    def names(self) -> Sequence[str]:
        return [*self._names.values()]

    def take(self, at_s: float) -> Sample:
        """Raises `UnmeasurableError` when a process has ended, or another was started."""
        found = set(self._gateway.process.tree())
        if found != self._names.keys():
            raise self._gateway.process.failure(f"should have the processes {self._names} and has {sorted(found)}")
        data = self._gateway.data_dir
        sample = Sample(
            round(at_s, 2),
            {name: _held(pid) for pid, name in self._names.items()},
            sum(path.stat().st_size for path in (data / "usage").glob("*.jsonl")),
            sum(path.stat().st_size for path in data.glob("fundament.db*")),
        )
        self.samples.append(sample)
        self._file.write(json.dumps(asdict(sample)) + "\n")
        self._file.flush()
        return sample


def median_mb(samples: Sequence[Sample], name: str, window_s: tuple[float, float]) -> tuple[float, float, float]:
    """Private memory in the window: the median, the least, the most."""
    values = [sample.private_mb(name) for sample in samples if window_s[0] <= sample.at_s <= window_s[1]]
    if not values:
        raise UnmeasurableError(f"there is no sample between {window_s[0]:.0f} and {window_s[1]:.0f} s")
    return median(values), min(values), max(values)


def _named(gateway: Gateway) -> dict[int, str]:
    names = {gateway.process.pid: "supervisor"}
    workers = 0
    for pid in sorted(gateway.process.tree()[1:]):
        kind = next((kind for module, kind in _MODULES.items() if module in command_of(pid)), None)
        if kind is None:
            raise gateway.process.failure(f"has a process that is not known: {command_of(pid)!r}")
        workers += kind == "worker"
        names[pid] = f"worker {workers}" if kind == "worker" else kind
    return names


def _held(pid: int) -> Held:
    process = Path("/proc") / str(pid)
    lines = (line.split() for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    sizes = {fields[0].removesuffix(":"): int(fields[1]) * 1024 for fields in lines}
    return Held(sizes["Anonymous"] + sizes["Swap"], sizes["Rss"], len(list((process / "fd").iterdir())))
