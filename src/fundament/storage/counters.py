"""Counters in this process's memory: right where it is the only one.

It knows windows, places and budgets as numbers; it does not know what a request or a plan is.
"""

import time
from collections.abc import Callable
from typing import Literal, Protocol

from fundament.errors import Unavailable
from fundament.gateway.counters import WINDOW_MS, Counters, Demand, Refusal, Settlement, Verdict

_SWEEP_AT = 1000  # quotas; swept again when they have doubled


class _Quota:
    """What a contract uses of a model: since `start_ms`, and at once."""

    __slots__ = ("in_flight", "input_tokens", "output_tokens", "requests", "start_ms")

    def __init__(self) -> None:
        self.in_flight = 0
        self.begin(0)

    def begin(self, start_ms: int) -> None:
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

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._quotas: dict[tuple[str, str], _Quota] = {}
        self._spent_nanos: dict[tuple[str, int], int] = {}
        self._sweep_at = _SWEEP_AT

    async def reserve(self, demand: Demand) -> Verdict | None:
        now_ms = self._now_ns() // 1_000_000
        key = (demand.contract, demand.model)
        quota = self._quotas.get(key) or self._new(key, now_ms)
        if quota.requests == 0 or not 0 <= now_ms - quota.start_ms < WINDOW_MS:
            quota.begin(now_ms)
        refused = self._refusal(demand, quota)
        if refused == "":
            quota.requests += 1
            quota.input_tokens += demand.input_tokens
            quota.output_tokens += demand.output_tokens
            if demand.in_flight_limit is not None:
                quota.in_flight += 1
            if demand.budget_nanos is not None:
                self._spent_nanos[demand.contract, demand.month] += demand.cost_nanos
        return Verdict(
            refused,
            quota.start_ms,
            now_ms,
            quota.requests,
            quota.input_tokens,
            quota.output_tokens,
            0 if demand.in_flight_limit is None else quota.in_flight,
        )

    def settle(self, settlement: Settlement) -> None:
        quota = self._quotas.get((settlement.contract, settlement.model))
        if quota is not None:
            if quota.start_ms == settlement.window_start_ms:
                quota.input_tokens += settlement.input_tokens
                quota.output_tokens += settlement.output_tokens
            if settlement.in_flight and quota.in_flight > 0:
                quota.in_flight -= 1
        if settlement.month is not None:
            account = (settlement.contract, settlement.month)
            if account in self._spent_nanos:
                self._spent_nanos[account] += settlement.cost_nanos

    def _refusal(self, demand: Demand, quota: _Quota) -> Refusal | Literal["", "unseeded"]:
        if demand.budget_nanos is not None:
            account = (demand.contract, demand.month)
            if account not in self._spent_nanos:
                if demand.spent_nanos is None:
                    return "unseeded"
                self._spent_nanos[account] = demand.spent_nanos
            if self._spent_nanos[account] + demand.cost_nanos > demand.budget_nanos:
                return "budget"
        refused: Refusal | Literal[""] = ""
        if demand.requests_limit is not None and quota.requests + 1 > demand.requests_limit:
            refused = "requests"
        elif demand.input_limit is not None and quota.input_tokens + demand.input_tokens > demand.input_limit:
            refused = "input_tokens"
        elif demand.output_limit is not None and quota.output_tokens + demand.output_tokens > demand.output_limit:
            refused = "output_tokens"
        elif demand.in_flight_limit is not None and quota.in_flight + 1 > demand.in_flight_limit:
            refused = "in_flight"
        return refused

    def _new(self, key: tuple[str, str], now_ms: int) -> _Quota:
        if len(self._quotas) >= self._sweep_at:
            over_ms = now_ms - WINDOW_MS
            self._quotas = {
                key: kept for key, kept in self._quotas.items() if kept.in_flight > 0 or kept.start_ms > over_ms
            }
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._quotas))
        quota = self._quotas[key] = _Quota()
        return quota


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
