"""Whether a server is asked at all: one that failed several times in a row is left alone, and then tried.

It knows outcomes and times; it does no I/O, and does not know what was asked. docs/decisions/0011 has the reasons.
"""

import math
import time
from collections.abc import Callable

from fundament.errors import Unavailable

FAILURES = 5
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0


def _nobody(is_open: bool) -> None:
    """Where nobody wants to know."""


class Circuit:
    """Closed, it lets all requests pass; `FAILURES` in a row open it.

    Open, it lets one pass when `FIRST_WAIT_S` are over: a trial. Each trial doubles the wait for the next one, up to
    `LONGEST_WAIT_S`, also while it has no end: a server that takes long for one request must not keep all others away
    meanwhile. A success, the trial's or a late one, closes it.

    Args:
        told: called with True when it opens, with False when it closes.
        clock: seconds; read only while it is open or opens.
    """

    __slots__ = ("_clock", "_told", "_trials", "_until", "_waits_for_trial", "failures", "is_open")

    def __init__(self, told: Callable[[bool], None] = _nobody, clock: Callable[[], float] = time.monotonic) -> None:
        self._told = told
        self._clock = clock
        self._until = 0.0
        self._trials = 0
        self._waits_for_trial = False
        self.is_open = False
        self.failures = 0
        """In a row, up to now."""

    @property
    def rest_s(self) -> float:
        """How long nothing passes; not above 0: a request may."""
        return self._until - self._clock() if self.is_open else 0.0

    def check(self) -> None:
        """Raises Unavailable while nothing passes, with the rest of the time; it changes nothing."""
        if (rest_s := self.rest_s) > 0:
            raise _unavailable(rest_s)

    def enter(self) -> None:
        """To be called just before a request is sent; in an open circuit that request is the trial.

        Raises:
            Unavailable: nothing passes.
        """
        if self.is_open:
            self.check()
            self._trials += 1
            self._waits_for_trial = True
            self._wait()

    def succeeded(self) -> None:
        """The server answered."""
        self.failures = 0
        if self.is_open:
            self.is_open = self._waits_for_trial = False
            self._trials = 0
            self._told(False)

    def failed(self) -> None:
        """The server could not be reached, broke off, was silent, or said that it fails."""
        self.failures += 1
        if self.is_open:
            if self._waits_for_trial:  # otherwise a request of before, which tells nothing new
                self._waits_for_trial = False
                self._wait()
        elif self.failures >= FAILURES:
            self.is_open = True
            self._wait()
            self._told(True)

    def abandoned(self) -> None:
        """A request ended without telling anything of the server: another may be the trial."""
        if self._waits_for_trial:
            self._waits_for_trial = False
            self._trials -= 1
            self._until = self._clock()

    def _wait(self) -> None:
        self._until = self._clock() + min(FIRST_WAIT_S * 2**self._trials, LONGEST_WAIT_S)


def _unavailable(rest_s: float) -> Unavailable:
    failure = Unavailable(
        "The model's server has failed several times in a row and is left alone for a moment. Please retry.",
        code="upstream_unavailable",
        retry_after_s=math.ceil(rest_s),
    )
    failure.elsewhere = True
    return failure
