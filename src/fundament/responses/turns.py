"""The turns of a model whose tools are on MCP servers: it is asked, its calls are made, it is asked again.

It knows the order of these things; it knows neither HTTP nor who answers: chats, servers and the fold are given to it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from fundament.errors import InvalidRequest, RequestError
from fundament.protocol.responses import ResponsesRequest, parse_items
from fundament.protocol.responses_items import Item, McpApprovalRequest, McpApprovalResponse, McpCall, McpListTools
from fundament.protocol.responses_tools import AllowedToolsChoice, McpTool, ToolChoice
from fundament.responses.chunks import Chunk
from fundament.responses.fold import Event, ResponseFold
from fundament.responses.items import RemoteCallItem
from fundament.responses.remote import Servers
from fundament.responses.remote_functions import (
    ListedTool,
    RemoteFunction,
    RemoteFunctions,
    RemoteResult,
    ServerFault,
    chat_name,
    functions_of,
    read_listed,
)
from fundament.responses.translation import chat_request

Ask = Callable[[dict[str, Any]], Awaitable[AsyncIterator[Chunk]]]
"""Asks a chat: gives the chunks of the answer to this body. Who gives them closes what is behind them."""

MAX_CALLS = 128
"""Calls of MCP servers in one response, where the request allows more: a model can go round in circles."""

_NO_SUCH_TOOL = RemoteResult(error=ServerFault.protocol(-32602, "there is no such tool among those allowed").error)
_NO_FUNCTIONS: RemoteFunctions = MappingProxyType({})


class Turns:
    """All that happens between `start` and `finish` of a fold.

    Args:
        history: the items before the request's own, the oldest first, references resolved.
        servers: the MCP servers that `request` names.

    Attributes:
        offered: the functions that the model was last asked with.

    Raises:
        InvalidRequest: as `chat_request`; an approval of something that was not asked, or that no server of the
            request has.
    """

    def __init__(
        self, request: ResponsesRequest, history: Sequence[Item], fold: ResponseFold, *, ask: Ask, servers: Servers
    ) -> None:
        self._request = request
        self._history = history
        self._fold = fold
        self._ask = ask
        self._servers = servers
        self._tools = [tool for tool in request.tools or () if isinstance(tool, McpTool)]
        self._functions: dict[str, RemoteFunction] = {}
        self.offered: RemoteFunctions = _NO_FUNCTIONS
        self._left_calls = min(request.max_tool_calls or MAX_CALLS, MAX_CALLS)
        self._approved = self._approved_calls()
        self._check()

    async def events(self) -> AsyncIterator[list[Event]]:
        """The fold's events, as they happen; the first come when a server is asked, or when the model has answered.

        Raises:
            RequestError: a server gave no tools, or the model no answer: the fold can `fail` with it.
        """
        async for events in self._list_tools():
            yield events
        async for events in self._call_approved():
            yield events
        request = self._request
        while True:
            self.offered = self._functions if self._left_calls > 0 else _NO_FUNCTIONS
            async for chunk in await self._ask(self._body(request, self.offered)):
                if events := self._fold.feed(chunk):
                    yield events
            if events := self._fold.end_turn():
                yield events
            calls = list(self._fold.waiting) if self._fold.is_whole else []
            for call in calls:
                yield await self._answer(call)
            if not calls or not self.offered or self._fold.hands_over:
                return
            request = self._later(request)

    def _check(self) -> None:
        """Before a server is asked for anything: what is refused later has cost calls."""
        answered = [
            McpCall(id=call.id, server_label=call.server_label, name=call.name, arguments=call.arguments, output="")
            for call in self._approved
        ]
        chat_request(
            replace(self._request, tool_choice=None), self._history, answered=answered, functions=_NO_FUNCTIONS
        )

    def _body(self, request: ResponsesRequest, offered: RemoteFunctions) -> dict[str, Any]:
        self._fold.next_turn(self._functions)
        answered = parse_items(self._fold.response["output"])
        return chat_request(request, self._history, answered=answered, functions=offered)

    def _later(self, request: ResponsesRequest) -> ResponsesRequest:
        """The request for the next turn: a tool that was demanded was called, and some tokens are spent."""
        left_tokens, usage = self._request.max_output_tokens, self._fold.usage
        if left_tokens is not None and usage is not None:
            left_tokens = max(1, left_tokens - usage.completion_tokens)
        return replace(request, tool_choice=_undemanding(request.tool_choice), max_output_tokens=left_tokens)

    async def _list_tools(self) -> AsyncIterator[list[Event]]:
        for tool in self._tools:
            listed = self._listed_before(tool.server_label)
            if listed is None:
                yield self._fold.list_tools(tool.server_label)
                try:
                    shown = await self._servers.list_tools(tool.server_label)
                except RequestError as failure:
                    yield self._fold.answer_list([], failure.message)
                    raise
                yield self._fold.answer_list(shown)
                listed = read_listed(shown, "tools")
            self._functions |= functions_of(tool, listed)

    def _listed_before(self, server_label: str) -> list[ListedTool] | None:
        """The server's tools as an earlier response told them; then it is not asked again."""
        for item in reversed([*self._history, *self._request.items]):
            if isinstance(item, McpListTools) and item.server_label == server_label and item.error is None:
                return read_listed(item.tools, "input")
        return None

    def _approved_calls(self) -> list[McpApprovalRequest]:
        """What the request approves and was not called yet."""
        items = [*self._history, *self._request.items]
        questions = {item.id: item for item in items if isinstance(item, McpApprovalRequest)}
        called = {item.approval_request_id for item in items if isinstance(item, McpCall)}
        approved: dict[str, McpApprovalRequest] = {}
        for position, item in enumerate(self._request.items):
            if not isinstance(item, McpApprovalResponse) or not item.approve or item.approval_request_id in called:
                continue
            question = questions.get(item.approval_request_id)
            labels = {tool.server_label for tool in self._tools}
            if question is None or question.server_label not in labels:
                what = (
                    f"'{item.approval_request_id}'" if question is None else f"of MCP server '{question.server_label}'"
                )
                raise InvalidRequest(f"No approval request {what} can be answered here.", param=f"input[{position}]")
            approved[question.id] = question
        return list(approved.values())

    async def _call_approved(self) -> AsyncIterator[list[Event]]:
        for question in self._approved:
            known = self._functions.get(chat_name(question.server_label, question.name))
            unknown = RemoteFunction(question.server_label, ListedTool(question.name, {}), needs_approval=True)
            yield self._fold.call_approved(known or unknown, question.arguments, question.id)
            call = self._fold.waiting[-1]
            if known is None:  # the server lost it, or the request does not allow it any more
                yield self._fold.answer_call(call, _NO_SUCH_TOOL)
            else:
                yield await self._answer(call)

    async def _answer(self, call: RemoteCallItem) -> list[Event]:
        if self._left_calls <= 0:
            return self._fold.answer_call(call, None)
        self._left_calls -= 1
        function = call.function
        result = await self._servers.call(function.server_label, function.tool.name, call.arguments)
        return self._fold.answer_call(call, result)


def _undemanding(choice: ToolChoice | None) -> ToolChoice | None:
    if isinstance(choice, AllowedToolsChoice):
        return replace(choice, mode="auto")
    return "none" if choice == "none" else None
