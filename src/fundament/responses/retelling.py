"""A response as the events of its stream tell it: put together again, and closed where its maker broke off.

It knows the beginning and the end of a response; what its events say of its items is known by `growing.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fundament.responses.fold import Event
from fundament.responses.growing import GrowingOutput
from fundament.responses.items import Json


class Retelling:
    """The response that was told so far; `end` gives the events that its stream still lacks.

    Args:
        response: the response object, whatever output it has.
        events: its events from the first on, in order.

    Attributes:
        deltas: how many of the events told a piece of something.
    """

    def __init__(self, response: Mapping[str, Any], events: Iterable[Event]) -> None:
        self.deltas = 0
        self._response = dict(response)
        self._output = GrowingOutput()
        self._sequence_number = 0
        for event in events:
            self._sequence_number = event["sequence_number"] + 1
            self.deltas += event["type"].endswith(".delta")
            self._output.take(event)
        self._events: list[Event] = []

    @property
    def response(self) -> Json:
        return {**self._response, "output": self._output.items}

    def end(self, status: str, error: Json | None = None) -> list[Event]:
        """Closes what is open, as incomplete. A cancelled response ends without an event of its own."""
        if self._sequence_number == 0:  # its maker was gone before it told anything
            self._emit("response.created", response=self.response)
        for event in self._output.close():
            self._emit(event.pop("type"), **event)
        self._response |= {"status": status, "error": error}
        if status != "cancelled":
            self._emit(f"response.{status}", response=self.response)
        return self._events

    def _emit(self, type: str, /, **fields: Any) -> None:
        self._events.append({"type": type, "sequence_number": self._sequence_number, **fields})
        self._sequence_number += 1
