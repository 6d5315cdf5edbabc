"""What a measurement says: a figure is the median of its samples, beside the goal that it has, if any. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal


@dataclass(frozen=True)
class Goal:
    relation: Literal[">=", "<=", "<", ">"]
    bound: float

    def met_by(self, value: float) -> bool:
        match self.relation:
            case ">=":
                return value >= self.bound
            case "<=":
                return value <= self.bound
            case "<":
                return value < self.bound
            case ">":
                return value > self.bound

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the report. `samples` are in `unit` (empty for a ratio)."""

    name: str
    samples: tuple[float, ...]
    unit: str = ""
    goal: Goal | None = None

    @property
    def value(self) -> float:
        return median(self.samples)

    @property
    def met(self) -> bool | None:
        return self.goal.met_by(self.value) if self.goal else None


@dataclass(frozen=True)
class Outcome:
    """What one case gave: its figures, what limited or disturbed it, what was checked meanwhile."""

    case: str
    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """Of samples taken next to each other, pair by pair."""
    return tuple(above / below for above, below in zip(numerators, denominators, strict=True))
