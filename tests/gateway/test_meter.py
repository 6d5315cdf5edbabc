"""One record a request, with what was used, and the first outcome counts."""

import time
from typing import Any

import msgspec
import pytest

from accounts import KEY
from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.meter import Meter, Metering, UsageRecord
from fundament.gateway.prices import Price
from fundament.protocol.usage import CompletionDetails, PromptDetails, Usage

PRICE = Price(input=150, cached_input=75, output=600)
MODEL = CatalogueModel(id="model", created=1, owned_by="x", aliases=("alias",), region="ch", price=PRICE)
USAGE = Usage(10, 5, 15, PromptDetails(cached_tokens=4), CompletionDetails(reasoning_tokens=2))


class Lines(list[bytes]):
    """A journal in memory; a list appends already."""


def begun(lines: Lines) -> Metering:
    return Meter(lines).begin(
        request_id="req_1", key=KEY, endpoint="chat", model=MODEL, asked_model="alias", stream=True
    )


def only(lines: Lines) -> UsageRecord:
    [line] = lines
    assert b"\n" not in line
    return msgspec.json.decode(line, type=UsageRecord)


def test_a_record_says_who_asked_what_and_what_it_took() -> None:
    lines = Lines()
    before = time.time()
    metering = begun(lines)
    time.sleep(0.01)
    metering.first_byte()
    time.sleep(0.01)
    assert not lines
    metering.settle("completed", USAGE)
    record = only(lines)
    assert (record.request_id, record.key_id, record.endpoint) == ("req_1", "key_1", "chat")
    assert (record.contract_id, record.region) == (KEY.contract.id, "ch")
    assert record.cost_nanos == 6 * 150 + 4 * 75 + 5 * 600
    assert (record.model, record.asked_model, record.stream) == ("model", "alias", True)
    assert (record.outcome, record.error_code, record.tokens_known) == ("completed", None, True)
    assert (record.input_tokens, record.cached_tokens) == (10, 4)
    assert (record.output_tokens, record.reasoning_tokens) == (5, 2)
    assert before <= record.time <= time.time()
    assert record.first_byte_ms is not None
    assert 10 <= record.first_byte_ms <= record.duration_ms - 10


def test_nobody_is_named_and_no_secret_kept() -> None:
    lines = Lines()
    begun(lines).settle("completed", USAGE)
    assert b"somebody" not in lines[0]
    assert b"xxxx" not in lines[0]


@pytest.mark.parametrize("outcome", ["cancelled", "failed"])
def test_tokens_of_an_answer_that_did_not_end_are_counted_but_not_final(outcome: Any) -> None:
    lines = Lines()
    begun(lines).settle(outcome, USAGE, "some_code")
    record = only(lines)
    assert (record.outcome, record.error_code) == (outcome, "some_code")
    assert (record.input_tokens, record.output_tokens, record.tokens_known) == (10, 5, False)


@pytest.mark.parametrize("outcome", ["completed", "cancelled", "failed"])
def test_without_a_usage_nothing_is_claimed(outcome: Any) -> None:
    lines = Lines()
    begun(lines).settle(outcome, None)
    record = only(lines)
    assert record.outcome == outcome
    assert (record.input_tokens, record.output_tokens, record.tokens_known) == (0, 0, False)


def test_what_follows_the_first_outcome_changes_nothing() -> None:
    lines = Lines()
    metering = begun(lines)
    metering.settle("completed", USAGE)
    metering.settle("failed", None, "late")
    metering.settle("cancelled", Usage(99, 99, 198))
    assert (only(lines).outcome, only(lines).output_tokens) == ("completed", 5)


@pytest.mark.parametrize(
    "usage", [b'{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":null}', b"{}"]
)
def test_a_usage_with_less_than_openais_fields_is_a_usage(usage: bytes) -> None:
    decoded = msgspec.json.decode(usage, type=Usage)
    assert (decoded.cached_tokens, decoded.reasoning_tokens) == (0, 0)
