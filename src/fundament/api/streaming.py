"""Relays an answer to its client as server-sent events, and watches whether the client is still there.

It knows ASGI and the rules of a stream: real status until the first event, one error frame after it, and no `[DONE]`
then. It does not know what is in an event.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Send

from fundament.api.edge import error_body
from fundament.backends.call import Answer
from fundament.errors import RequestError, Unavailable
from fundament.gateway.meter import Metering

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # tells an nginx in front of us not to collect events
]


class Connection(Protocol):
    """The client's end of a request, as `http.py` has it."""

    loop: asyncio.AbstractEventLoop
    lost: bool
    on_lost: Callable[[], None] | None


class ClientWatch:
    """Cancels the task that made it as soon as the client closes its connection.

    The work that the task awaits (a place in a line, an answer) ends with it. `stop` before the answer's last byte.
    """

    def __init__(self, connection: Connection) -> None:
        self.left = False
        self._connection = connection
        self._owner = asyncio.current_task(connection.loop)
        connection.on_lost = self._leave
        if connection.lost:
            self._leave()

    def _leave(self) -> None:
        self.left = True
        if self._owner is not None:
            self._owner.cancel()

    def stop(self) -> None:
        self._connection.on_lost = None


async def relay(answer: Answer, send: Send, watch: ClientWatch, metering: Metering) -> None:
    """Sends a streamed answer from its first event to its end.

    Raises:
        RequestError: the backend failed before the first event; nothing was sent.
        asyncio.CancelledError: the client left.
    """
    events = await answer.read()
    metering.first_byte()
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
    try:
        while events:
            if answer.complete:
                metering.settle("completed", answer.usage)
                watch.stop()
            await send({"type": "http.response.body", "body": events, "more_body": True})
            events = await answer.read()
    except RequestError as failure:
        await _fail(failure, answer, send, metering)
    except asyncio.CancelledError:
        if watch.left:
            raise
        await _fail(stopping(), answer, send, metering)
    watch.stop()
    await send({"type": "http.response.body", "body": b""})


def stopping() -> Unavailable:
    """What is said to clients whose answers outlive the grace period."""
    return Unavailable("The service is stopping. Please retry.", code="service_stopping", retry_after_s=5)


async def _fail(failure: RequestError, answer: Answer, send: Send, metering: Metering) -> None:
    """Ends a stream that has begun with one error frame."""
    metering.settle("failed", answer.usage, failure.code)
    await send({"type": "http.response.body", "body": b"data: %b\n\n" % error_body(failure), "more_body": True})
