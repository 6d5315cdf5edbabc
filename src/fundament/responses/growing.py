"""The items of a response as its events tell them, whoever makes it: as they are at any moment, and how they close.

It knows what each event adds to an item, and the events and the status that end one which is broken off, by OpenAI's
`ResponseStreamEvent` and `OutputItem`. It changes no event, and does no I/O.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any, NamedTuple

from fundament.responses.items import LIST_BROKEN_OFF, Json

WHOLE_ITEM = -1
"""The place of a text that is a field of its item, and in none of the item's parts."""


class PieceForm(NamedTuple):
    """Where a text that is told in pieces stands: in `field` of a part in the list `parts`, or of the item itself.

    Commands of a shell are no objects: there, `field` is that of the events only.
    """

    field: str
    parts: str = ""
    index_name: str = ""


class PartEvents(NamedTuple):
    """By which events the parts in a list are told."""

    name: str
    index_name: str


FORMS: Mapping[str, PieceForm] = MappingProxyType(
    {
        "response.output_text": PieceForm("text", "content", "content_index"),
        "response.refusal": PieceForm("refusal", "content", "content_index"),
        "response.reasoning_text": PieceForm("text", "content", "content_index"),
        "response.reasoning_summary_text": PieceForm("text", "summary", "summary_index"),
        "response.function_call_arguments": PieceForm("arguments"),
        "response.custom_tool_call_input": PieceForm("input"),
        "response.mcp_call_arguments": PieceForm("arguments"),
        "response.code_interpreter_call_code": PieceForm("code"),
        "response.shell_call_command": PieceForm("command", "commands", "command_index"),
    }
)
_PART_EVENTS: Mapping[str, PartEvents] = MappingProxyType(
    {
        "content": PartEvents("response.content_part", "content_index"),
        "summary": PartEvents("response.reasoning_summary_part", "summary_index"),
    }
)
_PARTS: Mapping[str, str] = MappingProxyType({told.name: parts for parts, told in _PART_EVENTS.items()})
_TOLD_IN: Mapping[str, str] = MappingProxyType(
    {
        "output_text": "response.output_text",
        "refusal": "response.refusal",
        "reasoning_text": "response.reasoning_text",
        "summary_text": "response.reasoning_summary_text",
        "function_call": "response.function_call_arguments",
        "custom_tool_call": "response.custom_tool_call_input",
        "mcp_call": "response.mcp_call_arguments",
        "code_interpreter_call": "response.code_interpreter_call_code",
    }
)
_BROKEN_OFF: Mapping[str, str] = MappingProxyType(  # of items that have no status `incomplete`
    {
        "web_search_call": "failed",
        "image_generation_call": "failed",
        "apply_patch_call_output": "failed",
        "apply_patch_call": "in_progress",  # the only other is `completed`: nobody is to apply half a patch
    }
)


class GrowingOutput:
    """The output of a response: the items that are done, and those between their `added` and their `done`."""

    def __init__(self) -> None:
        self._done: dict[int, Json] = {}
        self._growing: dict[int, GrowingItem] = {}

    @property
    def items(self) -> list[Json]:
        """All items as they are now; they do not change afterwards."""
        items = self._done | {index: item.shown() for index, item in self._growing.items()}
        return [items[index] for index in sorted(items)]

    def take(self, event: Mapping[str, Any]) -> None:
        """Reads an event; others than those about items say nothing here.

        Raises:
            KeyError, IndexError, TypeError: as `GrowingItem.take`.
        """
        if "output_index" not in event:
            return
        index: int = event["output_index"]
        if event["type"] == "response.output_item.added":
            self._growing[index] = GrowingItem(event["item"], index)
        elif event["type"] == "response.output_item.done":
            self._growing.pop(index, None)
            self._done[index] = event["item"]
        elif index in self._growing:
            self._growing[index].take(event)

    def replace(self, items: list[Json]) -> None:
        """All that there is was told, and the items are these; none of them, if those that are done are all."""
        self._growing.clear()
        if items:
            self._done = dict(enumerate(items))

    def close(self) -> list[Json]:
        """Ends what is open; gives the events of that, without their numbers, those of the last item first."""
        events = [event for index in sorted(self._growing, reverse=True) for event in self._growing[index].closing()]
        for event in events:
            if "item" in event:
                self._done[event["output_index"]] = event["item"]
        self._growing.clear()
        return events


class GrowingItem:
    """One item between its `added` and its `done`."""

    def __init__(self, item: Json, output_index: int) -> None:
        self._item = deepcopy(item)
        self._output_index = output_index
        self._open_parts: dict[tuple[str, int], None] = {}
        self._open_texts: dict[tuple[str, int], tuple[str, list[str]]] = {}  # each with the name of its events
        self._ending = ""  # as the tool's own event told it
        self._open_text_of(item["type"], "", WHOLE_ITEM)

    def take(self, event: Mapping[str, Any]) -> None:
        """Reads an event about this item; others than OpenAI's say nothing of it.

        Raises:
            KeyError, IndexError, TypeError: the event has not the fields that its type has, or is about a part that
                was not added.
        """
        name, _, happened = event["type"].rpartition(".")
        if name in _PARTS:
            self._take_part(event, _PARTS[name], happened)
        elif name in FORMS:
            self._take_text(event, name, happened)
        elif name == "response.output_text.annotation" and event["annotation"] is not None:
            part = self._list("content")[event["content_index"]]
            _list_in(part, "annotations").append(deepcopy(event["annotation"]))
        elif name == f"response.{self._item['type']}" and happened in {"completed", "failed"}:
            self._ending = happened

    def shown(self, status: str = "in_progress") -> Json:
        """The item as it is now; it does not change afterwards."""
        for (_, index), (name, pieces) in self._open_texts.items():
            pieces[:] = ["".join(pieces)]
            self._set_text(name, index, pieces[0])
        item = deepcopy(self._item)
        return {**item, "status": status} if "status" in item else item

    def closing(self) -> Iterator[Json]:
        """The events that end it here, without their numbers: its texts and parts, the last first, then itself."""
        kind: str = self._item["type"]
        where: Json = {"item_id": self._item.get("id", ""), "output_index": self._output_index}
        if kind == "mcp_list_tools" and not (self._ending == "completed" and self._item.get("tools")):
            self._item["error"] = self._item.get("error") or LIST_BROKEN_OFF
            if not self._ending:
                yield {"type": "response.mcp_list_tools.failed", **where}
        shown = self.shown(self._ending or _BROKEN_OFF.get(kind, "incomplete"))
        for parts, index in reversed(self._open_parts | dict.fromkeys(self._open_texts)):
            if (parts, index) in self._open_texts:
                yield self._end_of_text(*self._open_texts[parts, index], index, where)
            if (parts, index) in self._open_parts:
                name, index_name = _PART_EVENTS[parts]
                yield {"type": f"{name}.done", **where, index_name: index, "part": shown[parts][index]}
        yield {"type": "response.output_item.done", "output_index": self._output_index, "item": shown}

    def _end_of_text(self, name: str, pieces: list[str], index: int, where: Json) -> Json:
        form = FORMS[name]
        more: Json = {form.index_name: index} if form.parts else {}
        if name == "response.output_text":
            more["logprobs"] = deepcopy(self._list("content")[index].get("logprobs") or [])
        elif name == "response.function_call_arguments":
            more["name"] = self._item["name"]
        elif name == "response.shell_call_command":  # OpenAI's has no id
            where = {"output_index": self._output_index}
        return {"type": f"{name}.done", **where, form.field: "".join(pieces), **more}

    def _take_part(self, event: Mapping[str, Any], parts: str, happened: str) -> None:
        index: int = event[_PART_EVENTS[parts].index_name]
        if happened == "added":
            self._add(parts, index, event["part"])
            self._open_parts[parts, index] = None
            self._open_text_of(event["part"]["type"], parts, index)
        elif happened == "done":
            self._list(parts)[index] = deepcopy(event["part"])
            self._open_parts.pop((parts, index), None)
            self._open_texts.pop((parts, index), None)

    def _take_text(self, event: Mapping[str, Any], name: str, happened: str) -> None:
        form = FORMS[name]
        index: int = event[form.index_name] if form.parts else WHOLE_ITEM
        if happened == "added":
            self._add(form.parts, index, event[form.field])
            self._open_text(name, index)
        elif happened == "delta":
            if (form.parts, index) not in self._open_texts:
                self._open_text(name, index)
            self._open_texts[form.parts, index][1].append(_text(event["delta"]))
            if event.get("logprobs"):
                _list_in(self._list(form.parts)[index], "logprobs").extend(deepcopy(event["logprobs"]))
        elif happened == "done":
            self._open_texts.pop((form.parts, index), None)
            self._set_text(name, index, _text(event[form.field]))

    def _open_text_of(self, kind: str, parts: str, index: int) -> None:
        name = _TOLD_IN.get(kind)
        if name is not None and FORMS[name].parts == parts:
            self._open_text(name, index)

    def _open_text(self, name: str, index: int) -> None:
        holder, key = self._slot(name, index)
        said = holder[key] if isinstance(key, int) else holder.get(key)
        self._open_texts[FORMS[name].parts, index] = (name, [_text(said or "")])

    def _set_text(self, name: str, index: int, text: str) -> None:
        holder, key = self._slot(name, index)
        holder[key] = text

    def _slot(self, name: str, index: int) -> tuple[Any, str | int]:
        """Where a text stands: in which object, by which name, or in which list, at which place."""
        form = FORMS[name]
        if not form.parts:
            return self._item, form.field
        entries = self._list(form.parts)
        return (entries, index) if form.parts == "commands" else (entries[index], form.field)

    def _add(self, parts: str, index: int, entry: Any) -> None:
        entries = self._list(parts)
        if index > len(entries):
            raise IndexError(index)
        entries[index : index + 1] = [deepcopy(entry)]

    def _list(self, parts: str) -> list[Any]:
        return _list_in(self._item["action"] if parts == "commands" else self._item, parts)


def _list_in(holder: Json, name: str) -> list[Any]:
    if holder.get(name) is None:
        holder[name] = []
    return holder[name]


def _text(told: Any) -> str:
    if not isinstance(told, str):
        raise TypeError(told)
    return told
