"""A response that a server with a Responses API of its own makes: its events go in, ours come out.

It knows what of a response is ours (ids, state, the client's own words) and what is the server's; it has the same
methods as `ResponseFold`, so that who keeps and tells responses need not know which of the two it is. It does no I/O.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fundament.errors import RequestError
from fundament.protocol.usage import Usage
from fundament.responses.fold import Event
from fundament.responses.growing import GrowingOutput
from fundament.responses.native_input import BOUND
from fundament.responses.resource import Json, read_usage, shown_error, shown_usage
from fundament.responses.tools import without_secrets

BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})

_OURS = frozenset(
    {"id", "object", "created_at", "background", "model", "previous_response_id", "store", "metadata", "conversation"}
    | {"status", "output", "usage", "completed_at"}  # read by themselves
    | {"billing"}  # between the operator and the vendor
)


class RelayedResponse:
    """One response, from `start` through `feed`s to its end; each gives the events to send.

    The response's id is ours in every event, and so are the ids of its items, but for those that hold something
    encrypted.

    Args:
        response: the response object before anything happened (`new_response`).
        new_id: makes an id that begins with the given prefix and `_`.
    """

    def __init__(self, response: Mapping[str, Any], new_id: Callable[[str], str]) -> None:
        self._response = dict(response)
        self._new_id = new_id
        self._ids: dict[str, str] = {}
        self._output = GrowingOutput()
        self._events: list[Event] = []
        self._sequence_number = 0
        self.usage: Usage | None = None

    @property
    def response(self) -> Json:
        """The response object as it is now, what is being told included; it does not change afterwards."""
        return {**self._response, "output": self._output.items}

    @property
    def status(self) -> str:
        return self._response["status"]

    def queue(self) -> list[Event]:
        """It waits for its turn, in the background."""
        self._response["status"] = "queued"
        self._emit("response.created", response=self.response)
        self._emit("response.queued", response=self.response)
        return self._taken()

    def start(self) -> list[Event]:
        """The server begins to answer."""
        self._response["status"] = "in_progress"
        if self._sequence_number == 0:
            self._emit("response.created", response=self.response)
        self._emit("response.in_progress", response=self.response)
        return self._taken()

    def feed(self, event: Mapping[str, Any]) -> list[Event]:
        """The server's next event; that it begins is told by `start`.

        Raises:
            KeyError, IndexError, TypeError, ValueError: it has not the fields that its type has.
        """
        kind: str = event["type"]
        if kind in BEGINNINGS:
            self._learn(event["response"])
        elif kind in ENDS:
            self.take_whole({**event["response"], "status": kind.rpartition(".")[2]})
            self._emit(kind, response=self.response)
        elif kind.startswith("response."):  # others keep the connection alive
            self._relay(kind, event)
        return self._taken()

    def take_whole(self, told: Mapping[str, Any]) -> None:
        """The server's response object when it has ended.

        Raises:
            KeyError, TypeError, ValueError: as `feed`.
        """
        self._learn(told)
        self._output.replace([self._with_our_id(item) for item in told.get("output") or ()])
        self._response["status"] = told["status"]
        if told.get("completed_at") is not None:  # by the server's clock
            self._response["completed_at"] = max(told["completed_at"], self._response["created_at"])
        if told.get("usage") is not None:
            self.usage = read_usage(told["usage"])
            self._response["usage"] = shown_usage(self.usage)

    def finish_unanswered(self, completed_at: int) -> list[Event]:
        """The model was not to be asked: the response has its input only."""
        self._response.update(status="completed", completed_at=completed_at)
        self._emit("response.completed", response=self.response)
        return self._taken()

    def fail(self, failure: RequestError) -> list[Event]:
        """It cannot be finished, and `failure` says why."""
        self._close()
        self._response.update(status="failed", error=shown_error(failure))
        self._emit("response.failed", response=self.response)
        return self._taken()

    def cancel(self) -> list[Event]:
        """Somebody cancelled it: what is open closes. OpenAI has no event for the rest."""
        self._close()
        self._response["status"] = "cancelled"
        return self._taken()

    def _learn(self, told: Mapping[str, Any]) -> None:
        """Takes over what the server says of its settings; what it leaves open stays as it was asked for."""
        known = {name: value for name, value in told.items() if name not in _OURS and value is not None}
        if "tools" in known:
            known["tools"] = [without_secrets(tool) for tool in known["tools"]]
        self._response |= known

    def _relay(self, kind: str, event: Mapping[str, Any]) -> None:
        fields = {
            name: value for name, value in event.items() if name not in {"type", "sequence_number", "obfuscation"}
        }
        if "item" in fields:
            fields["item"] = self._with_our_id(fields["item"])
        if "item_id" in fields:
            fields["item_id"] = self._ids.get(fields["item_id"], fields["item_id"])
        self._output.take({"type": kind, **fields})
        self._emit(kind, **fields)

    def _with_our_id(self, item: Mapping[str, Any]) -> Json:
        id: str = item.get("id") or ""
        if not id or item["type"] in BOUND:
            return dict(item) if id else {**item, "id": self._new_id("item")}
        if id not in self._ids:
            self._ids[id] = self._new_id(id.partition("_")[0])
        return {**item, "id": self._ids[id]}

    def _close(self) -> None:
        for event in self._output.close():
            self._emit(event.pop("type"), **event)

    def _emit(self, type: str, /, **fields: Any) -> None:
        self._events.append({"type": type, "sequence_number": self._sequence_number, **fields})
        self._sequence_number += 1

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events
