"""The way of a request that generates: one path for chat and completions, streamed and whole.

It joins admission, validation, backend and meter in their order; each of them knows its own part. Who reads this file
has read the service: see docs/life-of-a-request.md.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

from starlette.types import Receive, Scope, Send

from fundament.api.edge import send_json
from fundament.api.requests import decode_object, header, read_body
from fundament.api.streaming import ClientWatch, relay, stopping
from fundament.backends.call import Answer, Backend, Call
from fundament.errors import RequestError
from fundament.gateway.admission import Admission
from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.limits import Limiter
from fundament.gateway.meter import CLIENT_LEFT, Meter, Metering, Outcome
from fundament.gateway.trace import Trace
from fundament.protocol.chat import ChatRequest
from fundament.protocol.completions import CompletionRequest

RequestT = TypeVar("RequestT", ChatRequest, CompletionRequest)


class Generation(ABC, Generic[RequestT]):
    """An endpoint that generates, as an ASGI callable. Its two kinds say what is theirs."""

    kind: Literal["chat", "completions"]
    id_prefix: str

    def __init__(
        self,
        admission: Admission,
        upstreams: Mapping[str, Backend],
        limiter: Limiter,
        meter: Meter,
        *,
        max_body_bytes: int,
    ) -> None:
        self._admission = admission
        self._upstreams = upstreams
        self._limiter = limiter
        self._meter = meter
        self._max_body_bytes = max_body_bytes

    @abstractmethod
    def validate(self, body: Mapping[str, Any]) -> RequestT:
        """The typed request; raises InvalidRequest."""

    @abstractmethod
    def check(self, model: CatalogueModel, request: RequestT) -> None:
        """Holds the request against the model; raises InvalidRequest."""

    @abstractmethod
    def output_tokens(self, request: RequestT) -> int | None:
        """The most tokens that each answer may have; None if the request does not say."""

    def prompts(self, request: RequestT) -> int:  # noqa: ARG002 - completions override it
        """How many prompts are asked at once."""
        return 1

    def candidates(self, request: RequestT) -> int:
        """How many answers are made to each prompt."""
        return request.n or 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = await self._admission.authenticate(header(scope, b"authorization"))
        data = await read_body(scope, receive, self._max_body_bytes)
        body = decode_object(data)
        request = self.validate(body)
        model = self._admission.admit(key, request.model)
        self.check(model, request)
        request_id: str = scope["request_id"]
        trace = self._meter.trace(scope["headers"])
        call = self._call(request_id, body, request, trace)
        held = await self._limiter.reserve(
            key.contract,
            model,
            lambda: body,
            output_tokens=self.output_tokens(request),
            answers=call.choices,
            size_bytes=len(data),
        )
        if held is not None:
            scope["connection"].tell(held.header_lines())
        metering = self._meter.begin(
            request_id=request_id,
            key=key,
            endpoint=self.kind,
            model=model,
            asked_model=call.model,
            stream=call.stream,
            held=held,
            trace=trace,
        )
        scope["metered"] = True
        await self._serve(self._upstreams[model.id], call, ClientWatch(scope["connection"]), send, metering)

    async def _serve(self, upstream: Backend, call: Call, watch: ClientWatch, send: Send, metering: Metering) -> None:
        answer: Answer | None = None
        outcome: Outcome = "cancelled"
        error_code: str | None = None
        status = CLIENT_LEFT
        try:
            answer = await upstream.open(call)
            if call.stream:
                await relay(answer, send, watch, metering)
            else:
                body = await answer.whole()
                watch.stop()
                metering.settle("completed", answer.usage)
                await send_json(send, body)
        except RequestError as failure:
            outcome, error_code, status = "failed", failure.code, failure.status
            raise
        except asyncio.CancelledError:
            if not watch.left:
                ending = stopping()
                outcome, error_code, status = "failed", ending.code, ending.status
                raise ending from None
        finally:
            watch.stop()
            if answer is not None:
                answer.close()
            metering.settle(outcome, None if answer is None else answer.usage, error_code, status=status)

    def _call(self, request_id: str, body: Mapping[str, Any], request: RequestT, trace: Trace | None) -> Call:
        options = request.stream_options
        return Call(
            kind=self.kind,
            body=body,
            model=request.model,
            stream=bool(request.stream),
            include_usage=bool(options and options.include_usage),
            prompts=self.prompts(request),
            n=self.candidates(request),
            kept=request.n or 1,
            id=self.id_prefix + request_id[-24:],
            created=int(time.time()),
            traceparent=trace and trace.traceparent,
        )
