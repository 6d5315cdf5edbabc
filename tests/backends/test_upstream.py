"""One server behind the catalogue: its places are given back whatever happens, and its refusals are ours."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from backends.played import call
from fundament.backends.client import Client
from fundament.backends.gate import Gate
from fundament.backends.profiles import EMBEDDED, PROFILES, Profile
from fundament.backends.upstream import Upstream
from fundament.errors import ContextLengthExceeded, InvalidRequest, RequestError, Unavailable
from fundament.outbox import Outbox
from scripted_answers import Answer, Close, Hang, chat_answer, chat_stream, error_answer, json_answer
from scripted_upstream import ScriptedUpstream

BODY: dict[str, Any] = {"model": "asked", "messages": [{"role": "user", "content": "x"}]}


@asynccontextmanager
async def upstream_at(
    base_url: str, profile: Profile = PROFILES["openai"], *, limit: int = 2, context_tokens: int | None = None
) -> AsyncIterator[Upstream]:
    client = Client(
        base_url,
        headers={},
        connect_timeout_s=2,
        first_byte_timeout_s=5,
        idle_timeout_s=5,
        outbox=Outbox(first=lambda: None),
    )
    yield Upstream(
        client=client,
        profile=profile,
        gate=Gate(limit, 3),
        model="theirs",
        fingerprint="fp",
        context_tokens=context_tokens,
    )
    client.close()
    await asyncio.sleep(0.01)


async def test_an_answer_holds_a_place_until_it_is_closed(upstream: ScriptedUpstream) -> None:
    upstream.answer(chat_answer("x"), chat_stream(["x"]))
    async with upstream_at(upstream.base_url) as server:
        for stream in (False, True):
            answer = await server.open(call(body=BODY, stream=stream))
            assert server.gate.free == 1
            await (answer.read() if stream else answer.whole())
            answer.close()
            assert server.gate.free == 2


@pytest.mark.parametrize(
    "broken", [error_answer(400, "no"), error_answer(500, "no"), Answer([Close()]), Answer([b"x", Close()], status=400)]
)
async def test_a_failure_gives_its_place_back(upstream: ScriptedUpstream, broken: Answer) -> None:
    upstream.answer(broken)
    async with upstream_at(upstream.base_url) as server:
        with pytest.raises(RequestError):
            await server.open(call(body=BODY, stream=False))
        assert server.gate.free == 2


async def test_who_leaves_while_the_server_thinks_or_while_waiting_gives_everything_back(
    upstream: ScriptedUpstream,
) -> None:
    upstream.default(Answer([Hang()]))
    async with upstream_at(upstream.base_url, limit=1) as server:
        tasks = [asyncio.create_task(server.open(call(body=BODY))) for _ in range(3)]
        await asyncio.to_thread(upstream.wait_requests)
        assert (server.gate.free, server.gate.waiting) == (0, 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (server.gate.free, server.gate.waiting) == (1, 0)
        await asyncio.to_thread(upstream.wait_closed)
    assert len(upstream.requests) == 1


async def test_our_engine_needs_a_place_for_each_choice_and_refuses_more_than_it_has(
    upstream: ScriptedUpstream,
) -> None:
    upstream.default(Answer([Hang()]))
    async with upstream_at(upstream.base_url, EMBEDDED) as server:
        with pytest.raises(InvalidRequest) as caught:
            await server.open(call(body=BODY, n=3))
        assert (caught.value.param, caught.value.code) == ("n", "integer_above_max_value")
        task = asyncio.create_task(server.open(call(body=BODY, n=2)))
        await asyncio.to_thread(upstream.wait_requests)
        assert server.gate.free == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert server.gate.free == 2


async def test_an_engine_that_is_not_there_or_dies_before_it_answers_is_starting(
    upstream: ScriptedUpstream,
) -> None:
    async with upstream_at("http://127.0.0.1:1", EMBEDDED) as server:
        with pytest.raises(Unavailable) as starting:
            await server.open(call(body=BODY))
        assert (starting.value.code, starting.value.retry_after_s) == ("model_starting", 2)
    upstream.answer(Answer([Close()]))
    async with upstream_at(upstream.base_url, EMBEDDED) as server:
        with pytest.raises(Unavailable):
            await server.open(call(body=BODY))


async def test_a_prompt_that_is_clearly_too_long_is_refused_before_it_takes_a_place(
    upstream: ScriptedUpstream,
) -> None:
    upstream.default(json_answer({"input_tokens": 51}))
    body = {"model": "asked", "messages": [{"role": "user", "content": "x" * 200}]}
    async with upstream_at(upstream.base_url, EMBEDDED, context_tokens=50) as server:
        await server.gate.enter(2)
        with pytest.raises(ContextLengthExceeded):
            await asyncio.wait_for(server.open(call(body=body)), 2)
    assert [request.target for request in upstream.requests] == ["/v1/v1/chat/completions/input_tokens"]


async def test_a_body_that_could_be_decoded_but_not_encoded_again_is_the_clients_fault() -> None:
    depth = sys.getrecursionlimit() - 100
    deep = msgspec.json.decode(b'{"tools":[' + b"[" * (depth - 200) + b"]" * (depth - 200) + b"]}")

    async def from_a_higher_stack(server: Upstream, frames: int) -> None:
        if frames:
            await from_a_higher_stack(server, frames - 1)
        else:
            await server.open(call(body=BODY | deep))

    async with upstream_at("http://127.0.0.1:1") as server:
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            await from_a_higher_stack(server, 260)
