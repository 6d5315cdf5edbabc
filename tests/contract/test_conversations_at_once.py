"""Fifty conversations of twenty turns at once, over two workers: nothing is lost, mixed or refused."""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from responding import MODEL, saying
from scripted_answers import Answer
from scripted_upstream import Request, ScriptedUpstream
from service import Service

CONVERSATIONS = 50
TURNS = 20
WITHIN_S = 30.0


def derived(contents: list[str]) -> str:
    """What the upstream answers to these messages: another text for any other history."""
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def answer(request: Request) -> Answer:
    contents = [message["content"] for message in request.json["messages"]]
    assert all(isinstance(content, str) for content in contents)
    text = derived(contents)
    return saying(text[:20], text[20:])(request)


@pytest.fixture
def service(database_url: str, tmp_path: Path, upstream: ScriptedUpstream) -> Any:
    """Two workers on each kind of database."""
    config = f'[storage]\ndatabase = "{database_url}"\n' + scripted_config(upstream.base_url)
    with Service(tmp_path / "service", config, environment=UPSTREAM_ENVIRONMENT, workers=2) as service:
        yield service


async def test_conversations_at_once_lose_and_mix_nothing(service: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(answer)
    started_at = time.monotonic()
    async with service.async_client() as client:
        await asyncio.gather(*(converse(client, number) for number in range(CONVERSATIONS)))
    assert time.monotonic() - started_at < WITHIN_S
    assert len(upstream.requests) == CONVERSATIONS * TURNS
    log = service.log_text()
    assert "locked" not in log, log
    assert "error" not in log, log


async def converse(client: Any, number: int) -> None:
    """One conversation, kept by id or by the chain of responses, streamed or not; every answer is the expected one."""
    by_conversation, stream = number % 2 == 0, number % 4 < 2
    place = (await client.conversations.create()).id if by_conversation else None
    previous = None
    contents: list[str] = []
    for turn in range(TURNS):
        question = f"{number}.{turn}?"
        contents.append(question)
        history = {"conversation": place} if by_conversation else {"previous_response_id": previous}
        fields: dict[str, Any] = {"model": MODEL, "input": question, **history}
        if stream:
            events = [event async for event in await client.responses.create(**fields, stream=True)]
            assert [event.sequence_number for event in events] == list(range(len(events)))
            response = events[-1].response
        else:
            response = await client.responses.create(**fields)
        previous = response.id
        assert response.output_text == derived(contents), f"turn {turn} of {number}"
        contents.append(response.output_text)
    if place is not None:
        items = [item async for item in client.conversations.items.list(place, order="asc", limit=100)]
        assert [item.content[0].text for item in items] == contents
