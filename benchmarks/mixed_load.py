"""Mixed load at a steady pace: chats, streams, responses, bad input, clients that leave, an upstream that fails.

Which request comes when is drawn with a fixed seed. Every answer is checked, and `Tally` counts what the service must
have recorded of it. Knows nothing of processes or memory.
"""

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from benchmarks import UnmeasurableError, wire
from benchmarks.mixed_upstream import BREAKING, CHUNKS, COMPLETION_TEXT, FAILING, SLOW, STEADY
from benchmarks.raw_client import Answer, Connection, request

BODY_LIMIT_BYTES = 200_000
"""What the service must be configured with as `server.max_body_bytes`."""

_CHATS, _COMPLETIONS, _RESPONSES = "/v2/chat/completions", "/v2/completions", "/v2/responses"
_MESSAGES = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "Tell me of dogs."}]
_ASKED_OF_A_CONNECTION = 100  # then a new one, so that no worker has all of them by chance
_AT_ONCE = 100
_MOST_LATE_S = 0.2
_KEPT_IDS = 200
_LONGEST_TALK = 5
_BACKGROUND_LOOKS = 300
_SEED = 20261124
_STREAM_TEXT = "".join(wire.stream_texts(CHUNKS)).encode()

Json = Mapping[str, object]


@dataclass
class Tally:
    """What was done so far.

    Attributes:
        kinds: how often each kind of exchange, which may be several requests.
        requests: sent, whole or in part.
        records: of the usage ledger, by endpoint and outcome.
        failures_logged: warnings about the upstream, which the service must have logged.
    """

    kinds: Counter[str] = field(default_factory=Counter[str])
    requests: int = 0
    records: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    failures_logged: int = 0

    def record(self, endpoint: str, outcome: str = "completed") -> None:
        self.records[endpoint, outcome] += 1


