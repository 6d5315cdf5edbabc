"""Repeats a round of measurements until enough of them were undisturbed by what else runs on the machine.

A round is left out for what others did meanwhile, never for what it measured.
"""

import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.processes import Processes, busy_s

# Of all cores together; the machine's own housekeeping stays below.
QUIET = 0.05
_LAST_START_S = 150

T = TypeVar("T")


@dataclass(frozen=True)
class Rounds(Generic[T]):
    """The undisturbed rounds; all of them, if there were too few."""

    results: Sequence[T]
    notes: tuple[str, ...]


def undisturbed(processes: Processes, measure: Callable[[int], T], wanted: int) -> Rounds[T]:
    """`measure`, given the number of good rounds so far, until there are `wanted`.

    Gives up after half as many rounds again, or when the next would begin later than `_LAST_START_S` after the first.
    """
    started = time.monotonic()
    every: list[T] = []
    quiet: list[T] = []
    while len(quiet) < wanted and len(every) < wanted + wanted // 2:
        if time.monotonic() - started > _LAST_START_S:
            break
        company = Company(processes)
        every.append(measure(len(quiet)))
        if company.share() < QUIET:
            quiet.append(every[-1])
    disturbed = len(every) - len(quiet)
    if 2 * len(quiet) < wanted:
        return Rounds(every, (f"DISTURBED: others used the machine in {disturbed} of {len(every)} rounds",))
    note = f"{disturbed} of {len(every)} rounds left out: others used more than {QUIET:.0%} of the machine"
    return Rounds(quiet, (note,) if disturbed else ())


class Company:
    """From its making on: how much processor time went to processes that are not this run's."""

    def __init__(self, processes: Processes | None = None) -> None:
        self._processes = processes
        self._started, self._foreign_s = time.monotonic(), self._foreign()

    def share(self) -> float:
        """Of all cores together, 0 to 1."""
        elapsed_s = time.monotonic() - self._started
        return max(0.0, self._foreign() - self._foreign_s) / (elapsed_s * (os.cpu_count() or 1))

    def _foreign(self) -> float:
        """All processor time, without ours: of this process, of those that run for it, of those that have ended."""
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        running_s = self._processes.cpu_s() if self._processes else 0.0
        return busy_s() - running_s - sum(usage.ru_utime + usage.ru_stime for usage in usages)
