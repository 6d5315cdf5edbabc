"""`python -m benchmarks`: runs the cases, shows the figures, leaves them in `.bench/results.json`.

Exits with 0 when every goal is met, 1 when one is missed, 2 when something could not be measured.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from benchmarks import (
    UnmeasurableError,
    endurance,
    gateway,
    install,
    ledger,
    limits,
    model,
    report,
    responses,
    translation,
)
from benchmarks.figures import Outcome
from benchmarks.rounds import Company

_CASES: dict[str, Callable[[bool], Outcome]] = {
    "requests": lambda quick: gateway.requests(gateway.QUICK if quick else gateway.FULL),
    "streams": lambda quick: gateway.streams(gateway.QUICK if quick else gateway.FULL),
    "latency": lambda quick: gateway.latency(gateway.QUICK if quick else gateway.FULL),
    "memory": lambda quick: gateway.memory(gateway.QUICK if quick else gateway.FULL),
    "limits": lambda quick: limits.limits(gateway.QUICK if quick else gateway.FULL),
    "responses": lambda quick: responses.responses(gateway.QUICK if quick else gateway.FULL),
    "translation": lambda quick: translation.translation(3 if quick else 9),
    "ledger": lambda quick: ledger.ledger(gateway.QUICK if quick else gateway.FULL),
    "model": lambda quick: model.model(model.QUICK if quick else model.FULL),
    "endurance": lambda quick: endurance.endurance(endurance.SHORT if quick else endurance.HOUR),
}
_WHEN_NAMED = "endurance"  # it takes an hour


def main() -> int:
    arguments = _arguments()
    # Ended from outside, leave through the `with` blocks as on Ctrl-C: they end what was started.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup
            signal.signal(ending, _leave)
    names: list[str] = arguments.only or [name for name in _CASES if name != _WHEN_NAMED]
    try:
        run = _run(names, arguments.quick, _installed(names))
        report.show(run)
        report.save(run)
        complete = len(run.outcomes) == len(names)
        if arguments.write and complete:
            if names == [_WHEN_NAMED]:
                endurance.publish()
                report.write(run, report.ENDURANCE, chart=endurance.CHART.name)
            else:
                report.write(run, report.FIGURES)
    except UnmeasurableError as error:
        print(f"\nnot measured: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return (0 if run.met else 1) if complete else 2


def _run(names: list[str], quick: bool, programs: dict[str, str]) -> report.Report:
    """The cases one after the other; one that cannot be measured does not keep the others from it."""
    started, company = time.monotonic(), Company()
    outcomes: list[Outcome] = []
    for name in names:
        print(f"measuring {name} …", flush=True)
        try:
            outcomes.append(_CASES[name](quick))
        except UnmeasurableError as error:
            print(f"\n{name} not measured: {error}\n", file=sys.stderr, flush=True)
    return report.report(outcomes, time.monotonic() - started, company.share(), programs)


def _installed(names: list[str]) -> dict[str, str]:
    """Versions of what the cases need beside Fundament itself; installed now, so that it is not measured."""
    versions: dict[str, str] = {}
    if any(name not in {"model", "translation", "endurance"} for name in names):
        versions |= {"nginx": install.nginx().version, "wrk": install.wrk().version}
    if "requests" in names or "streams" in names:
        versions["litellm"] = install.litellm().version
    return versions


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=list(_CASES),
        help="this case alone; may be repeated; endurance runs in no other way",
    )
    parser.add_argument(
        "--quick", action="store_true", help="short windows, few rounds: shows that it runs, not figures"
    )
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.write and (arguments.quick or arguments.only not in (None, [_WHEN_NAMED])):
        parser.error(
            f"--write is for the figures of a whole run: not with --quick, with --only for {_WHEN_NAMED} alone"
        )
    return arguments


def _leave(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
