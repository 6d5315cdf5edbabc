"""Limits: what a request takes of its contract's quota before it is served, and what it gives back when it is over.

It knows plans, estimates and what is said of a refusal. It does not know where the counts are: it asks `Counters`.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from fundament.errors import InsufficientQuota, RateLimited
from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.contracts import Contract
from fundament.gateway.counters import WINDOW_MS, Counters, Demand, Refusal, Verdict, given_back
from fundament.gateway.estimate import estimated_tokens
from fundament.gateway.meter import Outcome
from fundament.protocol.rate_limits import LimitLines, limit_headers
from fundament.protocol.usage import Usage
from fundament.settings import LimitConfig, PlanConfig

UNBOUND_SHARE = 10
"""A request that does not bound its answer reserves at most this part of the output limit: others pass beside it."""

UNKNOWN_OUTPUT_TOKENS = 4096
"""The longest answer of a model of which neither context nor bound is known."""

CERTAINLY_TOO_LARGE = 4
"""An estimate may be wrong by so much: up to there, a prompt over the limit is let through as one that fills it."""

Spent: TypeAlias = Callable[[str, date], Awaitable[int]]
"""What a contract (its id) has spent in the month of a day, in nanos."""

Refused: TypeAlias = Callable[[Refusal], None]
"""Told the kind of each refusal: "requests", "input_tokens", "output_tokens", "in_flight", "budget"."""


class _Row:
    """A plan's limits of one model, and the lines that tell them."""

    __slots__ = ("limit", "lines")

    def __init__(self, limit: LimitConfig) -> None:
        self.limit = limit
        self.lines = LimitLines(limit.rpm, limit.input_tpm, limit.output_tpm)


_NO_LIMITS = _Row(LimitConfig())


