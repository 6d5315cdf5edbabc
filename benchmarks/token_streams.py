"""Asks a model for several streams at once and counts the tokens of the whole by the usage that each stream reports.

So cheap that it takes nothing from a model on the same cores: raw sockets, and bytes are read only after the last came.
"""

import asyncio
import json
import time
from collections.abc import Sequence

import uvloop

from benchmarks import UnmeasurableError
from benchmarks.servers import Server

_DONE = b"data: [DONE]\n\n"


def tokens_per_s(server: Server, bodies: Sequence[dict[str, object]], *, tokens: int) -> float:
    """All completion tokens over the time from the first request to the last event of the last stream.

    Raises `UnmeasurableError` when a stream is no 200, does not end with `[DONE]` or has not exactly `tokens` tokens.
    """
    duration_s, answers = uvloop.run(_ask(server, [_request(server, body) for body in bodies]))
    counts = [_completion_tokens(server.name, answer) for answer in answers]
    if set(counts) != {tokens}:
        raise UnmeasurableError(f"{server.name}: streams of {sorted(set(counts))} tokens where each must have {tokens}")
    return sum(counts) / duration_s


async def _ask(server: Server, requests: Sequence[bytes]) -> tuple[float, list[bytes]]:
    loop = asyncio.get_running_loop()
    opened = [loop.create_connection(lambda: _Stream(loop.create_future()), "127.0.0.1", server.port) for _ in requests]
    established = await asyncio.gather(*opened)
    started = time.perf_counter()
    for (transport, _), request in zip(established, requests, strict=True):
        transport.write(request)
    answers = await asyncio.gather(*(stream.answer for _, stream in established))
    duration_s = time.perf_counter() - started
    for transport, _ in established:
        transport.close()
    return duration_s, answers


class _Stream(asyncio.Protocol):
    """Keeps what comes until the last event, or the end of the connection."""

    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self.answer = answer
        self._received: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        # The end may come in pieces; with the framing around it, it fits into two.
        if _DONE in data or _DONE in b"".join(self._received[-4:]):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self._finish()

    def _finish(self) -> None:
        if not self.answer.done():
            self.answer.set_result(b"".join(self._received))


def _request(server: Server, body: dict[str, object]) -> bytes:
    content = json.dumps(body)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\nauthorization: Bearer {server.key}\r\n"
    )
    return f"{head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n{content}".encode()


def _completion_tokens(name: str, answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise UnmeasurableError(f"{name} answered a stream with: {answer[:500].decode(errors='replace')}")
    text = dechunked(body) if b"transfer-encoding: chunked" in head.lower() else body
    events = [event.removeprefix(b"data: ") for event in text.split(b"\n\n") if event.startswith(b"data: ")]
    if not events or events[-1] != b"[DONE]":
        raise UnmeasurableError(f"{name}: a stream ended without [DONE]: …{text[-300:].decode(errors='replace')}")
    usages = [usage for event in events[:-1] if (usage := json.loads(event).get("usage"))]
    if not usages:
        raise UnmeasurableError(f"{name}: a stream reported no usage")
    return int(usages[-1]["completion_tokens"])


def dechunked(body: bytes) -> bytes:
    """The content of a chunked body; the last chunk, of size 0, may still be on its way."""
    content: list[bytes] = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        content.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(content)
