"""Numbers that outlive the process that counts them: shared memory, each region written by one process and read by all.

It knows how families of series are laid out in a region, and nothing of what they count. A process that is started
again goes on with the region of its predecessor, so that a count never goes back.
"""

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, product
from tempfile import TemporaryFile
from typing import Literal, TypeAlias

Cells: TypeAlias = "memoryview[float]"
_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Family:
    """All series of one name.

    `labels` names each label and all the values that it can have: what is not foreseen cannot be counted. `only` has
    the combinations that there are, where not all are. `buckets` are the upper bounds of a histogram. `rare` families
    have many series, of which only those that counted are shown.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    only: Sequence[tuple[str, ...]] | None = None
    buckets: Sequence[float] = ()
    rare: bool = False

    @property
    def width(self) -> int:
        """Cells of one series: its value; of a histogram, one a bucket, one for what is above, one for the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1

    def series(self) -> Iterator[tuple[str, ...]]:
        """The label values of every series, in the order of their cells."""
        return product(*self.labels.values()) if self.only is None else iter(self.only)


class Layout:
    """Where each series is in a region; the same for all who are given the same families."""

    def __init__(self, families: Sequence[Family]) -> None:
        self.families = families
        self._first: dict[tuple[str, ...], int] = {}
        self.size = 0
        for family in families:
            for values in family.series():
                self._first[(family.name, *values)] = self.size
                self.size += family.width

    def index(self, name: str, *values: str) -> int:
        """The first cell of a series. Raises KeyError: there is no such series."""
        return self._first[(name, *values)]


def shared_memory(layouts: Sequence[Layout]) -> int:
    """The descriptor of memory with a region for each layout, for the processes that inherit it."""
    size = sum(layout.size for layout in layouts) * _BYTES
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fundament-metrics")
    else:
        with TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, bytes(size))  # taken now: memory that is not to be had would be a SIGBUS at the first count
    return descriptor


def regions(descriptor: int, layouts: Sequence[Layout]) -> list[Cells]:
    """The cells of every layout in shared memory."""
    size = sum(layout.size for layout in layouts)
    cells = memoryview(mmap.mmap(descriptor, size * _BYTES)).cast("d")
    ends = list(accumulate((layout.size for layout in layouts), initial=0))
    return [cells[first:end] for first, end in pairwise(ends)]


def clear_gauges(layout: Layout, cells: Cells) -> None:
    """What a predecessor of this process was in the middle of, it is no more."""
    for family in layout.families:
        if family.kind == "gauge":
            for values in family.series():
                cells[layout.index(family.name, *values)] = 0.0


def sum_of(regions: Sequence[Cells]) -> list[float]:
    """The cells of processes with one layout, added up."""
    return [sum(values) for values in zip(*regions, strict=True)]
