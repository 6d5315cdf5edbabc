"""One response in the making: a chat is asked, its chunks go through the fold, and events come out.

It joins translation, backend and fold, and `Turns` where tools are on MCP servers; it knows neither HTTP nor where
responses are kept.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from fundament.backends.call import Answer, Backend, Call
from fundament.errors import ContextLengthExceeded, InvalidRequest, RequestError, UpstreamFailure, UpstreamRefused
from fundament.protocol.responses import ResponsesRequest
from fundament.protocol.responses_tools import McpTool
from fundament.protocol.usage import Usage
from fundament.responses.chunks import Chunk, decode_chunk, decode_completion
from fundament.responses.fold import Event, ResponseFold
from fundament.responses.history import Json, typed
from fundament.responses.remote import RemoteServers
from fundament.responses.resource import ENDED, new_response
from fundament.responses.tools import namespaced, tool_paths
from fundament.responses.translation import chat_request, responses_param
from fundament.responses.turns import Turns


class Making:
    """The response with the id `id` to `request`; what came before it is `history`.

    Args:
        new_id: makes an id that begins with the given prefix and `_`.
        allow_private: whether MCP servers at addresses that are not public may be asked.
        traceparent: the header of W3C Trace Context for the model's server, where requests are traced.

    Raises:
        InvalidRequest: what nobody behind a chat, and no MCP server, could be asked, by name.
    """

    def __init__(
        self,
        request: ResponsesRequest,
        history: list[Json],
        backend: Backend,
        *,
        id: str,
        created_at: int,
        new_id: Callable[[str], str],
        allow_private: bool = False,
        traceparent: str | None = None,
    ) -> None:
        tools = request.tools or []
        self.fold = ResponseFold(new_response(request, id=id, created_at=created_at), new_id, namespaced(tools))
        self._servers: RemoteServers | None = None
        self._turns: Turns | None = None
        self._body: Json = {}
        items = self._items = typed(history)
        if any(isinstance(tool, McpTool) for tool in tools):
            self._servers = RemoteServers(tools, allow_private=allow_private)
            self._turns = Turns(request, items, self.fold, ask=self._ask, servers=self._servers)
        else:
            self._body = chat_request(request, items)
        self._request = request
        self._backend = backend
        self._id = id
        self._created_at = created_at
        self._traceparent = traceparent
        self._answer: Answer | None = None
        self._is_asked = False
        self._turning = None if self._turns is None else self._turns.events()
        self._begun: list[list[Event]] = []
        self._failure: RequestError | None = None

    @property
    def usage(self) -> Usage | None:
        """What was used so far, by the model's server; of several turns, those that are over."""
        if self._turns is not None:
            return self.fold.usage
        return None if self._answer is None else self._answer.usage

    def asked(self) -> Mapping[str, Any]:
        """What the model is asked first, as JSON."""
        if self._turns is None:
            return self._body
        items = [*self._items, *self._request.items]
        return {"input": msgspec.to_builtins(items), "tools": msgspec.to_builtins(self._request.tools)}

    @property
    def ended(self) -> bool:
        return self.fold.status in ENDED

    async def open(self, *, stream: bool) -> None:
        """Asks the model; returns when its answer has begun. Turns ask it later, after the tools' servers.

        Raises:
            RequestError: the model's server refused, failed or is full; `param` is one of this API's.
        """
        if self._turns is None:
            self._answer = await self._open(self._body, stream=stream)

    async def peek(self) -> None:
        """Goes on until the model has begun to answer, so that its refusal is still nobody's event.

        A call that the client approved is an event at once, before it is made.

        Raises:
            RequestError: as `open`.
        """
        if self._turning is None:
            return
        self._begun.append(self.fold.start())
        try:
            async for events in self._turning:
                self._begun.append(events)
                if self._answer is not None or any(event.get("item", {}).get("type") == "mcp_call" for event in events):
                    return
        except RequestError as failure:
            if self._is_asked and self._answer is None:
                raise
            self._failure = failure

    async def _open(self, body: Json, *, stream: bool) -> Answer:
        """With `truncation: auto`, old turns make room."""
        while True:
            try:
                return await self._backend.open(self._call(body, stream=stream))
            except ContextLengthExceeded as overflow:
                shorter = None
                if self._request.truncation == "auto":
                    shorter = _without_oldest(body["messages"], overflow.context_tokens / overflow.prompt_tokens)
                if shorter is None:
                    raise ContextLengthExceeded(overflow.context_tokens, overflow.prompt_tokens, "input") from None
                body = {**body, "messages": shorter}
            except (InvalidRequest, UpstreamRefused) as refused:
                raise self._in_our_terms(refused) from None

    async def _ask(self, body: Json) -> AsyncIterator[Chunk]:
        """One turn's chunks."""
        if self._answer is not None:
            self._answer.close()
        self._is_asked = True
        self._answer = answer = await self._open(body, stream=True)
        return _chunks(answer)

    async def count(self) -> int:
        """How many tokens the model reads before it answers.

        Raises:
            InvalidRequest: its server cannot tell.
        """
        body = self._body
        if self._turns is not None:  # without the tools of servers, which are not asked for this
            body = chat_request(replace(self._request, tool_choice=None), self._items, functions={})
        try:
            return await self._backend.count(self._call(body, stream=True))
        except InvalidRequest as refused:
            raise self._in_our_terms(refused) from None

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events of a streamed answer, from the first to the last.

        A failure is an event, too. Nothing is raised but what cancels the task.
        """
        for events in self._begun or [self.fold.start()]:
            yield events
        try:
            if self._failure is not None:
                raise self._failure
            async for events in self._told():
                yield events
        except RequestError as failure:
            yield self.fold.fail(failure)
        else:
            yield self.fold.finish(int(time.time()))

    async def whole(self) -> None:
        """Takes an answer that is not streamed into the fold.

        Raises:
            RequestError: the model's server, or a tool's, failed.
        """
        self.fold.start(told=False)
        if self._turning is not None:
            async for _ in self._turning:
                pass
        else:
            self.fold.feed(decode_completion(await self._opened.whole()))
        self.fold.finish(int(time.time()))
        if self.fold.status == "failed":
            raise UpstreamFailure(self.fold.response["error"]["message"], code="upstream_error")

    async def close(self) -> None:
        """Ends what is still open, at the model's server and at those of tools."""
        if self._answer is not None:
            self._answer.close()
        if self._servers is not None:
            await self._servers.close()

    async def _told(self) -> AsyncIterator[list[Event]]:
        if self._turning is not None:
            async for events in self._turning:
                yield events
            return
        async for chunk in _chunks(self._opened):
            if events := self.fold.feed(chunk):
                yield events

    @property
    def _opened(self) -> Answer:
        assert self._answer is not None, "open() comes first"  # noqa: S101 - for the type checker
        return self._answer

    def _in_our_terms(self, refused: InvalidRequest | UpstreamRefused) -> RequestError:
        """A chat's refusal, by the names of this API's parameters."""
        if refused.param is not None:
            tools = self._request.tools or []
            paths = tool_paths(tools) if self._turns is None else tool_paths(tools, self._turns.offered)
            refused.param = responses_param(refused.param, paths)
        return refused

    def _call(self, body: Mapping[str, Any], *, stream: bool) -> Call:
        return Call(
            kind="chat",
            body={**body, "stream": True} if stream else body,
            model=self._request.model,
            stream=stream,
            include_usage=True,
            prompts=1,
            n=1,
            kept=1,
            id=f"chatcmpl-{self._id.removeprefix('resp_')}",
            created=self._created_at,
            traceparent=self._traceparent,
        )


async def _chunks(answer: Answer) -> AsyncIterator[Chunk]:
    """The chunks of a chat's stream."""
    while events := await answer.read():
        for event in events.split(b"\n\n"):
            if event.startswith(b"data:") and (data := event[5:].lstrip()) != b"[DONE]":
                yield decode_chunk(data)


def _without_oldest(messages: list[Json], share: float) -> list[Json] | None:
    """The messages without their oldest turns, so that about `share` of them is left; None if one turn is all.

    A turn is a user's message with all that follows it, so that no result of a tool loses its call.
    """
    begins = [place for place, message in enumerate(messages) if message["role"] == "user"]
    if len(begins) < 2:
        return None
    sizes = [len(str(message.get("content"))) + len(str(message.get("tool_calls", ""))) for message in messages]
    wanted = sum(sizes) * min(share, 0.95)
    head = messages[: begins[0]]
    for begin in begins[1:]:
        if sum(sizes[: len(head)]) + sum(sizes[begin:]) <= wanted:
            return [*head, *messages[begin:]]
    return [*head, *messages[begins[-1] :]]
