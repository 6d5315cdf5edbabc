"""What each request used: one record, in the journal before the client has the end of its answer.

It knows what is recorded and when; it does not know where the journal is, nor what is made of records beside it: that
is told to `Recorder`s. Prompts and answers are never in a record.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.keys import KeyRecord
from fundament.gateway.prices import Price
from fundament.gateway.trace import Trace, continued
from fundament.protocol.usage import Usage

Endpoint = Literal["chat", "completions", "responses"]
Outcome = Literal["completed", "cancelled", "failed"]
CLIENT_LEFT = 499
"""The status of a request whose client left before its answer began; nginx's number for it."""


class UsageRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of the journal. Times are Unix seconds, durations milliseconds.

    `tokens_known` tells that the token counts are the server's own and final; without it they are what was counted
    until the request ended early. `first_byte_ms` is when the first event of the answer was there, or all of one that
    is not streamed. `cost_nanos` is what the tokens cost by the price of that moment. `status` is the HTTP
    status: what follows an answer's beginning cannot change it.
    """

    request_id: str
    time: float
    contract_id: str
    key_id: str
    endpoint: Endpoint
    model: str
    asked_model: str
    region: str | None = None
    stream: bool = False
    status: int = 200
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

    def flush(self) -> None:
        """Makes what it took safe from this process's end now."""
        ...


class Held(Protocol):
    """What a request holds of its contract's quota."""

    def settle(self, outcome: Outcome, usage: Usage | None, cost_nanos: int) -> None: ...


class Recorder(Protocol):
    """Who is told of every request: metrics, the access log, traces. It must not raise, and must be quick."""

    def begun(self, record: UsageRecord) -> None: ...

    def settled(self, record: UsageRecord, trace: Trace | None) -> None: ...


class Metering(msgspec.Struct):
    """The record of one request in the making."""

    journal: Journal
    record: UsageRecord
    price: Price | None = None
    held: Held | None = None
    recorders: Sequence[Recorder] = ()
    trace: Trace | None = None
    settled: bool = False
    started: float = msgspec.field(default_factory=time.perf_counter)

    def first_byte(self) -> None:
        """The answer begins; later calls change nothing."""
        if self.record.first_byte_ms is None:
            self.record.first_byte_ms = self._elapsed_ms()

    def settle(
        self, outcome: Outcome, usage: Usage | None, error_code: str | None = None, *, status: int = 200
    ) -> None:
        """Writes the record. The first call counts: what follows an answer's end cannot change what was used.

        Args:
            status: that of the answer if nothing of it was sent before.
        """
        if self.settled:
            return
        self.settled = True
        record = self.record
        record.outcome = outcome
        record.error_code = error_code
        record.duration_ms = self._elapsed_ms()
        if record.first_byte_ms is None:
            record.status = status
        if usage is not None:
            record.input_tokens = usage.prompt_tokens
            record.output_tokens = usage.completion_tokens
            record.cached_tokens = usage.cached_tokens
            record.reasoning_tokens = usage.reasoning_tokens
            record.tokens_known = outcome == "completed"
            if self.price is not None:
                record.cost_nanos = self.price.cost_nanos(usage)
        self.journal.append(_encode(record))
        if self.held is not None:
            self.held.settle(outcome, usage, record.cost_nanos)
        for recorder in self.recorders:
            recorder.settled(record, self.trace)

    def _elapsed_ms(self) -> float:
        return round((time.perf_counter() - self.started) * 1000, 2)


_encode = msgspec.json.Encoder().encode


class Meter:
    """Begins the records of requests.

    Args:
        recorders: told of every request beside the journal.
        tracing: whether requests belong to traces, their clients' or new ones.
    """

    def __init__(self, journal: Journal, recorders: Sequence[Recorder] = (), *, tracing: bool = False) -> None:
        self._journal = journal
        self._recorders = recorders
        self._tracing = tracing

    def trace(self, headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
        """The place in a trace of a request with these headers; None if nobody traces."""
        return continued(headers) if self._tracing else None

    def write(self, record: UsageRecord) -> None:
        """Takes the record of a request whose own process did not live to write it."""
        self._journal.append(_encode(record))

    def flush(self) -> None:
        """Makes all records safe from this process's end; for requests whose end is not an answer."""
        self._journal.flush()

    def begin(
        self,
        *,
        request_id: str,
        key: KeyRecord,
        endpoint: Endpoint,
        model: CatalogueModel,
        asked_model: str,
        stream: bool,
        trace: Trace | None = None,
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
        for recorder in self._recorders:
            recorder.begun(record)
        return Metering(self._journal, record, price=model.price, held=held, recorders=self._recorders, trace=trace)
