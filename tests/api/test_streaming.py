"""The rules of a stream: its real status until the first event, one error frame after it, the record before the end."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from accounts import KEY
from fundament.api.streaming import ClientWatch, relay, stopping
from fundament.errors import RequestError, ServerFailure, Unavailable
from fundament.gateway.catalogue import CatalogueModel
from fundament.gateway.meter import Meter, Metering, UsageRecord
from fundament.protocol.usage import Usage

EVENTS = [b"data: 1\n\n", b"data: 2\n\ndata: [DONE]\n\n"]


class Script:
    """An answer that gives its steps: events, a failure, or an event to wait for."""

    def __init__(self, steps: Sequence[bytes | RequestError | asyncio.Event]) -> None:
        self._steps = list(steps)
        self.usage: Usage | None = Usage(3, 1, 4)
        self.complete = False

    async def read(self) -> bytes:
        while self._steps:
            match self._steps.pop(0):
                case asyncio.Event() as event:
                    await event.wait()
                case RequestError() as failure:
                    raise failure
                case bytes() as events:
                    self.complete = events.endswith(b"[DONE]\n\n")
                    return events
        return b""

    async def whole(self) -> bytes:
        raise AssertionError("a stream is read")

    def close(self) -> None:
        """It holds nothing."""


@dataclass
class Client:
    """The client's end: what it was sent, and whether it is still there."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    lost: bool = False
    on_lost: Callable[[], None] | None = None
    sent: list[Message] = field(default_factory=list[Any])
    records: list[bytes] = field(default_factory=list[bytes])
    records_at: list[int] = field(default_factory=list[int])

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.records_at.append(len(self.records))

    def leave(self) -> None:
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def record(self) -> UsageRecord:
        [line] = self.records
        return msgspec.json.decode(line, type=UsageRecord)

    def metering(self) -> Metering:
        model = CatalogueModel(id="m", created=1, owned_by="x")
        meter = Meter(self.records)
        return meter.begin(request_id="r", key=KEY, endpoint="chat", model=model, asked_model="m", stream=True)


def relaying(client: Client, answer: Script) -> asyncio.Task[None]:
    async def work() -> None:
        await relay(answer, client.send, ClientWatch(client), client.metering())

    return asyncio.create_task(work())


async def test_events_go_out_as_they_come_and_the_record_before_the_last_of_them() -> None:
    client, gate = Client(), asyncio.Event()
    task = relaying(client, Script([EVENTS[0], gate, EVENTS[1]]))
    await asyncio.sleep(0.01)
    assert client.body == EVENTS[0]
    assert not client.records
    gate.set()
    await task
    start, *_, end = client.sent
    assert (start["status"], dict(start["headers"])[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
    assert client.body == b"".join(EVENTS)
    assert end == {"type": "http.response.body", "body": b""}
    assert client.records_at == [0, 0, 1, 1]
    assert (client.record.outcome, client.record.output_tokens, client.record.tokens_known) == ("completed", 1, True)
    assert client.record.first_byte_ms is not None


async def test_the_headers_of_one_stream_are_not_those_of_another() -> None:
    one, other = Client(), Client()
    await relaying(one, Script(EVENTS))
    one.sent[0]["headers"].append((b"x-request-id", b"1"))
    await relaying(other, Script(EVENTS))
    assert b"x-request-id" not in dict(other.sent[0]["headers"])


async def test_a_failure_before_the_first_event_is_raised_and_nothing_sent() -> None:
    client = Client()
    with pytest.raises(ServerFailure):
        await relaying(client, Script([ServerFailure("boom")]))
    assert client.sent == []


async def test_a_failure_after_it_is_one_error_frame_and_no_done() -> None:
    client = Client()
    await relaying(client, Script([EVENTS[0], ServerFailure("boom", code="engine_error")]))
    first, frame, rest = client.body.split(b"\n\n")
    assert (first + b"\n\n", rest) == (EVENTS[0], b"")
    error = {"message": "boom", "type": "server_error", "param": None, "code": "engine_error"}
    assert json.loads(frame.removeprefix(b"data: ")) == {"error": error}
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}
    assert (client.record.outcome, client.record.error_code) == ("failed", "engine_error")
    assert client.records_at[-2:] == [1, 1]


async def test_a_service_that_stops_tells_its_streams_so() -> None:
    client = Client()
    task = relaying(client, Script([EVENTS[0], asyncio.Event()]))
    await asyncio.sleep(0.01)
    task.cancel()
    await task
    error = json.loads(client.body.split(b"\n\n")[1].removeprefix(b"data: "))["error"]
    assert (error["message"], error["code"]) == (stopping().message, "service_stopping")
    assert isinstance(stopping(), Unavailable)
    assert (client.record.outcome, client.record.error_code) == ("failed", "service_stopping")


@pytest.mark.parametrize("steps", [[asyncio.Event()], [EVENTS[0], asyncio.Event()]], ids=["before", "within"])
async def test_a_client_that_leaves_cancels_the_work_at_once_and_is_sent_nothing_more(steps: list[Any]) -> None:
    client = Client()
    task = relaying(client, Script([step if isinstance(step, bytes) else asyncio.Event() for step in steps]))
    await asyncio.sleep(0.01)
    sent = len(client.sent)
    client.leave()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(client.sent) == sent
    assert not client.records


async def test_a_client_that_had_left_before_the_watch_began_is_noticed() -> None:
    client = Client(lost=True)
    with pytest.raises(asyncio.CancelledError):
        await relaying(client, Script([asyncio.Event()]))


async def test_a_client_that_leaves_after_the_last_event_cancels_nobody() -> None:
    client = Client()
    await relaying(client, Script(EVENTS))
    assert client.on_lost is None
    client.leave()
    await asyncio.sleep(0.01)
    assert client.record.outcome == "completed"
