"""The items of a response that another server makes, as far as its events have told them.

It knows which texts are told in pieces, by OpenAI's `ResponseStreamEvent`, and how what is open closes when the server
breaks off. It changes no event, and does no I/O.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Json = dict[str, Any]
WHOLE_ITEM = -1
"""The place of a text that is a field of its item, and in none of the item's parts."""


class PieceForm(NamedTuple):
    """Where a text that is told in pieces stands: in `field` of a part in the list `parts`, or of the item itself."""

    field: str
    parts: str = ""
    index_name: str = ""


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
    }
)
_PARTS: Mapping[str, str] = MappingProxyType(
    {"response.content_part": "content", "response.reasoning_summary_part": "summary"}
)
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
_NEVER_INCOMPLETE = frozenset({"web_search_call", "image_generation_call"})


class GrowingItem:
    """One item between its `added` and its `done`."""

    def __init__(self, item: Json, output_index: int) -> None:
        self._item = dict(item)
        self._output_index = output_index
        self._open_parts: dict[tuple[str, int], None] = {}
        self._pieces: dict[tuple[str, int], list[str]] = {}  # of texts without their `done`
        self._open_text(item["type"], WHOLE_ITEM)

    def take(self, event: Mapping[str, Any]) -> None:
        """Reads an event about this item; others say nothing of its text.

        Raises:
            KeyError, IndexError: the event has not the fields that its type has, or a part that was not added.
        """
        name, _, ending = event["type"].rpartition(".")
        if name in _PARTS:
            self._take_part(event, _PARTS[name], ending)
        elif name in FORMS:
            place = (name, event[FORMS[name].index_name] if FORMS[name].index_name else WHOLE_ITEM)
            if ending == "delta":
                self._pieces.setdefault(place, []).append(event["delta"])
            elif ending == "done":
                self._pieces.pop(place, None)
                self._set_text(*place, event[FORMS[name].field])

    def shown(self, status: str = "in_progress") -> Json:
        """The item as it is now."""
        for place, pieces in self._pieces.items():
            if pieces:
                self._pieces[place] = ["".join(pieces)]
                self._set_text(*place, self._pieces[place][0])
        if status == "incomplete" and self._item["type"] in _NEVER_INCOMPLETE:
            status = "failed"
        item: Json = {**self._item, "status": status} if "status" in self._item else dict(self._item)
        for parts in _PARTS.values():
            shown: list[Json] | None = item.get(parts)
            if shown:
                item[parts] = [dict(part) for part in shown]
        return item

    def closing(self) -> Iterator[Json]:
        """The events that end it here, without their numbers: first its texts, then its parts, then itself."""
        shown = self.shown("incomplete")
        where: Json = {"item_id": shown.get("id", ""), "output_index": self._output_index}
        for name, index in self._pieces:
            form = FORMS[name]
            place = {form.index_name: index} if form.index_name else {}
            text = (shown[form.parts][index] if form.parts else shown).get(form.field) or ""
            more: Json = {"name": shown["name"]} if shown["type"] == "function_call" else {}
            if name == "response.output_text":
                more = {"logprobs": shown[form.parts][index].get("logprobs", [])}
            yield {"type": f"{name}.done", **where, **place, form.field: text, **more}
        for parts, index in self._open_parts:
            name = "content_part" if parts == "content" else "reasoning_summary_part"
            place = {"content_index" if parts == "content" else "summary_index": index}
            yield {"type": f"response.{name}.done", **where, **place, "part": shown[parts][index]}
        yield {"type": "response.output_item.done", "output_index": self._output_index, "item": shown}

    def _take_part(self, event: Mapping[str, Any], parts: str, ending: str) -> None:
        index: int = event["content_index" if parts == "content" else "summary_index"]
        if ending == "added":
            self._item[parts] = [*(self._item.get(parts) or ()), dict(event["part"])]
            self._open_parts[parts, index] = None
            self._open_text(event["part"]["type"], index)
        elif ending == "done":
            self._item[parts][index] = dict(event["part"])
            self._open_parts.pop((parts, index), None)

    def _open_text(self, kind: str, index: int) -> None:
        if kind in _TOLD_IN:
            self._pieces[_TOLD_IN[kind], index] = []

    def _set_text(self, name: str, index: int, text: str) -> None:
        form = FORMS[name]
        holder: Json = self._item[form.parts][index] if form.parts else self._item
        holder[form.field] = text
