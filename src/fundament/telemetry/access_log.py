"""One line for each request: who asked what, how it ended, what it took. Off unless the configuration wants it.

It knows ids, numbers and names of models; it never sees a prompt, an answer or a key. The lines of one turn of the
event loop are written together: written alone, each would cost more than all the rest of telemetry.
"""

import asyncio
import contextlib
import os
import select
from datetime import UTC, datetime
from typing import TextIO

import msgspec
import structlog

from fundament.gateway.meter import UsageRecord
from fundament.gateway.trace import Trace
from fundament.telemetry.exchange import Exchange

QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
"""What machines ask every few seconds."""
_LONGEST_PATH = 200  # characters of a client's URL


class AccessLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The line of a request. Durations are milliseconds; what does not apply is left out."""

    timestamp: datetime
    level: str
    event: str
    request_id: str
    trace_id: str | None = None
    method: str | None = None
    path: str | None = None
    endpoint: str | None = None
    model: str | None = None
    contract_id: str | None = None
    key_id: str | None = None
    stream: bool = False
    status: int
    outcome: str | None = None
    error_code: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    first_byte_ms: float | None = None
    duration_ms: float


_encode = msgspec.json.Encoder().encode


class AccessLog:
    """Writes to `stream`: JSON, or for people where it is a terminal. Belongs to one event loop."""

    def __init__(self, stream: TextIO) -> None:
        self._descriptor = stream.fileno()
        self._terminal = stream.isatty()
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

    def begun(self, record: UsageRecord) -> None:
        """Nothing is written before the end."""

    def settled(self, record: UsageRecord, trace: Trace | None) -> None:
        self._write(
            AccessLine(
                timestamp=datetime.now(UTC),
                level="info",
                event="request",
                request_id=record.request_id,
                trace_id=trace and trace.trace_id,
                endpoint=record.endpoint,
                model=record.model,
                contract_id=record.contract_id,
                key_id=record.key_id,
                stream=record.stream,
                status=record.status,
                outcome=record.outcome,
                error_code=record.error_code,
                input_tokens=record.input_tokens,
                cached_tokens=record.cached_tokens,
                output_tokens=record.output_tokens,
                reasoning_tokens=record.reasoning_tokens,
                first_byte_ms=record.first_byte_ms,
                duration_ms=record.duration_ms,
            )
        )

    def answered(self, exchange: Exchange) -> None:
        """Another HTTP request than one to a model ended."""
        if exchange.path in QUIET:
            return
        self._write(
            AccessLine(
                timestamp=datetime.now(UTC),
                level="info",
                event="request",
                request_id=exchange.request_id,
                method=exchange.method,
                path=exchange.path[:_LONGEST_PATH],
                status=exchange.status,
                duration_ms=exchange.duration_ms,
            )
        )

    def flush(self) -> None:
        """Writes the lines now, each whole: what other processes write to the same pipe cannot come in between."""
        data = b""
        with contextlib.suppress(OSError):  # nobody reads any more, or the disk is full: requests go on
            for line in self._lines:
                if data and len(data) + len(line) > select.PIPE_BUF:
                    os.write(self._descriptor, data)
                    data = b""
                data += line
            if data:
                os.write(self._descriptor, data)
        self._lines.clear()

    def _write(self, line: AccessLine) -> None:
        if self._terminal:
            fields = msgspec.to_builtins(line)
            self._log.info(fields.pop("event"), **{key: fields[key] for key in fields.keys() - {"timestamp", "level"}})
            return
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(_encode(line) + b"\n")
