"""The Responses API as a fold: chunks of a chat go in, events come out, and `response` is what they amount to.

It knows the order of events (OpenAI's `ResponseStreamEvent`, Open Responses' state machines) and no I/O: ids and time
are given to it. An answer that is not streamed is the same fold, whose events nobody is told.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, get_args

from fundament.errors import RequestError, UpstreamFailure
from fundament.protocol.responses import ServiceTier
from fundament.protocol.usage import Usage
from fundament.responses.chunks import CallPiece, Choice, Chunk
from fundament.responses.items import (
    CALL_FORMS,
    ID_PREFIXES,
    LIST_BROKEN_OFF,
    TEXT_FORMS,
    CallItem,
    Json,
    RemoteCallItem,
    Status,
    TextItem,
    TextPart,
    TextType,
    ToolListItem,
    shown_logprobs,
)
from fundament.responses.remote_functions import RemoteFunction, RemoteFunctions, RemoteResult
from fundament.responses.resource import shown_error, shown_usage
from fundament.responses.tools import Named

Event = dict[str, Any]
Item = TextItem | CallItem | RemoteCallItem | ToolListItem

_INCOMPLETE: Mapping[str, str] = MappingProxyType({"length": "max_output_tokens", "content_filter": "content_filter"})
_TIERS = frozenset(get_args(ServiceTier))  # some servers have tiers of their own, which clients do not know
_BROKEN = frozenset({"abort", "error"})  # how servers say that they gave up in the middle
_ON_THE_WAY = frozenset({"reasoning", "mcp_list_tools", "mcp_call"})  # items that are no answer yet


class ResponseFold:
    """One response, from `start` through `feed`s to `finish`, `fail` or `cancel`; each gives the events to send.

    Items are told one after the other: an item opens with its first piece and closes when another one begins. Only
    calls of MCP servers stay open, in `waiting`, until `answer_call`; then the model may have another turn.

    Args:
        response: the response object before anything happened (`new_response`).
        new_id: makes an id that begins with the given prefix and `_`.
        namespaced: tools in namespaces, by their names in the chat.
    """

    def __init__(
        self,
        response: Mapping[str, Any],
        new_id: Callable[[str], str],
        namespaced: Mapping[str, Named] = MappingProxyType({}),
    ) -> None:
        self._response = dict(response)
        self._new_id = new_id
        self._namespaced = namespaced
        self._told = True
        self._events: list[Event] = []
        self._sequence_number = 0
        self._output: list[Json] = []  # all items but the open one; those in `waiting` as they are in progress
        self._item: Item | None = None
        self._part: TextPart | None = None
        self._call_ids: dict[int, str | None] = {}
        self._call_index = -1
        self._spent: Usage | None = None  # by the turns before this one
        self._usage: Usage | None = None
        self._finish_reason: str | None = None
        self._functions: RemoteFunctions = MappingProxyType({})
        self.waiting: list[RemoteCallItem] = []
        self.hands_over = False

    @property
    def response(self) -> Json:
        """The response object as it is now, what is being told included; it does not change afterwards."""
        growing = [] if self._item is None or _is_question(self._item) else [self._item.shown("in_progress")]
        return {**self._response, "output": [*self._output, *growing]}

    @property
    def status(self) -> str:
        return self._response["status"]

    @property
    def usage(self) -> Usage | None:
        """What all turns so far have cost, as far as they told it."""
        if self._spent is None or self._usage is None:
            return self._spent or self._usage
        return self._spent + self._usage

    # What happens to a response.

    def queue(self) -> list[Event]:
        """It waits for its turn, in the background."""
        self._response["status"] = "queued"
        self._tell("created")
        self._tell("queued")
        return self._taken()

    def start(self, *, told: bool = True) -> list[Event]:
        """The model is asked; with `told` false, nobody wants the events of what follows, and there are none."""
        self._response["status"] = "in_progress"
        self._told = told
        if self._sequence_number == 0:
            self._tell("created")
        self._tell("in_progress")
        return self._taken()

    def feed(self, chunk: Chunk) -> list[Event]:
        """The model goes on; of several choices, the first counts.

        Raises:
            UpstreamFailure: the chunks contradict each other.
        """
        for choice in chunk.choices:
            if choice.index == 0:
                self._read(choice)
        self._usage = chunk.usage or self._usage
        if chunk.service_tier in _TIERS:
            self._response["service_tier"] = chunk.service_tier
        return self._taken()

    def finish(self, completed_at: int) -> list[Event]:
        """The chat's stream is over, at `completed_at` (Unix time, seconds); a stream without an end has failed."""
        reason = self._finish_reason
        if reason is None or reason in _BROKEN:
            return self.fail(UpstreamFailure("The model's server broke off its answer.", code="upstream_error"))
        if reason in _INCOMPLETE:
            return self._end("incomplete", incomplete_details={"reason": _INCOMPLETE[reason]})
        if not self._has_answer():
            self._open_part("output_text")  # clients read output[0].content[0], also of an answer without words
        return self._end("completed", completed_at=completed_at)

    def finish_unanswered(self, completed_at: int) -> list[Event]:
        """The model was not to be asked: the response has its input only."""
        return self._end("completed", completed_at=completed_at)

    # What happens between the turns of the model, where it has tools of MCP servers.

    def list_tools(self, server_label: str) -> list[Event]:
        """A server is asked for its tools."""
        self._open_item(ToolListItem(self._new_id("mcpl"), server_label))
        self._emit_in_item("response.mcp_list_tools.in_progress")
        return self._taken()

    def answer_list(self, tools: list[Json], error: str | None = None) -> list[Event]:
        """It told its tools, or `error` says why not."""
        item = self._item
        if isinstance(item, ToolListItem):
            item.tools, item.error = tools, error
            self._emit_in_item(f"response.mcp_list_tools.{'completed' if error is None else 'failed'}")
            self._close_item("completed")
        return self._taken()

    def next_turn(self, functions: RemoteFunctions) -> None:
        """The model is asked, with these functions of MCP servers."""
        self._functions = functions
        self._spent, self._usage = self.usage, None
        self._finish_reason = None
        self._call_ids, self._call_index = {}, -1
        self.hands_over = False

    def end_turn(self) -> list[Event]:
        """The chat's stream is over; if the turn `is_whole`, its calls of MCP servers are in `waiting`.

        `hands_over` tells whether it asked the client for something: to call a function, or to approve a call.
        """
        if self.is_whole:
            self._close_item("completed")
        return self._taken()

    @property
    def is_whole(self) -> bool:
        """Whether the model said in this turn all that it wanted to say."""
        reason = self._finish_reason
        return reason is not None and reason not in _BROKEN and reason not in _INCOMPLETE

    def call_approved(self, function: RemoteFunction, arguments: str, approval_request_id: str) -> list[Event]:
        """The client approved a call of an earlier response."""
        self._open_remote_call(function, approval_request_id)
        self._add_argument(arguments)
        self._close_item("completed")
        return self._taken()

    def answer_call(self, call: RemoteCallItem, result: RemoteResult | None) -> list[Event]:
        """A call that waited has a result; or None: it is not made."""
        self.waiting.remove(call)
        if result is None:
            self._end_call(call, "incomplete")
        else:
            call.result = result
            status: Status = "completed" if result.error is None else "failed"
            self._emit(f"response.mcp_call.{status}", item_id=call.id, output_index=call.output_index)
            self._end_call(call, status)
        return self._taken()

    # How a response ends before it is complete.

    def fail(self, failure: RequestError) -> list[Event]:
        """It cannot be finished, and `failure` says why."""
        return self._end("failed", error=shown_error(failure))

    def cancel(self) -> list[Event]:
        """Somebody cancelled it: what is open closes. OpenAI has no event for the rest."""
        self._settle("cancelled")
        return self._taken()

    # What a chunk says.

    def _read(self, choice: Choice) -> None:
        delta = choice.delta
        if delta is not None:
            if reasoning := delta.reasoning_content or delta.reasoning:
                self._add_text("reasoning_text", reasoning)
            if delta.content is not None:
                self._add_output_text(delta.content, choice)
            if delta.refusal:
                self._add_text("refusal", delta.refusal)
            for piece in delta.tool_calls or ():
                self._add_call_piece(piece)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _add_output_text(self, text: str, choice: Choice) -> None:
        # A token that is half a character has logprobs, and no text yet.
        tokens = (choice.logprobs and choice.logprobs.content) or ()
        if text or tokens:
            logprobs = shown_logprobs(tokens) if tokens else []
            self._add_text("output_text", text, logprobs=logprobs).logprobs += logprobs

    def _add_text(self, type: TextType, text: str, **more: Any) -> TextPart:
        part = self._part
        if part is None or part.type != type:
            part = self._open_part(type)
        part.pieces.append(text)
        if self._told:
            self._emit_in_part(part, f"{TEXT_FORMS[type].events}.delta", delta=text, **more)
        return part

    def _add_call_piece(self, piece: CallPiece) -> None:
        if self._begins_call(piece):
            self._open_call(piece)
        if not isinstance(self._item, CallItem | RemoteCallItem) or piece.index != self._call_index:
            raise UpstreamFailure(
                "The model's server went back to a tool call that it had left.", code="upstream_error"
            )
        said = (piece.function and piece.function.arguments) or (piece.custom and piece.custom.input)
        if said:
            self._add_argument(said)

    def _add_argument(self, said: str) -> None:
        call = self._item
        if isinstance(call, CallItem | RemoteCallItem):
            call.pieces.append(said)
            if not _is_question(call):
                self._emit_in_item(f"{CALL_FORMS[call.type].events}.delta", delta=said)

    def _begins_call(self, piece: CallPiece) -> bool:
        """Some servers number all calls 0 and tell them apart by their ids; some repeat the id with every piece."""
        known = self._call_ids.get(piece.index)
        return piece.index not in self._call_ids or (piece.id is not None and known is not None and piece.id != known)

    # Opening and closing items and parts.

    def _open_call(self, piece: CallPiece) -> None:
        type = "function_call" if piece.custom is None else "custom_tool_call"
        name = (piece.custom and piece.custom.name) or (piece.function and piece.function.name)
        if not name:
            raise UpstreamFailure("The model's server began a tool call without a name.", code="upstream_error")
        self._call_ids[piece.index] = piece.id
        self._call_index = piece.index
        if type == "function_call" and name in self._functions:
            self._open_remote_call(self._functions[name])
            return
        self.hands_over = True
        named = self._namespaced.get(name)
        namespace, name = (None, name) if named is None else named
        ids = (self._new_id(CALL_FORMS[type].prefix), piece.id or self._new_id("call"))
        self._open_item(CallItem(type, *ids, name=name, namespace=namespace))

    def _open_remote_call(self, function: RemoteFunction, approval_request_id: str | None = None) -> None:
        self._close_item("completed")
        call = RemoteCallItem("", function, len(self._output), approval_request_id)
        call.id = self._new_id(CALL_FORMS[call.type].prefix)
        if call.is_question:
            self._item = call  # it is told when it is whole: nobody approves the half of a call
            return
        self._open_item(call)
        self._emit_in_item("response.mcp_call.in_progress")

    def _open_part(self, type: TextType) -> TextPart:
        self._close_part()
        item, wanted = self._item, TEXT_FORMS[type].item
        if not isinstance(item, TextItem) or item.type != wanted:
            item = TextItem(wanted, self._new_id(ID_PREFIXES[wanted]))
            self._open_item(item)
        self._part = part = TextPart(type, item.id, len(item.parts))
        item.parts.append(part)
        if self._told:
            self._emit_in_part(part, "response.content_part.added", part=part.shown())
        return part

    def _open_item(self, item: Item) -> None:
        self._close_item("completed")
        self._item = item
        if self._told:
            self._emit("response.output_item.added", output_index=len(self._output), item=item.shown("in_progress"))

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is None or not self._told:
            return
        form, shown = TEXT_FORMS[part.type], part.shown()
        told = {name: shown[name] for name in (form.field, "logprobs") if name in shown}
        self._emit_in_part(part, f"{form.events}.done", **told)
        self._emit_in_part(part, "response.content_part.done", part=shown)

    def _close_item(self, status: Status) -> None:
        self._close_part()
        item = self._item
        if item is None:
            return
        if isinstance(item, RemoteCallItem) and item.is_question:
            self._ask_approval(item, status)
            return
        if isinstance(item, CallItem | RemoteCallItem):
            form = CALL_FORMS[item.type]
            name = {"name": item.name} if item.type == "function_call" else {}
            self._emit_in_item(f"{form.events}.done", **name, **{form.field: item.arguments})
        elif isinstance(item, ToolListItem) and status == "incomplete":
            item.error = LIST_BROKEN_OFF
            self._emit_in_item("response.mcp_list_tools.failed")
        self._item = None
        if isinstance(item, RemoteCallItem):
            self._output.append(item.shown("in_progress"))
            self.waiting.append(item)
            return
        shown = item.shown(status)
        self._emit("response.output_item.done", output_index=len(self._output), item=shown)
        self._output.append(shown)

    def _ask_approval(self, call: RemoteCallItem, status: Status) -> None:
        self._item = None
        if status == "completed":
            self.hands_over = True
            shown = call.shown(status)
            for event in ("added", "done"):
                self._emit(f"response.output_item.{event}", output_index=len(self._output), item=shown)
            self._output.append(shown)

    def _end_call(self, call: RemoteCallItem, status: Status) -> None:
        self._output[call.output_index] = shown = call.shown(status)
        self._emit("response.output_item.done", output_index=call.output_index, item=shown)

    def _has_answer(self) -> bool:
        types = [item["type"] for item in self._output] + ([] if self._item is None else [self._item.type])
        return not _ON_THE_WAY.issuperset(types)

    def _end(self, status: str, **fields: Any) -> list[Event]:
        self._settle(status, **fields)
        self._tell(status)
        return self._taken()

    def _settle(self, status: str, **fields: Any) -> None:
        self._close_item("completed" if status == "completed" else "incomplete")
        for call in self.waiting:
            self._end_call(call, "incomplete")
        self.waiting.clear()
        usage = None if self.usage is None else shown_usage(self.usage)
        self._response.update(status=status, usage=usage, **fields)

    # Events.

    def _tell(self, status: str) -> None:
        if self._told:
            self._emit(f"response.{status}", response=self.response)

    def _emit_in_part(self, part: TextPart, type: str, /, **fields: Any) -> None:
        self._emit(type, item_id=part.item_id, output_index=len(self._output), content_index=part.index, **fields)

    def _emit_in_item(self, type: str, /, **fields: Any) -> None:
        self._emit(type, item_id=self._item.id if self._item else "", output_index=len(self._output), **fields)

    def _emit(self, type: str, /, **fields: Any) -> None:
        if not self._told:
            return
        self._events.append({"type": type, "sequence_number": self._sequence_number, **fields})
        self._sequence_number += 1

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def _is_question(item: Item) -> bool:
    return isinstance(item, RemoteCallItem) and item.is_question
