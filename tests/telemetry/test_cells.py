"""Counts outlive who counted them, and add up."""

import os
import signal
import subprocess
import sys

import pytest

from fundament.telemetry.cells import Family, Layout, clear_gauges, regions, shared_memory, sum_of

LAYOUT = Layout(
    [
        Family(name="asked", kind="counter", text="", labels={"model": ["a", "b"], "outcome": ["yes", "no"]}),
        Family(name="open", kind="gauge", text="", labels={"model": ["a", "b"]}),
        Family(name="took", kind="histogram", text="", buckets=(1, 2, 3)),
        Family(name="last", kind="counter", text=""),
    ]
)


def test_every_series_has_cells_of_its_own() -> None:
    names = [("asked", model, outcome) for model in "ab" for outcome in ("yes", "no")]
    firsts = [LAYOUT.index(*name) for name in names] + [LAYOUT.index("open", "a"), LAYOUT.index("open", "b")]
    assert firsts == [0, 1, 2, 3, 4, 5]
    assert (LAYOUT.index("took"), LAYOUT.index("last"), LAYOUT.size) == (6, 11, 12)


def test_what_was_not_foreseen_cannot_be_counted() -> None:
    with pytest.raises(KeyError):
        LAYOUT.index("asked", "what a client wrote", "yes")


def test_a_region_is_one_writers_and_everybody_reads_the_sum() -> None:
    descriptor = shared_memory([LAYOUT, LAYOUT, LAYOUT])
    try:
        mine, yours, theirs = regions(descriptor, [LAYOUT, LAYOUT, LAYOUT])
        seen_elsewhere = regions(descriptor, [LAYOUT, LAYOUT, LAYOUT])
    finally:
        os.close(descriptor)
    mine[0] += 1
    yours[0] += 2.5
    theirs[11] += 4
    assert sum_of(seen_elsewhere) == [3.5, *[0.0] * 10, 4.0]


def test_a_process_that_is_killed_leaves_its_counts_to_its_successor() -> None:
    child = (
        "import sys, time\n"
        "from fundament.telemetry.cells import Family, Layout, regions\n"
        "same_size = Layout([Family(name=str(i), kind='counter', text='') for i in range(int(sys.argv[2]))])\n"
        "cells = regions(int(sys.argv[1]), [same_size])[0]\n"
        "cells[0] += 7; cells[4] += 3; print('counted', flush=True); time.sleep(60)"
    )
    descriptor = shared_memory([LAYOUT])
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", child, str(descriptor), str(LAYOUT.size)],
            stdout=subprocess.PIPE,
            pass_fds=(descriptor,),
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"counted\n"
            process.send_signal(signal.SIGKILL)
        cells = regions(descriptor, [LAYOUT])[0]
    finally:
        os.close(descriptor)
    assert (cells[0], cells[4]) == (7, 3)
    clear_gauges(LAYOUT, cells)
    assert (cells[0], cells[4]) == (7, 0), "what was open is open no more; what happened has happened"
