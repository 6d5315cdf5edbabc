"""What is asked of whoever counts: one atomic step that takes all of a request's share or nothing, and its correction.

It knows the words of that conversation, which also go over the wire to a counter store: each struct is an array there.
It does not know where the counts are, nor what follows from an answer.
"""

from typing import Literal, Protocol

from msgspec import Struct

WINDOW_MS = 60_000
"""A window begins with the first request that passes and ends so much later; then all is there again."""

Refusal = Literal["requests", "input_tokens", "output_tokens", "in_flight", "budget"]


class Demand(Struct, frozen=True, array_like=True, tag=1, gc=False):
    """One request's share of the quota that `contract` has of `model`: its limits, and what it may need of each.

    None is no limit. Budget and costs are in 1e-9 of the currency; `month` is that of the budget, as 202611;
    `spent_nanos` is what was spent in it, for a store that does not know.
    """

    contract: str
    model: str
    requests_limit: int | None
    input_limit: int | None
    output_limit: int | None
    in_flight_limit: int | None
    input_tokens: int
    output_tokens: int
    budget_nanos: int | None = None
    month: int = 0
    cost_nanos: int = 0
    spent_nanos: int | None = None


class Verdict(Struct, frozen=True, array_like=True, gc=False):
    """What became of a demand, and what is used of the quota since `window_start_ms`, with this demand if it passed.

    `refused` is "" when it passed, "unseeded" when the budget's count must be told first, "late" when nobody waits for
    the answer any more. Times are milliseconds of the counting side's clock.
    """

    refused: Refusal | Literal["", "unseeded", "late"]
    window_start_ms: int
    now_ms: int
    requests: int
    input_tokens: int
    output_tokens: int
    in_flight: int


class Settlement(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """What is added (or, negative, given back) when a request that passed is over.

    Tokens count in the window that they were taken from, and are forgotten when it is; costs count in their month.
    `in_flight` tells whether the request had a place among those at once; `month` None, whether it had a budget.
    """

    contract: str
    model: str
    window_start_ms: int
    input_tokens: int
    output_tokens: int
    in_flight: bool
    month: int | None = None
    cost_nanos: int = 0


def given_back(
    demand: Demand, verdict: Verdict, *, input_tokens: int, output_tokens: int, cost_nanos: int
) -> Settlement:
    """The settlement of a demand that passed, from what was really used."""
    return Settlement(
        demand.contract,
        demand.model,
        verdict.window_start_ms,
        input_tokens - demand.input_tokens,
        output_tokens - demand.output_tokens,
        demand.in_flight_limit is not None,
        None if demand.budget_nanos is None else demand.month,
        cost_nanos - demand.cost_nanos,
    )


class Counters(Protocol):
    """Where the counts are."""

    async def reserve(self, demand: Demand) -> Verdict | None:
        """Takes all that is demanded or nothing, in one step; None lets it pass uncounted: the store is away.

        Raises:
            Unavailable: the store is away, and nobody is let through meanwhile.
        """
        ...

    def settle(self, settlement: Settlement) -> None:
        """Takes the correction on; it is made soon."""
        ...
