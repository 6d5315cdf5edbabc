"""A circuit opens after failures in a row, lets trials pass with a growing wait, and closes at a success."""

import pytest

from fundament.backends.circuit import FAILURES, FIRST_WAIT_S, LONGEST_WAIT_S, Circuit
from fundament.errors import Unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


class Watched:
    """A circuit with a clock of the test's, and what it told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[bool] = []
        self.circuit = Circuit(self.told.append, self.clock)

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.circuit.failed()

    def passes(self) -> bool:
        try:
            self.circuit.enter()
        except Unavailable:
            return False
        return True


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_only_failures_in_a_row_open_it(watched: Watched) -> None:
    watched.fail(FAILURES - 1)
    watched.circuit.succeeded()
    watched.fail(FAILURES - 1)
    assert (watched.circuit.is_open, watched.told, watched.passes()) == (False, [], True)
    watched.circuit.failed()
    assert (watched.circuit.is_open, watched.told, watched.passes()) == (True, [True], False)


def test_while_it_is_closed_nobody_looks_at_the_clock(watched: Watched) -> None:
    watched.circuit.failed()
    assert watched.passes()
    watched.circuit.succeeded()
    assert watched.circuit.rest_s == 0
    assert watched.clock.reads == 0


def test_a_refusal_says_when_to_come_back_in_whole_seconds(watched: Watched) -> None:
    watched.fail(FAILURES)
    watched.clock.now += FIRST_WAIT_S * 0.9
    with pytest.raises(Unavailable) as refused:
        watched.circuit.check()
    assert (refused.value.code, refused.value.retry_after_s) == ("upstream_unavailable", 1)
    assert refused.value.elsewhere


def test_one_passes_when_the_time_is_over_and_its_success_closes(watched: Watched) -> None:
    watched.fail(FAILURES)
    watched.clock.now += FIRST_WAIT_S
    watched.circuit.check()
    assert [watched.passes(), watched.passes()] == [True, False]
    watched.circuit.succeeded()
    assert [watched.passes(), watched.passes()] == [True, True]
    assert watched.told == [True, False]
    watched.fail(FAILURES - 1)
    assert watched.passes(), "the failures of before count no more"


def test_each_failed_trial_doubles_the_wait_up_to_its_bound(watched: Watched) -> None:
    watched.fail(FAILURES)
    waits = []
    for _ in range(8):
        waits.append(watched.circuit.rest_s)
        watched.clock.now += waits[-1]
        assert watched.passes()
        watched.clock.now += 0.25  # the trial takes its time
        watched.circuit.failed()
    assert waits == [1, 2, 4, 8, 16, LONGEST_WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_S]
    assert watched.told == [True]
    watched.circuit.succeeded()
    watched.fail(FAILURES)
    assert watched.circuit.rest_s == FIRST_WAIT_S, "it begins anew"


def test_late_failures_of_requests_of_before_change_nothing(watched: Watched) -> None:
    watched.fail(FAILURES)
    watched.clock.now += 0.5
    watched.fail(20)
    assert watched.circuit.rest_s == FIRST_WAIT_S - 0.5
    assert watched.told == [True]


def test_a_late_success_of_a_request_of_before_closes_it(watched: Watched) -> None:
    watched.fail(FAILURES)
    watched.circuit.succeeded()
    assert watched.passes()


def test_a_trial_without_an_end_does_not_keep_the_others_away(watched: Watched) -> None:
    watched.fail(FAILURES)
    waits = []
    for _ in range(6):
        waits.append(watched.circuit.rest_s)
        watched.clock.now += waits[-1]
        assert [watched.passes(), watched.passes()] == [True, False]
    assert waits == [1, 2, 4, 8, 16, LONGEST_WAIT_S]


def test_an_abandoned_trial_is_the_next_requests(watched: Watched) -> None:
    watched.fail(FAILURES)
    watched.clock.now += FIRST_WAIT_S
    assert [watched.passes(), watched.passes()] == [True, False]
    watched.circuit.abandoned()
    assert [watched.passes(), watched.passes()] == [True, False]
    watched.circuit.failed()
    assert watched.circuit.rest_s == 2 * FIRST_WAIT_S


def test_abandoning_another_request_opens_no_way(watched: Watched) -> None:
    watched.fail(FAILURES)
    watched.circuit.abandoned()
    assert not watched.passes()
