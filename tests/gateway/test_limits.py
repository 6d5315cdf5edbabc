"""From a contract's plan to what a request takes, what it is refused with, and what it gives back."""

import asyncio
from datetime import date
from typing import Any, NoReturn

import pytest
from msgspec.structs import replace

from accounts import CONTRACT
from fundament.errors import InsufficientQuota, RateLimited
from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.limits import Limiter, Reservation
from fundament.gateway.prices import Price
from fundament.protocol.rate_limits import limit_headers
from fundament.protocol.usage import Usage
from fundament.settings import LimitConfig, PlanConfig
from fundament.storage.counters import MemoryCounters

MODEL = CatalogueModel(id="model", created=1, owned_by="x")
LIMITED = replace(CONTRACT, plan="small")
PROMPT = {"prompt": "x" * 40}  # ten tokens


class Desk:
    """A limiter whose clock the test moves."""

    def __init__(self, *limits: LimitConfig, spent_nanos: int = 0) -> None:
        self.now_ms = 1000
        self.counters = MemoryCounters(lambda: self.now_ms * 1_000_000)
        self.asked: list[tuple[str, date]] = []
        self.refused: list[str] = []

        async def spent(contract: str, month: date) -> int:
            self.asked.append((contract, month))
            return spent_nanos

        plans = {"small": PlanConfig(limits=limits), "unlimited": PlanConfig()}
        self.limiter = Limiter(plans, self.counters, spent=spent, refused=self.refused.append)

    async def reserve(self, model: CatalogueModel = MODEL, output_tokens: int | None = 10, **rest: Any) -> Reservation:
        contract = rest.pop("contract", LIMITED)
        request = rest.pop("request", PROMPT)
        held = await self.limiter.reserve(contract, model, lambda: request, output_tokens=output_tokens, **rest)
        assert held is not None
        return held

    async def refusal(self, **demand: Any) -> RateLimited:
        with pytest.raises(RateLimited) as refused:
            await self.reserve(**demand)
        return refused.value


async def left(desk: Desk) -> dict[str, int]:
    """What a request that needs nothing sees."""
    held = await desk.reserve(request={}, output_tokens=0)
    told = limit_headers(held.header_lines())
    return {name.decode()[22:]: int(value) for name, value in told if b"-remaining-" in name}


def never() -> NoReturn:
    raise AssertionError("the request is looked at")


async def test_without_limits_neither_the_counters_are_touched_nor_the_request_is_looked_at() -> None:
    desk = Desk(LimitConfig(rpm=1))
    for _ in range(3):
        assert await desk.limiter.reserve(CONTRACT, MODEL, never, output_tokens=1) is None
    assert not desk.counters._quotas


async def test_each_model_has_the_quota_of_the_star_or_that_of_its_own_row() -> None:
    desk = Desk(LimitConfig(rpm=1), LimitConfig(model="big", rpm=2), LimitConfig(model="free"))
    big, free, third = (replace(MODEL, id=id) for id in ("big", "free", "third"))
    await desk.reserve()
    await desk.reserve(model=third)
    await desk.reserve(model=big)
    await desk.reserve(model=big)
    for model in (MODEL, third, big):
        assert (await desk.refusal(model=model)).type == "requests"
    assert await desk.limiter.reserve(LIMITED, free, never, output_tokens=1) is None
    assert desk.refused == ["requests"] * 3


async def test_all_keys_of_a_contract_share_and_contracts_do_not() -> None:
    desk = Desk(LimitConfig(rpm=1))
    await desk.reserve()
    await desk.reserve(contract=replace(LIMITED, id="contract_2"))
    await desk.refusal()


async def test_a_refusal_is_in_openais_words_and_its_retry_passes() -> None:
    desk = Desk(LimitConfig(rpm=1, input_tpm=100))
    await desk.reserve()
    desk.now_ms += 48_001
    refused = await desk.refusal()
    assert refused.message == (
        "Rate limit reached for model on requests per min (RPM): Limit 1, Used 1, Requested 1. "
        "Please try again in 11.999s."
    )
    assert (refused.status, refused.type, refused.code) == (429, "requests", "rate_limit_exceeded")
    assert (refused.retry_after_s, refused.retry_after_ms) == (12, 11_999)
    assert dict(refused.headers)[b"x-ratelimit-remaining-requests"] == b"0"
    assert dict(refused.headers)[b"x-ratelimit-reset-tokens"] == b"11.999s"
    desk.now_ms += 11_999
    await desk.reserve()


async def test_tokens_of_prompts_and_of_answers_have_limits_of_their_own() -> None:
    desk = Desk(LimitConfig(input_tpm=15, output_tpm=25))
    await desk.reserve(output_tokens=20)
    refused = await desk.refusal(output_tokens=1)
    assert refused.message.startswith(
        "Rate limit reached for model on input tokens per min (input TPM): Limit 15, Used 10"
    )
    assert refused.type == "tokens"
    refused = await desk.refusal(output_tokens=6, request={})
    assert "output tokens per min (output TPM): Limit 25, Used 20, Requested 6." in refused.message


async def test_a_request_that_can_never_pass_is_told_so() -> None:
    desk = Desk(LimitConfig(rpm=1, input_tpm=100, output_tpm=25))
    for demand in ({"output_tokens": 26}, {"request": {"prompt": "x" * 4000}}):
        refused = await desk.refusal(**demand)
        assert refused.message.startswith("Request too large for model on ")
        assert (refused.type, refused.code) == ("tokens", "rate_limit_exceeded")
        assert refused.retry_after_s is None
        assert not refused.retryable
    await desk.reserve()
    assert "too large" in (await desk.refusal(output_tokens=26)).message, "waiting for the next window does not help"


async def test_a_prompt_that_may_fit_in_spite_of_its_estimate_fills_the_limit() -> None:
    desk = Desk(LimitConfig(input_tpm=100))
    held = await desk.reserve(request={"prompt": "x" * 1500})  # 375 tokens, if they were of four bytes
    held.settle("completed", Usage(prompt_tokens=90), 0)
    assert (await left(desk))["tokens"] == 10


async def test_an_answer_is_bound_by_the_request_the_model_and_how_many_are_made() -> None:
    bounds: list[tuple[CatalogueModel, int | None, int, int]] = [
        (MODEL, 100, 1, 100),
        (MODEL, 100, 3, 300),
        (replace(MODEL, context_tokens=50), 100, 1, 50),
        (replace(MODEL, max_output_tokens=30, context_tokens=50), None, 2, 60),
        (replace(MODEL, context_tokens=8192), None, 1, 1000),
        (MODEL, None, 1, 1000),
    ]
    for model, asked, answers, reserved in bounds:
        desk = Desk(LimitConfig(output_tpm=10_000))
        await desk.reserve(model=model, output_tokens=asked, answers=answers)
        assert await left(desk) == {"output-tokens": 10_000 - reserved}


async def test_requests_without_a_bound_pass_beside_each_other() -> None:
    desk = Desk(LimitConfig(output_tpm=150_000))
    held = [await desk.reserve(model=replace(MODEL, context_tokens=131_072), output_tokens=None) for _ in range(10)]
    for one in held:
        one.settle("completed", Usage(completion_tokens=100), 0)
    assert await left(desk) == {"output-tokens": 149_000}


@pytest.mark.parametrize(
    ("outcome", "usage", "used"),
    [
        ("completed", Usage(7, 3), (7, 3)),
        ("completed", Usage(30, 40), (30, 40)),
        ("completed", None, (10, 10)),  # a server that does not account
        ("cancelled", Usage(7, 2), (7, 2)),
        ("cancelled", Usage(0, 4), (10, 4)),  # cut off before the server told of the prompt
        ("cancelled", None, (10, 0)),
        ("failed", None, (0, 0)),
        ("failed", Usage(0, 0), (0, 0)),
        ("failed", Usage(0, 5), (10, 5)),
    ],
)
async def test_what_was_not_used_is_given_back(outcome: Any, usage: Usage | None, used: tuple[int, int]) -> None:
    desk = Desk(LimitConfig(rpm=100, input_tpm=100, output_tpm=100, max_in_flight=2))
    held = await desk.reserve()
    held.settle(outcome, usage, 0)
    assert await left(desk) == {"requests": 98, "tokens": 100 - used[0], "output-tokens": 100 - used[1]}
    await desk.reserve()  # its place among those at once is free, too


async def test_so_many_at_once_and_no_more() -> None:
    desk = Desk(LimitConfig(max_in_flight=2))
    held = [await desk.reserve() for _ in range(2)]
    refused = await desk.refusal()
    assert "on concurrent requests: Limit 2, Used 2, Requested 1. Please try again in 1s." in refused.message
    assert (refused.type, refused.retry_after_s) == ("requests", 1)
    held[0].settle("cancelled", None, 0)
    await desk.reserve()


PRICED = replace(MODEL, price=Price(input=100, cached_input=50, output=1000))


async def test_a_budget_counts_from_what_the_ledger_knows() -> None:
    desk = Desk(spent_nanos=5000)
    contract = replace(CONTRACT, monthly_budget_nanos=30_000)
    held = await desk.reserve(model=PRICED, contract=contract)  # 10 * 100 + 10 * 1000
    await desk.reserve(model=PRICED, contract=contract)
    refused = await desk.refusal(model=PRICED, contract=contract)
    assert isinstance(refused, InsufficientQuota)
    assert (refused.type, refused.code, refused.retryable) == ("insufficient_quota", "insufficient_quota", False)
    held.settle("completed", Usage(10, 1), 2000)
    await desk.reserve(model=PRICED, contract=contract, output_tokens=5)
    assert [contract for contract, _ in desk.asked] == ["contract_1"]
    assert desk.asked[0][1].day == 1


async def test_many_at_the_same_time_do_not_seed_a_budget_twice() -> None:
    desk = Desk(spent_nanos=19_000)
    contract = replace(CONTRACT, monthly_budget_nanos=30_000)
    asked = await asyncio.gather(
        *(desk.reserve(model=PRICED, contract=contract) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(one, Reservation) for one in asked) == 1
