"""Upstreams with circuits for the tests, at addresses of scripted servers, with a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from backends.http_peers import connected
from backends.played import call
from fundament.backends.circuit import FAILURES, Circuit
from fundament.backends.gate import Gate
from fundament.backends.pool import AnyUpstream, Pool
from fundament.backends.profiles import PROFILES, Profile
from fundament.backends.upstream import Upstream
from fundament.errors import RequestError

NOBODY = "http://127.0.0.1:1"
BODY: dict[str, Any] = {"model": "asked", "messages": [{"role": "user", "content": "x"}]}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def upstream_at(
    base_url: str,
    clock: Clock,
    *,
    limit: int = 4,
    queue: int = 4,
    profile: Profile = PROFILES["openai"],
    **times: float,
) -> AsyncIterator[Upstream]:
    async with connected(base_url, **times) as client:
        circuit = Circuit(clock=clock)
        yield Upstream(client=client, profile=profile, gate=Gate(limit, queue), model="theirs", circuit=circuit)


@asynccontextmanager
async def pool_of(*base_urls: str, clock: Clock | None = None, **options: Any) -> AsyncIterator["PoolOf"]:
    async with AsyncExitStack() as stack:
        upstreams = [
            await stack.enter_async_context(upstream_at(each, clock or Clock(), **options)) for each in base_urls
        ]
        yield PoolOf(upstreams)


class PoolOf(Pool):
    """A pool whose upstreams, and what it told, can be looked at."""

    def __init__(self, upstreams: list[Upstream]) -> None:
        self.upstreams = upstreams
        self.told: list[int] = []
        super().__init__(upstreams, self.told.append)


async def said(backend: AnyUpstream, **changes: Any) -> bytes:
    """The body of an answer that is not streamed."""
    answer = await backend.open(call(**{"body": BODY, "stream": False} | changes))
    try:
        return await answer.whole()
    finally:
        answer.close()


async def failure_of(backend: AnyUpstream, **changes: Any) -> RequestError:
    try:
        await said(backend, **changes)
    except RequestError as failure:
        return failure
    raise AssertionError("it did not fail")


async def open_circuit(upstream: Upstream) -> None:
    """Has the upstream asked so often that its circuit is open; it must fail."""
    for _ in range(FAILURES):
        await failure_of(upstream)
    assert upstream.rest_s > 0


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