class MixedLoad:
    """The clients of one service, whose four models are those of `mixed_upstream`.

    Args:
        keys: one of a contract without limits, one of a contract with limits that are never reached.
    """

    def __init__(self, port: int, keys: tuple[str, str]) -> None:
        self.tally = Tally()
        self._port = port
        self._keys = keys
        self._random = random.Random(_SEED)  # noqa: S311 - so that every run is the same
        self._idle: deque[Connection] = deque()
        self._stored: deque[tuple[str, int]] = deque()
        self._kinds: Mapping[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "chat": (24, self._chat),
            "chat, streamed": (18, self._chat_stream),
            "completion": (5, self._completion),
            "completion, streamed": (3, self._completion_stream),
            "response": (6, self._response),
            "response, stored": (6, self._response_stored),
            "response, streamed": (8, self._response_stream),
            "response that goes on": (6, self._response_continued),
            "response, deleted": (3, self._response_deleted),
            "response in the background": (3, self._response_in_background),
            "bad input": (6, self._bad_input),
            "body too large": (1, self._body_too_large),
            "stream left": (5, self._stream_left),
            "left before the answer": (1, self._left_before_answer),
            "half a request": (2, self._half_request),
            "silence": (1, self._silence),
            "upstream fails": (2, self._upstream_fails),
            "upstream breaks off": (1, self._upstream_breaks_off),
            "models, metrics": (1, self._models_and_metrics),
        }

    async def run(self, duration_s: float, per_s: float) -> None:
        """So many exchanges a second, for so long, and until the last has ended; leaves no connection open.

        They are fewer where the machine does not keep up.

        Raises:
            UnmeasurableError: an answer is not as it must be, or does not come.
        """
        clock = asyncio.get_running_loop().time
        names = list(self._kinds)
        weights = [weight for weight, _ in self._kinds.values()]
        due = clock()
        ends = due + duration_s
        running: set[asyncio.Task[None]] = set()
        try:
            while due < ends:
                await asyncio.sleep(due - clock())
                _take_results(running)
                if len(running) == _AT_ONCE:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    continue
                [name] = self._random.choices(names, weights)
                running.add(asyncio.create_task(self._exchange(name)))
                due = max(due + 1 / per_s, clock() - _MOST_LATE_S)  # what was missed is not made up for
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            while self._idle:
                self._idle.pop().close()

    async def _exchange(self, name: str) -> None:
        try:
            await self._kinds[name][1]()
        except UnmeasurableError as error:
            raise UnmeasurableError(f"{name}: {error}") from error
        self.tally.kinds[name] += 1

    # Whole and streamed answers

    async def _chat(self) -> None:
        answer = await self._post(_CHATS, _chat(STEADY))
        _check(answer, 200, wire.ANSWER_TEXT.encode(), b'"finish_reason":"stop"')
        self.tally.record("chat")

    async def _chat_stream(self) -> None:
        usage = self._random.random() < 0.5
        options = {"stream_options": {"include_usage": True}} if usage else {}
        _check_stream(await self._post(_CHATS, _chat(STEADY, stream=True, **options)), CHUNKS + usage)
        self.tally.record("chat")

    async def _completion(self) -> None:
        answer = await self._post(_COMPLETIONS, {"model": STEADY, "prompt": "The quick brown fox"})
        _check(answer, 200, COMPLETION_TEXT.encode(), b'"text_completion"')
        self.tally.record("completions")

    async def _completion_stream(self) -> None:
        body = {"model": STEADY, "prompt": "The quick brown fox", "stream": True}
        _check_stream(await self._post(_COMPLETIONS, body), CHUNKS)
        self.tally.record("completions")

    # Responses

    async def _response(self) -> None:
        await self._made(store=False)

    async def _response_stored(self) -> None:
        made = await self._made(store=True)
        found = await self._ask("GET", f"{_RESPONSES}/{made['id']}", key=self._keys[0])
        _check(found, 200)
        if found.json != made:
            raise UnmeasurableError(f"what was stored is not what was answered: {found.body!r}, not {made}")
        self._remember(str(made["id"]), 1)

    async def _response_stream(self) -> None:
        body = _response(STEADY, stream=True, store=self._random.random() < 0.5)
        answer = await self._post(_RESPONSES, body, key=self._keys[0])
        _check(answer, 200)
        last = answer.events[-1]
        if not last.startswith(b"event: response.completed\n") or _STREAM_TEXT not in last:
            raise UnmeasurableError(f"the stream of a response ended with {last!r}")
        self.tally.record("responses")

    async def _response_continued(self) -> None:
        before, length = self._stored.popleft() if self._stored else (None, 0)
        made = await self._made(store=True, **({} if before is None else {"previous_response_id": before}))
        if length < _LONGEST_TALK:
            self._remember(str(made["id"]), length + 1)

    async def _response_deleted(self) -> None:
        made = await self._made(store=True)
        path = f"{_RESPONSES}/{made['id']}"
        _check(await self._ask("DELETE", path, key=self._keys[0]), 200, b'"deleted":true')
        _check(await self._ask("GET", path, key=self._keys[0]), 404)

    async def _response_in_background(self) -> None:
        key = self._keys[0]
        found = await self._post(_RESPONSES, _response(STEADY, background=True, stream=False), key=key)
        _check(found, 200)
        path = f"{_RESPONSES}/{found.json['id']}"
        for _ in range(_BACKGROUND_LOOKS):
            found = await self._ask("GET", path, key=key)
            if found.json["status"] not in {"queued", "in_progress"}:
                break
            await asyncio.sleep(0.1)
        _check(found, 200, b'"status":"completed"', _STREAM_TEXT)  # in the background, a stream is asked of the model
        self.tally.record("responses")

    async def _made(self, **fields: object) -> Json:
        answer = await self._post(_RESPONSES, _response(STEADY, **fields), key=self._keys[0])
        _check(answer, 200, b'"status":"completed"', wire.ANSWER_TEXT.encode())
        self.tally.record("responses")
        return answer.json

    def _remember(self, id: str, length: int) -> None:
        self._stored.append((id, length))
        if len(self._stored) > _KEPT_IDS:
            self._stored.popleft()

    # Bad input

    async def _bad_input(self) -> None:
        good = json.dumps(_chat(STEADY)).encode()
        status, said, key, body = self._random.choice(
            (
                (400, b"could not parse", self._keys[0], good[:-1]),
                (400, b'"messages"', self._keys[0], json.dumps(_chat(STEADY) | {"messages": 7}).encode()),
                (400, b'"temperature"', self._keys[0], json.dumps(_chat(STEADY, temperature=5)).encode()),
                (401, b'"invalid_api_key"', "sk-wrong", good),
                (404, b'"model_not_found"', self._keys[0], json.dumps(_chat("unknown")).encode()),
            )
        )
        _check(await self._ask("POST", _CHATS, body, key=key), status, said)

    async def _body_too_large(self) -> None:
        content = "x" * BODY_LIMIT_BYTES
        body = json.dumps(_chat(STEADY, messages=[{"role": "user", "content": content}])).encode()
        _check(await self._ask("POST", _CHATS, body, key=self._keys[0]), 413, b'"request_too_large"')

    # Clients that leave

    async def _stream_left(self) -> None:
        path, body = self._random.choice(
            ((_CHATS, _chat(SLOW, stream=True)), (_RESPONSES, _response(SLOW, stream=True)))
        )
        connection = await self._begun(path, body)
        begun = await connection.events(4)
        if not begun.startswith(b"HTTP/1.1 200 "):
            raise UnmeasurableError(f"a stream began with {begun!r}")
        connection.close(reset=self._random.random() < 0.5)
        self.tally.record("chat" if path == _CHATS else "responses", "cancelled")

    async def _left_before_answer(self) -> None:
        connection = await self._begun(_CHATS, _chat(SLOW))
        await asyncio.sleep(1)
        connection.close(reset=self._random.random() < 0.5)
        self.tally.record("chat", "cancelled")

    async def _half_request(self) -> None:
        connection = await Connection.to(self._port)
        data = request("POST", _CHATS, self._keys[0], json.dumps(_chat(STEADY)).encode())
        connection.send(data[: self._random.randrange(1, len(data) - 1)])
        self.tally.requests += 1
        await asyncio.sleep(0.5)
        connection.close(reset=self._random.random() < 0.5)

    async def _silence(self) -> None:
        connection = await Connection.to(self._port)
        await asyncio.sleep(5)
        connection.close()

    async def _begun(self, path: str, body: Json) -> Connection:
        """A connection of its own on which this was asked."""
        connection = await Connection.to(self._port)
        connection.send(request("POST", path, self._random.choice(self._keys), json.dumps(body).encode()))
        self.tally.requests += 1
        return connection

    # An upstream that fails

    async def _upstream_fails(self) -> None:
        stream = self._random.random() < 0.5
        if self._random.random() < 0.5:
            answer = await self._post(_CHATS, _chat(FAILING, stream=stream))
            self.tally.record("chat", "failed")
        else:
            answer = await self._post(_RESPONSES, _response(FAILING, stream=stream))
            self.tally.record("responses", "failed")
        self._check_failure(answer, b"out of order")

    async def _upstream_breaks_off(self) -> None:
        stream = self._random.random() < 0.5
        answer = await self._post(_CHATS, _chat(BREAKING, stream=stream))
        if not stream or answer.status == 503:
            self._check_failure(answer, b"closed the connection")
        else:
            _check(answer, 200)
            if not answer.events[-1].startswith(b'data: {"error":'):
                raise UnmeasurableError(f"a stream that broke off ended with {answer.events[-1]!r}")
        self.tally.record("chat", "failed")

    def _check_failure(self, answer: Answer, said: bytes) -> None:
        """What the upstream said; or that it is left alone for a moment, as one that has failed several times."""
        if answer.status == 503:
            _check(answer, 503, b'"upstream_unavailable"')
        else:
            _check(answer, 502, said, b'"upstream_error"')
        self.tally.failures_logged += 1

    async def _models_and_metrics(self) -> None:
        _check(await self._ask("GET", "/v2/models", key=self._keys[0]), 200, STEADY.encode())
        _check(await self._ask("GET", "/metrics", key=self._keys[0]), 200, b"fundament_requests")

    # Connections

    def _post(self, path: str, body: Json, key: str | None = None) -> Awaitable[Answer]:
        return self._ask("POST", path, json.dumps(body).encode(), key=key or self._random.choice(self._keys))

    async def _ask(self, method: str, path: str, body: bytes | None = None, *, key: str) -> Answer:
        """An answer over a connection that is kept for the next."""
        self.tally.requests += 1
        connection = self._idle.popleft() if self._idle else await Connection.to(self._port)
        try:
            answer = await connection.ask(request(method, path, key, body))
        except BaseException:
            connection.close()
            raise
        if connection.closing or connection.asked >= _ASKED_OF_A_CONNECTION:
            connection.close()
        else:
            self._idle.append(connection)
        return answer


def _take_results(running: set[asyncio.Task[None]]) -> None:
    """Takes out what has ended; raises what it raised."""
    ended = {task for task in running if task.done()}
    running -= ended
    for task in ended:
        task.result()


def _chat(model: str, **fields: object) -> Json:
    return {"model": model, "messages": _MESSAGES, "temperature": 0.1, "max_tokens": 256} | fields


def _response(model: str, **fields: object) -> Json:
    return {"model": model, "instructions": "You are helpful.", "input": "Tell me of dogs."} | fields


def _check(answer: Answer, status: int, *said: bytes) -> None:
    if answer.status != status or any(text not in answer.body for text in said):
        raise UnmeasurableError(f"expected {status} with {said}, got {answer.status}: {answer.body[:2000]!r}")


def _check_stream(answer: Answer, chunks: int) -> None:
    """So many events, then `[DONE]`."""
    _check(answer, 200)
    events = answer.events
    if len(events) != chunks + 1 or events[-1] != b"data: [DONE]" or b"error" in events[-2]:
        raise UnmeasurableError(f"a stream of {chunks} chunks is not whole: {answer.body!r}")
