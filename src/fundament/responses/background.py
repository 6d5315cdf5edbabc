"""Responses that are made while nobody waits: one task each, in the process that was asked.

Their state and their events go to the store as they come, so that any process can tell them, also after this one is
gone. A job whose process died is found by the silence of its runner, and has failed: what is known of it is put
together of its events by whoever finds it. It knows no HTTP.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
from msgspec.structs import replace

from fundament.errors import ModelNotFound, RequestError, Unavailable
from fundament.gateway.catalogue import Catalogue
from fundament.gateway.meter import Meter, UsageRecord
from fundament.gateway.state import Events, StateStore, StoredResponse
from fundament.protocol.usage import Usage
from fundament.responses.events import event_of, sse
from fundament.responses.fold import Event
from fundament.responses.ids import request_id_of
from fundament.responses.native import AnyMaking
from fundament.responses.resource import ENDED, Json
from fundament.responses.retelling import Retelling

BEAT_S = 1.0
SILENT_S = 6.0
"""A runner that has not told for so long that it lives is dead: two stalls of a busy machine are less."""
FLUSH_S = 0.1
FOLLOW_S = 0.1
ORPHANS_A_LOOK = 50

Settle = Callable[[AnyMaking, RequestError | None], None]


class Job:
    """A response that is being made here. `events` are all so far, as they are sent, with their numbers."""

    def __init__(self, stored: StoredResponse, making: AnyMaking) -> None:
        self.stored = stored
        self.making = making
        self.events: list[tuple[int, bytes]] = []
        self.flushed = 0  # how many of the events the store has: others are told to nobody, they could be lost
        self.ending = False
        self.ended = False
        self.cancelled = False
        self.task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def tell(self, events: list[Event]) -> None:
        self.events += [(event["sequence_number"], sse(event)) for event in events]
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        await self._changed.wait()

    def interrupt(self) -> None:
        """Breaks the making off. One that comes to its end already is left to it."""
        if self.task is not None and not self.ending:
            self.task.cancel()


class Background:
    """The jobs of this process, and the look after those of processes that died."""

    def __init__(self, store: StateStore, catalogue: Catalogue, meter: Meter) -> None:
        self.runner = _new_runner()
        self._store = store
        self._catalogue = catalogue
        self._meter = meter
        self._jobs: dict[str, Job] = {}
        self._closing = False
        self._log: Any = structlog.get_logger(__name__)

    async def start(self, stored: StoredResponse, making: AnyMaking, settle: Settle) -> Job:
        """Keeps the response as queued and begins to make it.

        Args:
            settle: told once how it ended, for its usage.

        Raises:
            Unavailable: it could not be kept, and is not made.
        """
        job = Job(stored, making)
        job.tell(making.fold.queue())
        stored.response = making.fold.response
        stored.runner = self.runner
        await self._store.beat(self.runner)
        await self._store.save(stored)
        self._jobs[stored.id] = job
        job.task = asyncio.create_task(self._run(job, settle))
        return job

    async def follow(self, owner: str, id: str, after: int) -> AsyncIterator[Events]:
        """The events of a response numbered above `after`, as they come, some at a time, until it has ended.

        Raises:
            Unavailable: the store cannot be read.
        """
        job = self._jobs.get(id)
        while job is not None:
            told = [(number, data) for number, data in job.events[: job.flushed] if number > after]
            if told:
                after = told[-1][0]
                yield told
            elif job.ended:
                break
            else:
                await job.changed()
        while True:
            stored = await self._store.find(owner, id)
            ended = stored is None or stored.response["status"] in ENDED
            # Its end was kept with its last events: what is read after it is all.
            events = await self._store.events(id, after)
            if events:
                after = events[-1][0]
                yield events
            if ended:
                return
            await asyncio.sleep(FOLLOW_S)

    async def cancel(self, stored: StoredResponse) -> Json:
        """Ends a response that is being made, wherever; gives it as it is then. One that has ended stays as it is."""
        job = self._jobs.get(stored.id)
        if job is None:
            return await self._cancel_elsewhere(stored)
        job.cancelled = True
        job.interrupt()
        if job.task is not None:
            await asyncio.wait([job.task])
        return job.stored.response

    async def delete(self, owner: str, id: str) -> bool:
        """Whether `owner` had such a response; one that is being made is given up."""
        deleted = await self._store.delete(owner, id)
        job = self._jobs.get(id)
        if deleted and job is not None:
            job.cancelled = True
            job.interrupt()
        return deleted

    async def run(self) -> None:
        """Tells that this process lives and ends what dead ones left, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(Unavailable):
                if self._jobs:
                    await self._store.beat(self.runner)
                    await self._drop_those_taken_away()
                for orphan in await self._store.orphans(SILENT_S, ORPHANS_A_LOOK):
                    await self._end_orphan(orphan)

    async def close(self) -> None:
        """Ends the jobs of this process, as failed: the service stops. Another process ends what cannot be kept."""
        self._closing = True
        for job in self._jobs.values():
            job.interrupt()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, job: Job, settle: Settle) -> None:
        failure: RequestError | None = None
        flusher = asyncio.create_task(self._flush(job))
        fold = job.making.fold
        last: list[Event] = []
        try:
            await job.making.open(stream=True)
            async for events in job.making.events():
                if job.making.ended:
                    last = events
                else:
                    job.tell(events)
        except RequestError as refused:
            failure, last = refused, fold.fail(refused)
        except asyncio.CancelledError:
            stopping = Unavailable("The service stopped before the response was complete.", code="service_stopping")
            failure = None if job.cancelled else stopping
            last = fold.cancel() if job.cancelled else fold.fail(stopping)
        finally:
            job.ending = True
            await job.making.close()
        flusher.cancel()
        await asyncio.wait([flusher])
        # Recorded before the end is kept, which other processes tell the client: should this one die in between, who
        # finds the response records it once more, under the same id, and the ledger takes the first.
        settle(job.making, failure)
        self._meter.flush()
        await self._end(job, last)
        job.ended = True
        job.wake()

    async def _flush(self, job: Job) -> None:
        """Keeps events as they come, several at a time, until cancelled; and once, that the model was asked."""
        while True:
            while job.flushed == len(job.events):
                await job.changed()
            with contextlib.suppress(Unavailable):
                new = job.events[job.flushed :]
                if not await self._store.add_events(job.stored.id, self.runner, new):
                    _let_go(job)
                    return
                job.flushed += len(new)
                job.wake()
                if job.stored.response["status"] != job.making.fold.status:
                    await self._keep_status(job)
            await asyncio.sleep(FLUSH_S)

    async def _keep_status(self, job: Job) -> None:
        shown = replace(job.stored, response={**job.stored.response, "status": job.making.fold.status})
        if await self._store.replace(shown, self.runner):
            job.stored.response = shown.response

    async def _end(self, job: Job, last: list[Event]) -> None:
        """Keeps the last events and the end: who is told them finds them everywhere."""
        stored = job.stored
        stored.response = job.making.fold.response
        stored.runner = None
        job.events += [(event["sequence_number"], sse(event)) for event in last]
        while not await self._is_kept(job) and not self._closing:  # noqa: ASYNC110 - the database tells nobody when it is back
            await asyncio.sleep(BEAT_S)
        self._jobs.pop(stored.id, None)

    async def _is_kept(self, job: Job) -> bool:
        """Whether the end of the job's response is in the store: this one, or that which another process gave it."""
        stored = job.stored
        try:
            # In one transaction: nobody sees the last events without the end, nor the end without them.
            new, items = job.events[job.flushed :], conversation_items(stored)
            if await self._store.replace(stored, self.runner, new, items):
                job.flushed = len(job.events)
                return True
            kept = await self._store.find(stored.owner, stored.id)
        except Unavailable as error:
            self._log.error("background_response_not_kept", response=stored.id, error=error.message)
            return False
        if kept is None or kept.runner is not None:
            return kept is None  # else, who took it is about to end it
        # It may be the end of this process's own, whose arrival at the store it was not told.
        stored.response = kept.response
        return True

    async def _drop_those_taken_away(self) -> None:
        """Ends jobs whose response was cancelled or deleted by another process."""
        for job in tuple(self._jobs.values()):
            kept = await self._store.find(job.stored.owner, job.stored.id)
            if kept is None or kept.runner != self.runner:
                _let_go(job)

    async def _cancel_elsewhere(self, stored: StoredResponse) -> Json:
        """Its runner sees that it is not its own any more, records what was used, and lets it be."""
        while stored.runner is not None:
            if (ended := await self._take_and_end(stored, "cancelled")) is not None:
                return ended.response
            found = await self._store.find(stored.owner, stored.id)
            if found is None:
                break
            stored = found
        return stored.response

    async def _end_orphan(self, stored: StoredResponse) -> None:
        message = "The process that made the response ended. Please try again."
        ended = await self._take_and_end(stored, "failed", {"code": "server_error", "message": message})
        if ended is not None:
            self._log.warning("background_response_orphaned", response=stored.id)
            self._meter.write(self._record(stored, ended.deltas))

    async def _take_and_end(self, stored: StoredResponse, status: str, error: Json | None = None) -> Retelling | None:
        """Ends a response that another process makes or made, as its events tell it; None if it was not to be had."""
        # For one moment it has a runner of its own, that nothing is added to it. Should this process die, too, or the
        # database go away, that runner is as silent as others.
        taker = _new_runner()
        await self._store.beat(taker)
        taken = replace(stored, runner=taker)
        if stored.runner is None or not await self._store.replace(taken, stored.runner):
            return None
        told = Retelling(stored.response, [event_of(data) for _, data in await self._store.events(stored.id, -1)])
        last = [(event["sequence_number"], sse(event)) for event in told.end(status, error)]
        ended = replace(stored, response=told.response, runner=None)
        return told if await self._store.replace(ended, taker, last) else None

    def _record(self, stored: StoredResponse, output_tokens: int) -> UsageRecord:
        """What is known of the usage: whose it is, and no more than that each delta was a token, or several."""
        asked_model: str = stored.response["model"]
        record = UsageRecord(
            request_id=request_id_of(stored.id),
            time=stored.created_at,
            contract_id=stored.owner,
            key_id="",
            endpoint="responses",
            model=asked_model,
            asked_model=asked_model,
            outcome="failed",
            error_code="server_error",
            output_tokens=output_tokens,
            duration_ms=round((time.time() - stored.created_at) * 1000, 2),
        )
        with contextlib.suppress(ModelNotFound):  # it may have been taken out of the catalogue meanwhile
            model = self._catalogue.find(asked_model)
            record.model, record.region = model.id, model.region
            if model.price is not None:
                record.cost_nanos = model.price.cost_nanos(Usage(completion_tokens=output_tokens))
        return record


def _new_runner() -> str:
    return f"runner_{secrets.token_hex(12)}"


def _let_go(job: Job) -> None:
    """The response was cancelled, deleted or taken for dead by another process."""
    job.cancelled = True
    job.interrupt()


def conversation_items(stored: StoredResponse) -> list[Json]:
    """What an ended response adds to its conversation, if it has one and came to an answer."""
    if stored.conversation_id is None or stored.response["status"] not in {"completed", "incomplete"}:
        return []
    return [*stored.input, *stored.response["output"]]
