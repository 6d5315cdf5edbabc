"""What each request used: one record, in the journal before the client has the end of its answer.

It knows what is recorded and when; it does not know where the journal is. Prompts and answers are never in a record.
"""

import time
from typing import Literal, Protocol

import msgspec

from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.keys import KeyRecord
from fundament.gateway.prices import Price
from fundament.protocol.usage import Usage

Outcome = Literal["completed", "cancelled", "failed"]


class UsageRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of the journal. Times are Unix seconds, durations milliseconds.

    `tokens_known` tells that the token counts are the server's own and final; without it they are what was counted
    until the request ended early. `first_byte_ms` is when the first event of the answer was there, or all of one that
    is not streamed. `cost_nanos` is what the tokens cost by the price of that moment.
    """

    request_id: str
    time: float
    contract_id: str
    key_id: str
    endpoint: str
    model: str
    asked_model: str
    region: str | None = None
    stream: bool = False
    outcome: Outcome = "failed"
    error_code: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_known: bool = False
    first_byte_ms: float | None = None
    duration_ms: float = 0.0
    cost_nanos: int = 0


class Journal(Protocol):
    def append(self, line: bytes) -> None:
        """Takes one record, which is safe from this process's end before the answer that it belongs to goes out."""
        ...


class Held(Protocol):
    """What a request holds of its contract's quota."""

    def settle(self, outcome: Outcome, usage: Usage | None, cost_nanos: int) -> None: ...


class Metering:
    """The record of one request in the making."""

    __slots__ = ("_held", "_journal", "_price", "_started", "record", "settled")

    def __init__(
        self, journal: Journal, record: UsageRecord, price: Price | None = None, held: Held | None = None
    ) -> None:
        self._held = held
        self._journal = journal
        self._price = price
        self._started = time.perf_counter()
        self.record = record
        self.settled = False

    def first_byte(self) -> None:
        self.record.first_byte_ms = self._elapsed_ms()

    def settle(self, outcome: Outcome, usage: Usage | None, error_code: str | None = None) -> None:
        """Writes the record. The first call counts: what follows an answer's end cannot change what was used."""
        if self.settled:
            return
        self.settled = True
        record = self.record
        record.outcome = outcome
        record.error_code = error_code
        record.duration_ms = self._elapsed_ms()
        if usage is not None:
            record.input_tokens = usage.prompt_tokens
            record.output_tokens = usage.completion_tokens
            record.cached_tokens = usage.cached_tokens
            record.reasoning_tokens = usage.reasoning_tokens
            record.tokens_known = outcome == "completed"
            if self._price is not None:
                record.cost_nanos = self._price.cost_nanos(usage)
        self._journal.append(_encode(record))
        if self._held is not None:
            self._held.settle(outcome, usage, record.cost_nanos)

    def _elapsed_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)


_encode = msgspec.json.Encoder().encode


class Meter:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def write(self, record: UsageRecord) -> None:
        """Takes the record of a request whose own process did not live to write it."""
        self._journal.append(_encode(record))

    def begin(
        self,
        *,
        request_id: str,
        key: KeyRecord,
        endpoint: str,
        model: CatalogueModel,
        asked_model: str,
        stream: bool,
        held: Held | None = None,
    ) -> Metering:
        """Starts the clock of a request that was admitted; what it `held` is settled with it."""
        record = UsageRecord(
            request_id=request_id,
            time=time.time(),
            contract_id=key.contract.id,
            key_id=key.id,
            endpoint=endpoint,
            model=model.id,
            asked_model=asked_model,
            region=model.region,
            stream=stream,
        )
        return Metering(self._journal, record, model.price, held)
