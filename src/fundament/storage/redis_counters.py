"""Counters in a Redis or Valkey server, which many workers share. One call of a script carries all that has gathered.

It knows the connection, the server's outages, and that a batch is taken exactly once. How demands are judged is known
by `counters.lua`, which runs in the server.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from fundament.errors import Unavailable
from fundament.gateway.counters import Demand, Settlement, Verdict, given_back

TIMEOUT_S = 1.0
"""For a batch: nobody waits longer for a server that does not answer."""

RETRY_S = 0.5
"""Between two attempts to reach a server that is away; meanwhile nobody waits for it."""

BEAT_S = 5.0
"""Between two signs of life; without one for 15 s, what a worker had in flight does not count any more."""

SPACING_S = 0.001
"""Between the starts of two calls: under load a call carries more, and costs each request less than the wait."""

SETTLED_WITHIN_S = 0.005
"""A settlement waits so long for a demand to go with: under load nearly each has one, and calls are halved."""

MOST_OPERATIONS = 500  # in a batch: the script holds the server for about a millisecond then

_SCRIPT = Path(__file__).with_name("counters.lua")
_Waiting: TypeAlias = tuple[Demand, asyncio.Future[Verdict | None]] | tuple[Settlement, None]


class _Batch(Struct, array_like=True):
    """What the script takes, and in what order."""

    worker: str
    number: int
    again: bool
    now_ms: int
    beat: bool
    held: list[tuple[str, str, int]]
    operations: list[Demand | Settlement]


class _Answer(Struct, array_like=True):
    number: int
    verdicts: list[Verdict]


class RedisCounters:
    """Counts in the server at `url` (`redis://`, `rediss://` or `unix://`). Belongs to one event loop.

    While the server is away, `down` is true and nobody waits for it; `outages` counts how often that began.

    Args:
        allow: whether requests pass uncounted meanwhile.
        prefix: what the server's keys begin with.
        now_ms: a time in place of the server's.
        told: whether the server is away, when that changes.
    """

    def __init__(
        self,
        url: str,
        *,
        allow: bool,
        prefix: str = "fundament:",
        now_ms: int = 0,
        told: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.down = False
        self.outages = 0
        self.now_ms = now_ms
        self._allow = allow
        self._told = told
        self._prefix = prefix
        # Without a second try of its own: a batch that may have been taken is sent again under its number only.
        self._redis: Any = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - untyped keyword arguments
            url, protocol=2, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
        )
        self._script: Any = self._redis.register_script(_SCRIPT.read_bytes())
        self._worker = secrets.token_hex(8)
        self._number = 0
        self._waiting: list[_Waiting] = []
        self._settling: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._unsure: tuple[_Batch, Sequence[_Waiting]] | None = None
        self._held: dict[tuple[str, str], int] = {}  # in flight here, as the server was told
        self._beat_at = -BEAT_S
        self._called_at = -SPACING_S
        self._log: Any = structlog.get_logger(__name__)

    async def reserve(self, demand: Demand) -> Verdict | None:
        verdict = None
        if not self.down:
            answer: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((demand, answer))
            self._wake()
            verdict = await answer
        if verdict is None and not self._allow:
            raise Unavailable(
                "Limits cannot be checked at the moment. Please retry.", code="limits_unavailable", retry_after_s=1
            )
        return verdict

    def settle(self, settlement: Settlement) -> None:
        self._waiting.append((settlement, None))
        if self._settling is None and not self.down:
            self._settling = asyncio.get_running_loop().call_later(SETTLED_WITHIN_S, self._settle_waiting)

    async def run(self) -> None:
        """Tells that this process lives, and looks whether a server that was away is back, until cancelled."""
        while True:
            await asyncio.sleep(RETRY_S)
            if self.down or (self._held and time.monotonic() - self._beat_at >= BEAT_S):
                self._wake()

    async def close(self) -> None:
        """Makes the corrections that wait, if the server is there."""
        if self._settling is not None:
            self._settling.cancel()
        self._settle_waiting()
        if self._sending is not None:
            await self._sending
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    def _settle_waiting(self) -> None:
        self._settling = None
        if self._waiting and not self.down:
            self._wake()

    def _wake(self) -> None:
        # The task begins with the loop's next turn: what this turn brings goes together.
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            if self._unsure is not None:
                batch, waiting = self._unsure
                batch.again = True
                await self._take(batch, waiting)
            while True:
                if time.monotonic() - self._called_at < SPACING_S:
                    await asyncio.sleep(SPACING_S)
                group, self._waiting = self._waiting[:MOST_OPERATIONS], self._waiting[MOST_OPERATIONS:]
                batch = self._batch([operation for operation, _ in group])
                self._unsure = batch, group
                await self._take(batch, group)
                if not self._waiting:
                    return
        except (RedisError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            await self._begin_outage(error)
        finally:
            self._sending = None

    def _batch(self, operations: list[Demand | Settlement]) -> _Batch:
        beat = time.monotonic() - self._beat_at >= BEAT_S
        held = [(*key, count) for key, count in self._held.items()] if beat else []
        self._number += 1
        return _Batch(self._worker, self._number, False, self.now_ms, beat, held, operations)

    async def _take(self, batch: _Batch, waiting: Sequence[_Waiting]) -> None:
        """Has the server take a batch, and tells those who wait."""
        self._called_at = time.monotonic()
        async with asyncio.timeout(TIMEOUT_S):
            data = cast("bytes", await self._script(keys=[self._prefix], args=[_encode(batch)]))
        answer = _decode(data)
        demands = sum(isinstance(operation, Demand) for operation, _ in waiting)
        if answer.number != batch.number or len(answer.verdicts) != demands:
            raise RedisError(f"answered batch {answer.number} of {len(answer.verdicts)}, not {batch.number}")
        self._unsure = None
        if batch.beat:
            self._beat_at = time.monotonic()
        self._end_outage()
        verdicts = iter(answer.verdicts)
        for operation, future in waiting:
            if isinstance(operation, Settlement):
                self._count(operation, -1 if operation.in_flight else 0)
                continue
            verdict = next(verdicts)
            passed = verdict.refused == ""
            self._count(operation, 1 if passed and operation.in_flight_limit is not None else 0)
            if future is not None and not future.done():
                future.set_result(verdict)
            elif passed:  # whoever asked is gone, or was told that the server is away
                self._waiting.append(
                    (given_back(operation, verdict, input_tokens=0, output_tokens=0, cost_nanos=0), None)
                )

    def _count(self, operation: Demand | Settlement, change: int) -> None:
        if change:
            key = (operation.contract, operation.model)
            self._held[key] = self._held.get(key, 0) + change
            if self._held[key] <= 0:
                del self._held[key]

    async def _begin_outage(self, error: Exception) -> None:
        if not self.down:
            self.down = True
            self.outages += 1
            self._told(True)
            self._log.error("counters_down", error=str(error) or type(error).__name__, allow=self._allow)
        group = () if self._unsure is None else self._unsure[1]
        for _, future in (*group, *self._waiting):
            if future is not None and not future.done():
                future.set_result(None)
        self._waiting = [waiting for waiting in self._waiting if waiting[1] is None]
        if isinstance(error, ResponseError):  # it was taken, and would fail again
            self._unsure = None
        with contextlib.suppress(RedisError, OSError):
            await self._redis.connection_pool.disconnect()

    def _end_outage(self) -> None:
        if self.down:
            self.down = False
            self._told(False)
            self._log.info("counters_back")


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode
