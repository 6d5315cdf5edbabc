"""A response as the events of its stream tell it: put together again, and closed where its maker broke off.

It knows what each event adds to a response (OpenAI's `ResponseStreamEvent`). The events are those of `fold.py`, which
makes them and knows nothing of this.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from fundament.responses.fold import Event
from fundament.responses.items import CALL_FORMS, TEXT_FORMS, AnyCallType, Json, TextType

_BROKEN_OFF = "The response ended before the server told its tools."


class Retelling:
    """The response that was told so far; `end` gives the events that its stream still lacks.

    Args:
        response: the response object, whatever output it has.
        events: its events from the first on, in order; they are changed.
    """

    def __init__(self, response: Mapping[str, Any], events: Iterable[Event]) -> None:
        self.deltas = 0
        self._response = dict(response)
        self._output: list[Json] = []
        self._open: set[int] = set()  # the places of items that are not done
        self._whole: set[int] = set()  # of those, the calls with all their arguments, and the lists with their end
        self._part: Json | None = None
        self._pieces: list[str] = []  # of the text or the arguments that are told at last
        self._logprobs: list[Json] = []
        self._sequence_number = 0
        for event in events:
            self._sequence_number = event["sequence_number"] + 1
            self._hear(event)
        self._events: list[Event] = []

    @property
    def response(self) -> Json:
        return {**self._response, "output": self._output}

    def end(self, status: str, error: Json | None = None) -> list[Event]:
        """Closes what is open, as incomplete. A cancelled response ends without an event of its own."""
        for place in sorted(self._open, reverse=True):
            self._close(place, self._output[place])
        self._response |= {"status": status, "error": error}
        if status != "cancelled":
            self._emit(f"response.{status}", response=self.response)
        return self._events

    def _hear(self, event: Event) -> None:
        type: str = event["type"]
        kind, _, happened = type.rpartition(".")
        place: int = event.get("output_index", -1)
        if type == "response.output_item.added":
            self._open.add(len(self._output))
            self._output.append(event["item"])
            self._begin_text()
        elif type == "response.output_item.done":
            self._open.discard(place)
            self._output[place] = event["item"]
        elif type == "response.content_part.added":
            self._part = event["part"]
            self._output[place]["content"].append(event["part"])
            self._begin_text()
        elif type == "response.content_part.done":
            self._output[place]["content"][-1] = event["part"]
            self._part = None
        elif happened == "delta":
            self.deltas += 1
            self._pieces.append(event["delta"])
            self._logprobs += event.get("logprobs", ())
        elif happened == "done" and "content_index" not in event:
            self._output[place] |= {key: event[key] for key in ("arguments", "input") if key in event}
            self._whole.add(place)
        elif kind == "response.mcp_list_tools" and happened != "in_progress":
            self._whole.add(place)

    def _begin_text(self) -> None:
        self._pieces, self._logprobs = [], []

    def _close(self, place: int, item: Json) -> None:
        kind: str = item["type"]
        if kind in CALL_FORMS and place not in self._whole:
            self._close_call(place, item, cast("AnyCallType", kind))
        elif kind == "mcp_list_tools" and place not in self._whole:
            item["error"] = _BROKEN_OFF
            self._emit("response.mcp_list_tools.failed", item_id=item["id"], output_index=place)
        elif self._part is not None and place == len(self._output) - 1:
            self._close_part(place, item, self._part)
        if "status" in item:
            item["status"] = "incomplete"
        self._emit("response.output_item.done", output_index=place, item=item)

    def _close_call(self, place: int, item: Json, kind: AnyCallType) -> None:
        form = CALL_FORMS[kind]
        item[form.field] = "".join(self._pieces)
        name = {"name": item["name"]} if kind == "function_call" else {}
        said = {form.field: item[form.field]}
        self._emit(f"{form.events}.done", item_id=item["id"], output_index=place, **name, **said)

    def _close_part(self, place: int, item: Json, part: Json) -> None:
        form = TEXT_FORMS[cast("TextType", part["type"])]
        said: Json = {form.field: "".join(self._pieces)}
        if "logprobs" in part:
            said["logprobs"] = self._logprobs
        part |= said
        where = {"item_id": item["id"], "output_index": place, "content_index": len(item["content"]) - 1}
        self._emit(f"{form.events}.done", **where, **said)
        self._emit("response.content_part.done", **where, part=part)

    def _emit(self, type: str, /, **fields: Any) -> None:
        self._events.append({"type": type, "sequence_number": self._sequence_number, **fields})
        self._sequence_number += 1
