"""Counters in this process's memory: right where it is the only one.

It knows windows, places and budgets as numbers; it does not know what a request or a plan is.
"""

import time
from collections.abc import Callable
from typing import Literal, Protocol

from fundament.errors import Unavailable
from fundament.gateway.counters import WINDOW_MS, Counters, Demand, Refusal, Settlement, Verdict

_SWEEP_AT = 1000  # windows; swept again when they have doubled


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class _Window:
    """What is used since `start_ms`."""

    __slots__ = ("input_tokens", "output_tokens", "requests", "start_ms")

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.requests = 0
        self.input_tokens = 0
        self.output_tokens = 0


class CountersInUse(Counters, Protocol):
    """Counters with what the process that owns them does: `run` beside all else, `close` at the end."""

    async def run(self) -> None: ...

    async def close(self) -> None: ...


class _Local:
    """Counters with nothing to do beside."""

    async def run(self) -> None:
        """Returns at once."""

    async def close(self) -> None:
        """Nothing is held."""


class MemoryCounters(_Local):
    """Gives the same verdicts as `counters.lua`; a test compares them."""

    def __init__(self, now_ms: Callable[[], int] = _monotonic_ms) -> None:
        self._now_ms = now_ms
        self._windows: dict[tuple[str, str], _Window] = {}
        self._in_flight: dict[tuple[str, str], int] = {}
        self._spent_nanos: dict[tuple[str, int], int] = {}
        self._sweep_at = _SWEEP_AT

    async def reserve(self, demand: Demand) -> Verdict | None:
        now_ms = self._now_ms()
        key = (demand.contract, demand.model)
        window = self._windows.get(key)
        if window is None or not 0 <= now_ms - window.start_ms < WINDOW_MS:
            window = _Window(now_ms)
        in_flight = 0 if demand.in_flight_limit is None else self._in_flight.get(key, 0)
        refused = self._refusal(demand, window, in_flight)
        if refused == "":
            window.requests += 1
            window.input_tokens += demand.input_tokens
            window.output_tokens += demand.output_tokens
            if window.start_ms == now_ms:
                self._keep(key, window)
            if demand.in_flight_limit is not None:
                in_flight += 1
                self._in_flight[key] = in_flight
            if demand.budget_nanos is not None:
                self._spent_nanos[demand.contract, demand.month] += demand.cost_nanos
        return Verdict(
            refused,
            window.start_ms,
            now_ms,
            window.requests,
            window.input_tokens,
            window.output_tokens,
            in_flight,
        )

    def settle(self, settlement: Settlement) -> None:
        key = (settlement.contract, settlement.model)
        window = self._windows.get(key)
        if window is not None and window.start_ms == settlement.window_start_ms:
            window.input_tokens += settlement.input_tokens
            window.output_tokens += settlement.output_tokens
        if settlement.in_flight:
            left = self._in_flight.get(key, 0) - 1
            if left > 0:
                self._in_flight[key] = left
            else:
                self._in_flight.pop(key, None)
        if settlement.month is not None:
            account = (settlement.contract, settlement.month)
            if account in self._spent_nanos:
                self._spent_nanos[account] += settlement.cost_nanos

    def _refusal(self, demand: Demand, window: _Window, in_flight: int) -> Refusal | Literal["", "unseeded"]:
        if demand.budget_nanos is not None:
            account = (demand.contract, demand.month)
            if account not in self._spent_nanos:
                if demand.spent_nanos is None:
                    return "unseeded"
                self._spent_nanos[account] = demand.spent_nanos
            if self._spent_nanos[account] + demand.cost_nanos > demand.budget_nanos:
                return "budget"
        refused: Refusal | Literal[""] = ""
        if demand.requests_limit is not None and window.requests + 1 > demand.requests_limit:
            refused = "requests"
        elif demand.input_limit is not None and window.input_tokens + demand.input_tokens > demand.input_limit:
            refused = "input_tokens"
        elif demand.output_limit is not None and window.output_tokens + demand.output_tokens > demand.output_limit:
            refused = "output_tokens"
        elif demand.in_flight_limit is not None and in_flight + 1 > demand.in_flight_limit:
            refused = "in_flight"
        return refused

    def _keep(self, key: tuple[str, str], window: _Window) -> None:
        self._windows[key] = window
        if len(self._windows) >= self._sweep_at:
            over_ms = window.start_ms - WINDOW_MS
            self._windows = {key: kept for key, kept in self._windows.items() if kept.start_ms > over_ms}
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._windows))


class UnsharedCounters(_Local):
    """In place of memory where several workers serve: each of them would let a whole quota through."""

    async def reserve(self, demand: Demand) -> Verdict | None:  # noqa: ARG002 - the protocol's
        raise Unavailable(
            "This contract has limits, which this service cannot keep: it has several workers and no store that they "
            "share. Its operator must set storage.counters to the URL of a Redis server, or server.workers to 1.",
            code="limits_unavailable",
        )

    def settle(self, settlement: Settlement) -> None:
        """Nothing was reserved."""
