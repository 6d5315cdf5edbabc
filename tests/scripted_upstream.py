"""A real HTTP/1.1 server that plays written answers byte by byte, breaks where told, and records what it was asked.

It knows TCP and HTTP/1.1, and when its peer left. It knows nothing of OpenAI or Fundament; the answers are data of
`scripted_answers.py`.
"""

import asyncio
import json
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

from scripted_answers import Answer, Barrier, Close, Hang, Pause, Reset


@dataclass
class Request:
    """What the peer asked. Times are `time.monotonic()` seconds; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    arrived_at: float = field(default_factory=time.monotonic)
    answered_at: float | None = None  # the last byte of the answer was handed to the kernel
    left_at: float | None = None  # the peer closed before that

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Script: TypeAlias = Answer | Callable[[Request], Answer]


class ScriptedUpstream:
    """Plays what `answer` queued for the request's path, else what `default` says, else a 500 that names the path.

    >>> with ScriptedUpstream() as upstream:
    ...     upstream.answer(chat_answer("Hello"))
    ...     client = openai.OpenAI(base_url=upstream.base_url, api_key="any")
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.problems: list[str] = []  # incorrect HTTP, faults of a script; leaving the context fails on them
        self._queued: defaultdict[str | None, deque[Script]] = defaultdict(deque)
        self._defaults: dict[str | None, Script] = {}
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._open: set[_Connection] = set()
        self._loop.set_exception_handler(lambda _, context: self.problems.append(repr(context)))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="scripted-upstream", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        assert not self._thread.is_alive(), "the scripted upstream's thread did not end"
        assert not self.problems, f"incorrect HTTP from the service, or a fault of the script: {self.problems}"

    # What the test says

    def answer(self, *scripts: Script, path: str | None = None) -> None:
        """Queue answers, for one path ("/v1/chat/completions") or for any."""
        with self._changed:
            self._queued[path].extend(scripts)

    def default(self, script: Script, path: str | None = None) -> None:
        """The answer to each request for which none is queued."""
        with self._changed:
            self._defaults[path] = script

    def reset(self) -> None:
        """Forget scripts and records, and drop the connections: as new."""
        dropped = threading.Event()

        def drop() -> None:
            for connection in tuple(self._open):
                connection.abort()
            self._loop.call_soon(dropped.set)  # after each connection_lost

        self._loop.call_soon_threadsafe(drop)
        assert dropped.wait(5), "the scripted upstream's thread is stuck"
        with self._changed:
            self.requests = []
            self.connections = 0
            self._queued.clear()
            self._defaults.clear()

    # What the test asks

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Wait until the condition over `requests` holds; False when it did not in time."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def wait_requests(self, count: int = 1, timeout_s: float = 5.0) -> list[Request]:
        if not self.wait_for(lambda: len(self.requests) >= count, timeout_s):
            raise AssertionError(f"{len(self.requests)} of {count} requests arrived within {timeout_s} s")
        return self.requests

    def wait_closed(self, timeout_s: float = 5.0) -> float:
        """When the peer first closed a connection before its answer was complete (`time.monotonic()` seconds)."""
        if not self.wait_for(lambda: bool(self.abandoned), timeout_s):
            raise AssertionError(f"no connection was closed early within {timeout_s} s; requests: {self.requests}")
        return min(request.left_at for request in self.abandoned if request.left_at is not None)

    @property
    def abandoned(self) -> list[Request]:
        """The requests whose peer left before the answer was complete."""
        return [request for request in self.requests if request.left_at is not None]

    # The server's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self), sock=self._listener, backlog=256)
        )
        self._loop.run_forever()
        server.close()
        for connection in tuple(self._open):
            connection.abort()
        tasks = asyncio.all_tasks(self._loop)
        self._loop.run_until_complete(asyncio.gather(*tasks, asyncio.sleep(0), return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _connected(self, connection: "_Connection") -> int:
        self._open.add(connection)
        with self._changed:
            self.connections += 1
            return self.connections

    def _arrived(self, request: Request) -> Answer:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            script = self._next_script(request.path)
        if script is None:
            message = f"nothing is scripted for {request.method} {request.path}"
            body = {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
            return Answer([json.dumps(body).encode()], status=500)
        return script if isinstance(script, Answer) else script(request)

    def _next_script(self, path: str) -> Script | None:
        queue = self._queued[path] or self._queued[None]
        return queue.popleft() if queue else self._defaults.get(path, self._defaults.get(None))

    def _ended(self, request: Request, *, by_peer: bool) -> None:
        with self._changed:
            if by_peer:
                request.left_at = time.monotonic()
            else:
                request.answered_at = time.monotonic()
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    """One connection: requests are parsed one after the other, each answer is played by a task."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._buffer = b""
        self._transport: asyncio.Transport
        self._number = 0
        self._request: Request | None = None
        self._playing: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # asyncio sets it only where the listening socket was made with an explicit protocol number.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(0)  # so that a step is over when the kernel has taken its bytes
        self._number = self._upstream._connected(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def eof_received(self) -> bool:
        self._peer_left()
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        self._peer_left()
        self._upstream._open.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def abort(self) -> None:
        self._transport.abort()

    def _peer_left(self) -> None:
        if self._request is not None:
            self._upstream._ended(self._request, by_peer=True)
            self._request = None
        if self._playing is not None:
            self._playing.cancel()

    def _advance(self) -> None:
        if self._request is not None:
            return
        try:
            parsed = parse_request(self._buffer)
        except ValueError as error:
            self._upstream.problems.append(str(error))
            self._transport.close()
            return
        if parsed is None:
            return
        (method, target, headers, body), self._buffer = parsed
        self._request = Request(method, target, headers, body, self._number)
        answer = self._upstream._arrived(self._request)
        self._playing = asyncio.get_running_loop().create_task(self._play(answer, self._request))

    async def _play(self, answer: Answer, request: Request) -> None:
        close = answer.framing in {"until-close", "raw"} or request.headers.get("connection", "").lower() == "close"
        chunked = answer.framing == "chunked"
        head_sent = False
        for step in answer.steps:
            match step:
                case bytes():
                    if not head_sent:
                        await self._write(answer.head(), answer)
                        head_sent = True
                    if step:
                        await self._write(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step, answer)
                case Pause():
                    await asyncio.sleep(step.seconds)
                case Barrier():
                    await step.wait()
                case Hang():
                    await asyncio.Event().wait()
                case Close() | Reset():
                    self._finished()
                    self._break(step)
                    return
        if chunked:
            await self._write(b"0\r\n\r\n", answer)
        self._finished()
        if close:
            self._transport.close()
        else:
            self._advance()

    async def _write(self, data: bytes, answer: Answer) -> None:
        for piece in [data[i : i + 1] for i in range(len(data))] if answer.trickle else [data]:
            await asyncio.sleep(0.0005 if answer.trickle else 0)  # let the loop notice a peer that left
            self._transport.write(piece)
            await self._writable.wait()

    def _finished(self) -> None:
        assert self._request is not None
        self._upstream._ended(self._request, by_peer=False)
        self._request = None

    def _break(self, step: Close | Reset) -> None:
        if isinstance(step, Close):
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def parse_request(buffer: bytes) -> tuple[tuple[str, str, dict[str, str], bytes], bytes] | None:
    """The first request in the buffer (method, target, headers, body) and what follows it; None while it is incomplete.

    Strict where servers differ: ValueError without Host, with a repeated header, a bare LF, or a body whose length
    is not given by Content-Length.
    """
    head, separator, rest = buffer.partition(b"\r\n\r\n")
    if not separator:
        return None
    request_line, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = request_line.split(" ")
    if version != "HTTP/1.1" or "\n" in head.decode("latin-1").replace("\r\n", ""):
        raise ValueError(f"not HTTP/1.1: {request_line!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or name.lower() in headers:
            raise ValueError(f"malformed or repeated header {name!r}")
        headers[name.lower()] = value.strip()
    if "host" not in headers or "transfer-encoding" in headers:
        raise ValueError(f"a Host and no Transfer-Encoding are expected: {sorted(headers)}")
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    return (method, target, headers, rest[:length]), rest[length:]
