"""One response that is made while its client waits. It joins admission, history, making, keeping and metering.

It knows their order and what is said of a failure when; it does not know how the client is connected.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from fundament.api.desk import Desk
from fundament.api.streaming import stopping
from fundament.errors import RequestError
from fundament.gateway.catalogue import refuse_too_much_output
from fundament.gateway.keys import KeyRecord
from fundament.gateway.meter import CLIENT_LEFT, Metering, Outcome
from fundament.gateway.state import StoredResponse
from fundament.gateway.trace import Trace
from fundament.protocol.responses import ResponsesRequest
from fundament.responses.background import conversation_items
from fundament.responses.fold import Event
from fundament.responses.history import Json, history_of, kept
from fundament.responses.ids import ids
from fundament.responses.making import Making
from fundament.responses.native import AnyMaking, NativeMaking
from fundament.responses.references import with_items

T = TypeVar("T")


class Watch(Protocol):
    """Cancels the task that makes a response when its client leaves, until it is stopped."""

    left: bool

    def stop(self) -> None: ...


class Listener(Protocol):
    """Who is told how a response comes about."""

    async def begin(self) -> None:
        """The model answers: from here on, failures are events."""
        ...

    async def tell(self, events: list[Event]) -> None: ...

    async def fail(self, failure: RequestError, number: int) -> None:
        """The response could not be told to its end; `number` is the sequence number of the event that says so."""
        ...


async def begin(
    desk: Desk,
    key: KeyRecord,
    request: ResponsesRequest,
    request_id: str,
    *,
    body: Json | None,
    trace: Trace | None,
    memory: "Memory | None" = None,
) -> "Creation":
    """Admits a request and finds what came before it.

    Args:
        body: the request as it came, for a server that speaks Responses; None has a chat asked in any case.
        memory: what the client's connection remembers of responses, if it does.

    Raises:
        RequestError: the model, a parameter or what the request goes on from is not there.
    """
    model = desk.admission.admit(key, request.model)
    refuse_too_much_output(model, "max_output_tokens", request.max_output_tokens)
    history = None if memory is None else memory.recall(request.previous_response_id)
    if history is None:
        history = await history_of(desk.store, key.contract.id, request)
    request = await with_items(desk.store, key.contract.id, request, history)
    new_id = ids(request_id)
    id = new_id("resp")
    created_at = int(time.time())
    upstream = desk.upstreams[model.id]
    native = body if upstream.speaks_responses else None
    conversation_id = request.conversation_id
    goes_on = request.stored or conversation_id is not None or memory is not None
    input = kept(request.items, new_id) if goes_on or native is not None else []
    making: AnyMaking
    if native is not None:
        reasons = goes_on and (upstream.reasons or request.reasoning is not None)
        making = NativeMaking(
            request,
            native,
            history,
            input,
            upstream,
            id=id,
            created_at=created_at,
            new_id=new_id,
            reasons=reasons,
            traceparent=trace and trace.traceparent,
        )
    else:
        making = Making(
            request,
            history,
            upstream,
            id=id,
            created_at=created_at,
            new_id=new_id,
            allow_private=desk.allow_private_addresses,
            traceparent=trace and trace.traceparent,
        )
    stored = StoredResponse(
        id=id,
        owner=key.contract.id,
        created_at=created_at,
        response=making.fold.response,
        input=input,
        previous_response_id=request.previous_response_id,
        conversation_id=conversation_id,
    )
    held = await desk.limiter.reserve(key.contract, model, making.asked, output_tokens=request.max_output_tokens)
    metering = desk.meter.begin(
        request_id=request_id,
        key=key,
        endpoint="responses",
        model=model,
        asked_model=request.model,
        stream=bool(request.stream),
        held=held,
        trace=trace,
    )
    limit_lines = b"" if held is None else held.header_lines()
    return Creation(desk, request, history, stored, making, metering, new_id, limit_lines)


class Memory:
    """The last response of a connection with all that led to it, also where nothing is stored.

    It lives as long as the connection, and an answer that failed leaves it as it was.
    """

    def __init__(self) -> None:
        self._id: str | None = None
        self._items: list[Json] = []

    def recall(self, id: str | None) -> list[Json] | None:
        """The items up to the end of the response `id`; None if it is not the last one."""
        return self._items if id is not None and id == self._id else None

    def remember(self, creation: "Creation") -> None:
        if creation.making.fold.status in {"completed", "incomplete"}:
            response = creation.making.fold.response
            self._id = response["id"]
            self._items = [*creation.history, *creation.stored.input, *response["output"]]


class Creation(Struct, frozen=True):
    """A response between its admission and its end.

    `history` are the items before the request's own, `limit_lines` the header lines that tell its client of its limits.
    """

    desk: Desk
    request: ResponsesRequest
    history: list[Json]
    stored: StoredResponse
    making: AnyMaking
    metering: Metering
    new_id: Callable[[str], str]
    limit_lines: bytes

    @property
    def padded(self) -> bool:
        """Whether the lengths of deltas are to be hidden."""
        options = self.request.stream_options
        return options is None or options.include_obfuscation is not False

    async def whole(self, watch: Watch) -> Json | None:
        """The response when it is complete; None if the client left before.

        Raises:
            RequestError: the model's server failed, or the response could not be kept.
        """
        return await self._guarded(watch, self._make(watch))

    async def stream(self, watch: Watch, listener: Listener) -> None:
        """Tells the response as it is made.

        Raises:
            RequestError: the model's server failed before it began to answer; nothing was told.
        """
        await self._guarded(watch, self._tell(watch, listener))

    async def prepare(self, listener: Listener) -> None:
        """Tells a response without an answer, for later ones to go on from.

        Raises:
            RequestError: it could not be kept.
        """
        try:
            events = [*self.making.fold.start(), *self.making.fold.finish_unanswered(int(time.time()))]
            await self._keep()
        except RequestError as failure:
            self.settle(failure)
            raise
        self.settle(None)
        await listener.tell(events)

    def settle(self, failure: RequestError | None, *, http_status: int = 200) -> None:
        """Writes the usage record of a response that has ended, by how it ended."""
        status = self.making.fold.status
        if failure is not None or status == "failed":
            error: dict[str, Any] = self.making.fold.response.get("error") or {}
            code = failure.code if failure is not None else error.get("code")
            self.metering.settle("failed", self.making.usage, code, status=http_status)
        else:
            self.metering.settle("cancelled" if status == "cancelled" else "completed", self.making.usage)

    async def _make(self, watch: Watch) -> Json:
        await self.making.open(stream=False)
        await self.making.whole()
        await self._keep()
        watch.stop()
        self.settle(None)
        return self.stored.response

    async def _tell(self, watch: Watch, listener: Listener) -> None:
        await self.making.open(stream=True)
        await self.making.peek()
        await listener.begin()
        number = -1
        try:
            async for events in self.making.events():
                if events[-1]["type"] != "response.in_progress":  # which is said before the model says anything
                    self.metering.first_byte()
                if self.making.ended:
                    await self._keep()
                    self.settle(None)
                    watch.stop()
                await listener.tell(events)
                number = events[-1]["sequence_number"]
        except RequestError as failure:  # it could not be kept: what was said stands, but will not be found
            self.settle(failure)
            # It stands in the place of the events that are not told: nobody can go on from a response that is not kept.
            await listener.fail(failure, number + 1)
        except asyncio.CancelledError:
            if watch.left:
                raise
            await listener.tell(self.making.fold.fail(stopping()))
            self.settle(stopping())

    async def _guarded(self, watch: Watch, work: Awaitable[T]) -> T | None:
        """However the work ends, it is settled and the model's server is let go; the client's leaving is no failure."""
        outcome: Outcome = "cancelled"
        error_code: str | None = None
        status = CLIENT_LEFT
        try:
            return await work
        except RequestError as failure:
            outcome, error_code, status = "failed", failure.code, failure.status
            raise
        except asyncio.CancelledError:
            if not watch.left:
                ending = stopping()
                outcome, error_code, status = "failed", ending.code, ending.status
                raise ending from None
            return None
        finally:
            watch.stop()
            await self.making.close()
            self.metering.settle(outcome, self.making.usage, error_code, status=status)

    async def _keep(self) -> None:
        """Keeps the response before its end is told: who has read it may go on from it, also at another process."""
        self.stored.response = self.making.fold.response
        if self.request.stored:
            await self.desk.store.save(self.stored, conversation_items(self.stored))
        elif items := conversation_items(self.stored):
            await self.desk.store.add_items(self.stored.owner, self.request.conversation_id or "", items)