class Limiter:
    """Reserves and refuses.

    Args:
        plans: by name.
        spent: asked once a month and contract with a budget, where `counters` do not know.
        refused: told of refusals.
    """

    def __init__(
        self, plans: Mapping[str, PlanConfig], counters: Counters, *, spent: Spent, refused: Refused = lambda _: None
    ) -> None:
        self._rows = {
            name: {
                limit.model: _NO_LIMITS if limit == LimitConfig(model=limit.model) else _Row(limit)
                for limit in plan.limits
            }
            for name, plan in plans.items()
        }
        self._counters = counters
        self._spent = spent
        self._refused = refused

    async def reserve(
        self,
        contract: Contract,
        model: CatalogueModel,
        request: Callable[[], Mapping[str, Any]],
        *,
        output_tokens: int | None,
        answers: int = 1,
        size_bytes: int | None = None,
    ) -> "Reservation | None":
        """What the request holds until it is settled; None where the contract has neither limits nor a budget.

        Args:
            contract: of a plan that is configured, as `Admission.admit` sees to.
            request: gives its decoded JSON; not called where there is no limit.
            output_tokens: the request's own bound of one answer; None if it has none.
            answers: how many are made.
            size_bytes: of the request's JSON, where it is known.

        Raises:
            RateLimited: a limit is reached, or could never hold this request.
            InsufficientQuota: what is left of the month's budget does not cover it.
            Unavailable: nobody can tell at the moment.
        """
        rows = self._rows[contract.plan]
        row = rows.get(model.id) or rows.get("*") or _NO_LIMITS
        if row is _NO_LIMITS and contract.monthly_budget_nanos is None:
            return None
        limit = row.limit
        input_tokens = _input_bound(limit, estimated_tokens(request(), size_bytes))
        output_tokens = _output_bound(model, limit, output_tokens, answers)
        month, cost_nanos = 0, 0
        if contract.monthly_budget_nanos is not None:
            month, cost_nanos = _month(), _cost_nanos(model, input_tokens, output_tokens)
        demand = Demand(
            contract.id,
            model.id,
            limit.rpm,
            limit.input_tpm,
            limit.output_tpm,
            limit.max_in_flight,
            input_tokens,
            output_tokens,
            contract.monthly_budget_nanos,
            month,
            cost_nanos,
        )
        verdict = await self._counters.reserve(demand)
        if verdict is not None and verdict.refused == "unseeded":
            spent_nanos = await self._spent(contract.id, date(demand.month // 100, demand.month % 100, 1))
            demand = replace(demand, spent_nanos=spent_nanos)
            verdict = await self._counters.reserve(demand)
        if verdict is None:
            return None
        reservation = Reservation(self._counters, demand, verdict, row.lines)
        if verdict.refused != "":
            if verdict.refused not in ("unseeded", "late"):
                self._refused(verdict.refused)
            raise _refusal(demand, verdict, limit_headers(reservation.header_lines()))
        return reservation


class Reservation(Struct, frozen=True):
    """What one request holds of its contract's quota. `settle` is called once."""

    counters: Counters
    demand: Demand
    verdict: Verdict
    lines: LimitLines

    def settle(self, outcome: Outcome, usage: Usage | None, cost_nanos: int) -> None:
        """Puts the tokens right by what was used; the request itself stays counted.

        A failure without any output gives all tokens back. What nobody knows counts as it was reserved: the prompt of
        an answer that was cut off, all of one that its server does not account for.
        """
        demand = self.demand
        input_tokens, output_tokens = demand.input_tokens, demand.output_tokens
        if outcome == "failed" and (usage is None or usage.completion_tokens == 0):
            input_tokens = output_tokens = 0
        elif usage is not None:
            input_tokens = usage.prompt_tokens or input_tokens
            output_tokens = usage.completion_tokens
        elif outcome == "cancelled":
            output_tokens = 0
        self.counters.settle(
            given_back(
                demand, self.verdict, input_tokens=input_tokens, output_tokens=output_tokens, cost_nanos=cost_nanos
            )
        )

    def header_lines(self) -> bytes:
        """What the client is told of its limits."""
        verdict = self.verdict
        return self.lines.after(verdict.requests, verdict.input_tokens, verdict.output_tokens, _reset_ms(verdict))


def _month() -> int:
    today = datetime.now(UTC)
    return today.year * 100 + today.month


def _cost_nanos(model: CatalogueModel, input_tokens: int, output_tokens: int) -> int:
    if model.price is None:
        return 0
    return model.price.cost_nanos(Usage(prompt_tokens=input_tokens, completion_tokens=output_tokens))


def _input_bound(limit: LimitConfig, estimate: int) -> int:
    if limit.input_tpm is not None and limit.input_tpm < estimate <= CERTAINLY_TOO_LARGE * limit.input_tpm:
        return limit.input_tpm
    return estimate


def _output_bound(model: CatalogueModel, limit: LimitConfig, asked: int | None, answers: int) -> int:
    """The most tokens that the answers can have; where the request sets no bound, no more than a share of the limit."""
    most = model.max_output_tokens or model.context_tokens or UNKNOWN_OUTPUT_TOKENS if asked is None else asked
    if model.context_tokens is not None and most > model.context_tokens:
        most = model.context_tokens
    most *= answers
    if asked is None and limit.output_tpm is not None:
        share = limit.output_tpm // UNBOUND_SHARE or 1
        most = min(most, share)
    return most


def _reset_ms(verdict: Verdict) -> int:
    return verdict.window_start_ms + WINDOW_MS - verdict.now_ms


def _refusal(demand: Demand, verdict: Verdict, headers: list[tuple[bytes, bytes]]) -> RateLimited:
    """A refusal in OpenAI's words. One that no waiting helps is told as such, whatever else is in its way."""
    kinds: dict[str, tuple[str, int | None, int, int]] = {
        "input_tokens": ("input tokens", demand.input_limit, verdict.input_tokens, demand.input_tokens),
        "output_tokens": ("output tokens", demand.output_limit, verdict.output_tokens, demand.output_tokens),
        "requests": ("requests", demand.requests_limit, verdict.requests, 1),
        "in_flight": ("concurrent requests", demand.in_flight_limit, verdict.in_flight, 1),
    }
    for what, limit, _, wanted in kinds.values():
        if limit is not None and wanted > limit:
            return RateLimited(
                f"Request too large for {demand.model} on {_a_minute(what)}: Limit {limit}, Requested {wanted}. The "
                "input or output tokens must be reduced in order to run successfully.",
                type="tokens",
                retry_after_ms=None,
                headers=headers,
            )
    if verdict.refused == "budget":
        return InsufficientQuota(headers)
    what, limit, used, wanted = kinds[verdict.refused]
    retry_after_ms = 1000 if verdict.refused == "in_flight" else max(1, _reset_ms(verdict))
    return RateLimited(
        f"Rate limit reached for {demand.model} on {_a_minute(what)}: Limit {limit}, Used {used}, Requested {wanted}. "
        f"Please try again in {retry_after_ms / 1000:g}s.",
        type="tokens" if what.endswith("tokens") else "requests",
        retry_after_ms=retry_after_ms,
        headers=headers,
    )


def _a_minute(what: str) -> str:
    names = {"requests": "requests per min (RPM)", "input tokens": "input tokens per min (input TPM)"}
    names["output tokens"] = "output tokens per min (output TPM)"
    return names.get(what, what)
