"""Shows what was measured: a table for the terminal, JSON for programs, a block of Markdown for the documentation.

Says beside the figures what they depend on: machine, versions, and how much of the machine others used meanwhile.
"""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import UnmeasurableError
from benchmarks.figures import Figure, Outcome
from benchmarks.install import BENCH, PROJECT

RESULTS = BENCH / "results.json"
DOCUMENT = PROJECT / "docs" / "benchmarks.md"
FIGURES = ("<!-- figures: written by `make bench` -->", "<!-- end of figures -->")
ENDURANCE = ("<!-- endurance: written by its case -->", "<!-- end of endurance -->")
_WIDTH = 100
_PACKAGES = ("fundament", "uvicorn", "httptools", "uvloop", "msgspec", "xllamacpp")


@dataclass(frozen=True)
class Report:
    """A run. `others` is the share of the machine's processor time, 0 to 1, that went to processes not of the run."""

    outcomes: tuple[Outcome, ...]
    date: str
    duration_s: float
    machine: str
    versions: dict[str, str]
    others: float

    @property
    def met(self) -> bool:
        return all(figure.met is not False for outcome in self.outcomes for figure in outcome.figures)


def report(outcomes: Sequence[Outcome], duration_s: float, others: float, programs: dict[str, str]) -> Report:
    versions = {package: version(package) for package in _PACKAGES} | programs
    versions = {"commit": _commit(), "python": platform.python_version(), **versions}
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Report(tuple(outcomes), date, duration_s, _machine(), versions, others)


def show(run: Report) -> None:
    table = Table(title="Fundament, measured side by side", title_justify="left")
    for column in ("case", "figure"):
        table.add_column(column, no_wrap=True)
    for column in ("median", "from … to", "goal", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for outcome in run.outcomes:
        table.add_section()
        for number, figure in enumerate(outcome.figures):
            style = "bold" if figure.goal else "dim"
            table.add_row(outcome.case if number == 0 else "", *_cells(figure), _verdict(figure), style=style)
    terminal = Console()
    console = Console(width=max(terminal.width, _WIDTH))  # figures are never cut off, not even in a pipe
    console.print(table)
    for outcome in run.outcomes:
        for note in (*outcome.notes, *(f"checked: {check}" for check in outcome.checked)):
            style = "bold red" if note.startswith("DISTURBED") else "dim"
            console.print(f"{outcome.case}: {note}", style=style, highlight=False)
    others = f"other processes used {run.others:.0%} of the machine meanwhile"
    console.print(f"{run.machine}; {others}; {run.duration_s:.0f} s", highlight=False)


def save(run: Report) -> None:
    body = asdict(run)
    for outcome, saved in zip(run.outcomes, body["outcomes"], strict=True):
        for figure, entry in zip(outcome.figures, saved["figures"], strict=True):
            entry |= {"median": figure.value, "goal": str(figure.goal) if figure.goal else None, "met": figure.met}
    RESULTS.write_text(json.dumps(body, indent=2) + "\n")


def write(run: Report, markers: tuple[str, str], *, chart: str | None = None) -> None:
    """Puts the figures between two markers, `FIGURES` or `ENDURANCE`, of the documentation's page.

    `chart` is the name of an image beside the page, to be shown before them.
    """
    before, start, rest = DOCUMENT.read_text().partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not start or not end:
        raise UnmeasurableError(f"{DOCUMENT.relative_to(PROJECT)} has lost the markers {' and '.join(markers)}")
    image = f"![{run.outcomes[0].title}]({chart})\n\n" if chart else ""
    DOCUMENT.write_text(f"{before}{start}\n\n{image}{_markdown(run)}\n{end}{after}")


def _markdown(run: Report) -> str:
    versions = ", ".join(f"{name} {text}" for name, text in run.versions.items())
    lines = [f"Measured {run.date} on {run.machine}; other processes used {run.others:.0%} of it meanwhile.", ""]
    lines += [f"Versions: {versions}.", ""]
    for outcome in run.outcomes:
        lines += [f"### {outcome.title[0].upper()}{outcome.title[1:]}", ""]
        lines += ["| figure | median | from … to | goal | |", "|---|--:|--:|--:|---|"]
        lines += [f"| {' | '.join((*_cells(figure), _verdict(figure)))} |" for figure in outcome.figures]
        lines += ["", *(f"- {note}" for note in outcome.notes)]
        lines += [f"- checked: {'; '.join(outcome.checked)}", ""]
    return "\n".join(lines)


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    spread = f"{_number(min(figure.samples))} … {_number(max(figure.samples))}" if len(figure.samples) > 1 else ""
    return (
        figure.name,
        f"{_number(figure.value)} {figure.unit}".strip(),
        spread,
        str(figure.goal) if figure.goal else "",
    )


def _verdict(figure: Figure) -> str:
    return {True: "met", False: "MISSED", None: ""}[figure.met]


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {gigabytes:.0f} GB, {platform.system()} {platform.release()}"


def _commit() -> str:
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return described.stdout.strip() or "unknown"
