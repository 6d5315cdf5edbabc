"""A scripted model that talks with tools on a real MCP server, and what everybody was told.

It holds each event to the oracles.
"""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fundament.errors import RequestError
from fundament.protocol import chat as chats
from fundament.protocol.responses import parse_items, validate
from fundament.responses.chunks import Chunk, read_chunk
from fundament.responses.fold import Event, ResponseFold
from fundament.responses.remote import RemoteServers
from fundament.responses.resource import new_response
from fundament.responses.turns import Turns
from responses.chat_chunks import chunk
from responses.event_client import fold_events
from responses.event_grammar import assert_in_order
from responses.mcp_servers import Serving
from responses.test_fold import new_id
from specification import assert_valid, assert_valid_event, assert_valid_response

Json = dict[str, Any]
USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def call(name: str, index: int = 0, **arguments: Any) -> list[Json]:
    """Chunks of a call, its arguments in two pieces."""
    written = json.dumps(arguments)
    first = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [{"index": index, "function": {"arguments": piece}} for piece in (written[:3], written[3:]) if piece]
    return [chunk(tool_calls=[piece]) for piece in (first, *pieces)]


def turn(*chunks: Json, finish_reason: str | None = "stop") -> list[Json]:
    return [*chunks, chunk(finish_reason), {"choices": [], "usage": USAGE}]


ADD = call("mcp__s__add", a=1, b=2)
SAY = turn(chunk(content="It is 3."))


class Talk:
    """One response: what the model was asked, what the client was told, and how it ended."""

    def __init__(self, server: Serving, turns: Sequence[Sequence[Json]], history: Sequence[Json], body: Json) -> None:
        self.asked: list[Json] = []
        self.events: list[Event] = []
        self.failure: RequestError | None = None
        self._turns = list(turns)
        self._history = parse_items(history)
        tool = {"type": "mcp", "server_label": "s", "server_url": server.url, "require_approval": "never"}
        self._body: Json = {"model": "m", "input": "What is 1 + 2?", "tools": [tool], **body}

    async def run(self) -> "Talk":
        request = validate(self._body)
        fold = ResponseFold(new_response(request, id="resp_1", created_at=1), new_id())
        servers = RemoteServers(request.tools or [], allow_private=True, list_timeout_s=2.0, call_timeout_s=2.0)
        turns = Turns(request, self._history, fold, ask=self._ask, servers=servers)
        self.events += fold.start()
        try:
            async for events in turns.events():
                self.events += events
            self.events += fold.finish(2)
        except RequestError as failure:
            self.failure = failure
            self.events += fold.fail(failure)
        await servers.close()
        for event in self.events:
            assert_valid_event(event)
        assert_in_order(self.events)
        assert fold_events(self.events) == fold.response
        self.response: Json = assert_valid_response(fold.response)
        return self

    async def _ask(self, body: Json) -> AsyncIterator[Chunk]:
        sent = json.loads(json.dumps(body))
        chats.validate(sent)
        # What the model thought goes back to it where servers take it; OpenAI's chats have no field for it.
        assert_valid("CreateChatCompletionRequest", sent, undeclared=["messages[].reasoning_content"])
        self.asked.append(body)
        return self._answer(self._turns[len(self.asked) - 1])

    async def _answer(self, chunks: Sequence[Json]) -> AsyncIterator[Chunk]:
        for one in chunks:
            yield read_chunk(one)

    @property
    def types(self) -> list[str]:
        return [item["type"] for item in self.response["output"]]

    @property
    def told(self) -> list[str]:
        return [event["type"].removeprefix("response.") for event in self.events]


async def talk(server: Serving, *turns: Sequence[Json], history: Sequence[Json] = (), **body: Any) -> Talk:
    return await Talk(server, turns, history, body).run()


def mcp(server: Serving, **fields: Any) -> Json:
    return {"type": "mcp", "server_label": "s", "server_url": server.url, **fields}
