"""The Responses API as a fold: chunks of a chat go in, events come out, and `response` is what they amount to.

It knows the order of events (OpenAI's `ResponseStreamEvent`, Open Responses' state machines) and no I/O: ids and time
are given to it. An answer that is not streamed is the same fold with its events thrown away.
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
    TEXT_FORMS,
    CallItem,
    Json,
    Status,
    TextItem,
    TextPart,
    TextType,
    shown_logprobs,
)

Event = dict[str, Any]

_INCOMPLETE: Mapping[str, str] = MappingProxyType({"length": "max_output_tokens", "content_filter": "content_filter"})
_TIERS = frozenset(get_args(ServiceTier))  # some servers have tiers of their own, which clients do not know
_BROKEN = frozenset({"abort", "error"})  # how servers say that they gave up in the middle


class ResponseFold:
    """One response, from `start` through `feed`s to `finish`, `fail` or `cancel`; each gives the events to send.

    Items are told one after the other: an item opens with its first piece and closes when another one begins.

    Args:
        response: the response object before anything happened (`new_response`).
        new_id: makes an id that begins with the given prefix and `_`.
    """

    def __init__(self, response: Mapping[str, Any], new_id: Callable[[str], str]) -> None:
        self._response = dict(response)
        self._new_id = new_id
        self._events: list[Event] = []
        self._sequence_number = 0
        self._closed: list[Json] = []
        self._item: TextItem | CallItem | None = None
        self._part: TextPart | None = None
        self._call_ids: dict[int, str | None] = {}
        self._call_index = -1
        self._usage: Usage | None = None
        self._finish_reason: str | None = None

    @property
    def response(self) -> Json:
        """The response object as it is now, what is being told included; it does not change afterwards."""
        growing = [] if self._item is None else [self._item.shown("in_progress")]
        return {**self._response, "output": [*self._closed, *growing]}

    # What happens to a response.

    def queue(self) -> list[Event]:
        """It waits for its turn, in the background."""
        self._response["status"] = "queued"
        self._emit("response.created", response=self.response)
        self._emit("response.queued", response=self.response)
        return self._taken()

    def start(self) -> list[Event]:
        """The model is asked."""
        self._response["status"] = "in_progress"
        if self._sequence_number == 0:
            self._emit("response.created", response=self.response)
        self._emit("response.in_progress", response=self.response)
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

    def fail(self, failure: RequestError) -> list[Event]:
        """It cannot be finished, and `failure` says why."""
        return self._end("failed", error={"code": _error_code(failure), "message": failure.message})

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
        self._emit_in_part(part, f"{TEXT_FORMS[type].events}.delta", delta=text, **more)
        return part

    def _add_call_piece(self, piece: CallPiece) -> None:
        if self._begins_call(piece):
            self._open_call(piece)
        call = self._item
        if not isinstance(call, CallItem) or piece.index != self._call_index:
            raise UpstreamFailure(
                "The model's server went back to a tool call that it had left.", code="upstream_error"
            )
        said = (piece.function and piece.function.arguments) or (piece.custom and piece.custom.input)
        if said:
            call.pieces.append(said)
            self._emit_in_item(call, f"{CALL_FORMS[call.type].events}.delta", delta=said)

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
        self._open_item(
            CallItem(type, self._new_id(CALL_FORMS[type].prefix), piece.id or self._new_id("call"), name=name)
        )

    def _open_part(self, type: TextType) -> TextPart:
        self._close_part()
        item, wanted = self._item, TEXT_FORMS[type].item
        if not isinstance(item, TextItem) or item.type != wanted:
            item = TextItem(wanted, self._new_id(ID_PREFIXES[wanted]))
            self._open_item(item)
        self._part = part = TextPart(type, item.id, len(item.parts))
        item.parts.append(part)
        self._emit_in_part(part, "response.content_part.added", part=part.shown())
        return part

    def _open_item(self, item: TextItem | CallItem) -> None:
        self._close_item("completed")
        self._item = item
        self._emit("response.output_item.added", output_index=len(self._closed), item=item.shown("in_progress"))

    def _close_part(self) -> None:
        part = self._part
        if part is None:
            return
        form = TEXT_FORMS[part.type]
        shown = part.shown()
        logprobs = {"logprobs": shown["logprobs"]} if part.type == "output_text" else {}
        self._emit_in_part(part, f"{form.events}.done", **{form.field: part.text}, **logprobs)
        self._emit_in_part(part, "response.content_part.done", part=shown)
        self._part = None

    def _close_item(self, status: Status) -> None:
        self._close_part()
        item = self._item
        if item is None:
            return
        if isinstance(item, CallItem):
            form = CALL_FORMS[item.type]
            name = {"name": item.name} if item.type == "function_call" else {}
            self._emit_in_item(item, f"{form.events}.done", **name, **{form.field: item.argument})
        shown = item.shown(status)
        self._emit("response.output_item.done", output_index=len(self._closed), item=shown)
        self._closed.append(shown)
        self._item = None

    def _has_answer(self) -> bool:
        items = [item["type"] for item in self._closed] + ([] if self._item is None else [self._item.type])
        return any(type != "reasoning" for type in items)

    def _end(self, status: str, **fields: Any) -> list[Event]:
        self._settle(status, **fields)
        self._emit(f"response.{status}", response=self.response)
        return self._taken()

    def _settle(self, status: str, **fields: Any) -> None:
        self._close_item("completed" if status == "completed" else "incomplete")
        usage = None if self._usage is None else shown_usage(self._usage)
        self._response.update(status=status, usage=usage, **fields)

    # Events.

    def _emit_in_part(self, part: TextPart, type: str, /, **fields: Any) -> None:
        self._emit(type, item_id=part.item_id, output_index=len(self._closed), content_index=part.index, **fields)

    def _emit_in_item(self, item: TextItem | CallItem, type: str, /, **fields: Any) -> None:
        self._emit(type, item_id=item.id, output_index=len(self._closed), **fields)

    def _emit(self, type: str, /, **fields: Any) -> None:
        self._events.append({"type": type, "sequence_number": self._sequence_number, **fields})
        self._sequence_number += 1

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def shown_usage(usage: Usage) -> Json:
    """A chat's usage as OpenAI's `ResponseUsage`."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _error_code(failure: RequestError) -> str:
    """The failure by the names of OpenAI's `ResponseErrorCode`."""
    if failure.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if failure.status < 500 else "server_error"
