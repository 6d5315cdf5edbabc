"""One record a request, with what was used, and the first outcome counts."""

import time
from typing import Any

import msgspec
import pytest

from accounts import KEY
from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.meter import Meter, Metering, UsageRecord
from fundament.gateway.prices import Price
from fundament.gateway.trace import Trace, continued
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


@pytest.mark.parametrize(("begun_before", "status"), [(False, 502), (True, 200)])
def test_a_failure_has_its_status_unless_the_answer_had_begun(begun_before: bool, status: int) -> None:
    lines = Lines()
    metering = begun(lines)
    if begun_before:
        metering.first_byte()
    metering.settle("failed", None, "upstream_error", status=502)
    assert only(lines).status == status


def test_an_answer_begins_once() -> None:
    metering = begun(Lines())
    metering.first_byte()
    first = metering.record.first_byte_ms
    time.sleep(0.005)
    metering.first_byte()
    assert metering.record.first_byte_ms == first


class Told:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, UsageRecord, Trace | None]] = []

    def begun(self, record: UsageRecord) -> None:
        self.said.append(("begun", record, None))

    def settled(self, record: UsageRecord, trace: Trace | None) -> None:
        self.said.append(("settled", record, trace))


def test_recorders_are_told_of_the_beginning_and_once_of_the_end() -> None:
    lines, told = Lines(), Told()
    trace = continued([])
    metering = Meter(lines, [told]).begin(
        request_id="req_1", key=KEY, endpoint="chat", model=MODEL, asked_model="alias", stream=True, trace=trace
    )
    assert [word for word, _, _ in told.said] == ["begun"]
    metering.settle("completed", USAGE)
    metering.settle("failed", None)
    assert told.said == [("begun", metering.record, None), ("settled", metering.record, trace)]
    assert (metering.record.outcome, metering.record.output_tokens) == ("completed", 5)


def test_nobody_traces_unless_told_to() -> None:
    headers = [(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    assert Meter(Lines()).trace(headers) is None
    trace = Meter(Lines(), tracing=True).trace(headers)
    assert trace is not None
    assert trace.parent_id == "b7ad6b7169203331"
