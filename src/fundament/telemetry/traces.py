"""Requests as OpenTelemetry spans, sent over OTLP in the background. Off unless the configuration names a collector.

It follows OpenTelemetry's conventions for generative AI: span `chat MODEL`, attributes `gen_ai.*`, no content. A span
is made when its request has ended, of its record; nothing of OpenTelemetry is on the way of a request.
"""

import threading
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fundament import __version__
from fundament.gateway.meter import UsageRecord
from fundament.gateway.trace import Trace

_OPERATIONS = {"chat": "chat", "completions": "text_completion", "responses": "chat"}
LAST_WORDS_S = 1.5
"""How long a worker that ends waits for its last spans to be sent."""
_EXPORT_TIMEOUT_S = 10


class Traces:
    """A `Recorder` of the meter.

    Args:
        endpoint: the collector's OTLP/HTTP address, without `/v1/traces`.
        providers: `gen_ai.provider.name` of each model, by its id.
    """

    def __init__(self, endpoint: str, providers: Mapping[str, str]) -> None:
        self._providers = providers
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=_EXPORT_TIMEOUT_S)
        self._processor = BatchSpanProcessor(exporter)
        self._resource = Resource.create({"service.name": "fundament", "service.version": __version__})
        self._scope = InstrumentationScope("fundament", __version__)

    def begun(self, record: UsageRecord) -> None:
        """A span is made at its end."""

    def settled(self, record: UsageRecord, trace: Trace | None) -> None:
        if trace is None or not trace.sampled:
            return
        operation = _OPERATIONS[record.endpoint]
        start_ns = int(record.time * 1e9)
        failed = record.outcome == "failed"
        self._processor.on_end(
            ReadableSpan(
                f"{operation} {record.asked_model}",
                context=_context(trace.trace_id, trace.span_id, remote=False),
                parent=None if trace.parent_id is None else _context(trace.trace_id, trace.parent_id, remote=True),
                resource=self._resource,
                attributes=self._attributes(operation, record),
                kind=SpanKind.CLIENT,
                status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
                start_time=start_ns,
                end_time=start_ns + int(record.duration_ms * 1e6),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Sends what is left. Blocks for `LAST_WORDS_S` at most, also where nobody answers."""
        last = threading.Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(LAST_WORDS_S)

    def _attributes(self, operation: str, record: UsageRecord) -> dict[str, str | bool | int | float]:
        attributes: dict[str, str | bool | int | float] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": self._providers[record.model],
            "gen_ai.request.model": record.asked_model,
            "gen_ai.request.stream": record.stream,
            "gen_ai.response.model": record.model,
            "gen_ai.usage.input_tokens": record.input_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "http.response.status_code": record.status,
            "fundament.endpoint": record.endpoint,
            "fundament.contract.id": record.contract_id,
            "fundament.key.id": record.key_id,
            "fundament.outcome": record.outcome,
            "fundament.request.id": record.request_id,
        }
        if record.cached_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = record.cached_tokens
        if record.reasoning_tokens:
            attributes["gen_ai.usage.reasoning.output_tokens"] = record.reasoning_tokens
        if record.stream and record.first_byte_ms is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = record.first_byte_ms / 1000
        if record.outcome == "failed":
            attributes["error.type"] = record.error_code or "_OTHER"
        return attributes


def _context(trace_id: str, span_id: str, *, remote: bool) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
