"""What the Responses API keeps: responses with their input, conversations with their items. And who keeps it.

It knows records and what a store must promise; it does not know databases (`storage/state.py`), nor what is in an item.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

Json = dict[str, Any]
Order = Literal["asc", "desc"]
Events = Sequence[tuple[int, bytes]]
"""Sequence numbers with the events as they are sent."""


class StoredResponse(Struct, kw_only=True):
    """One response.

    `owner` alone may see it. `input` are the items of its own request, with ids; `response` is the response object, and
    holds the output. `runner` is the process that makes it in the background, as long as it is made. Times are Unix
    seconds.
    """

    id: str
    owner: str
    created_at: float
    response: Json
    input: list[Json]
    previous_response_id: str | None = None
    conversation_id: str | None = None
    runner: str | None = None


class Conversation(Struct, kw_only=True):
    id: str
    owner: str
    created_at: float
    metadata: dict[str, str]


class StateStore(Protocol):
    """Keeps responses and conversations. What a method has returned from is durable and seen by every process.

    Every method raises `Unavailable` when the store fails. An id that `owner` does not own does not exist.
    """

    async def save(self, stored: StoredResponse, conversation_items: Sequence[Json] = ()) -> None:
        """Keeps a response in its present state, new or known, and appends items to its conversation: both or neither.

        Saves of requests that come together share one transaction.
        """
        ...

    async def replace(
        self, stored: StoredResponse, runner: str, events: Events = (), items: Sequence[Json] = ()
    ) -> bool:
        """Keeps the next state of a response that `runner` still makes, with events of its stream and items of
        its conversation: all of it or nothing.

        Whether it was kept: another process may have ended or deleted the response meanwhile.
        """
        ...

    async def find(self, owner: str, id: str) -> StoredResponse | None: ...

    async def history(self, owner: str, id: str) -> list[StoredResponse]:
        """A response and those before it by `previous_response_id`, the oldest first; empty if it is unknown.

        One that was deleted ends the chain.
        """
        ...

    async def delete(self, owner: str, id: str) -> bool:
        """Whether there was such a response. Its events go with it."""
        ...

    async def add_conversation(self, conversation: Conversation, items: Sequence[Json]) -> None: ...

    async def find_conversation(self, owner: str, id: str) -> Conversation | None: ...

    async def set_metadata(self, owner: str, id: str, metadata: dict[str, str]) -> bool:
        """Whether there is such a conversation."""
        ...

    async def delete_conversation(self, owner: str, id: str) -> bool:
        """Whether there was such a conversation. Its items go with it."""
        ...

    async def add_items(self, owner: str, conversation_id: str, items: Sequence[Json]) -> bool:
        """Appends items, which have ids; whether there is such a conversation."""
        ...

    async def items(
        self,
        owner: str,
        conversation_id: str,
        *,
        order: Order = "asc",
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Json] | None:
        """Items of a conversation, those after the item with the id `after` in that order; None if it is unknown.

        An `after` that is no item's id gives an empty list.
        """
        ...

    async def find_items(self, owner: str, ids: Sequence[str]) -> dict[str, Json]:
        """Those of the items with these ids that any conversation of `owner` has, by their ids."""
        ...

    async def delete_item(self, owner: str, conversation_id: str, item_id: str) -> bool:
        """Whether there was such an item."""
        ...

    async def add_events(self, response_id: str, runner: str, events: Events) -> bool:
        """Keeps events of a background response's stream, as long as `runner` makes it; whether it does."""
        ...

    async def events(self, response_id: str, after: int) -> list[tuple[int, bytes]]:
        """The events with a sequence number above `after`, in order."""
        ...

    async def beat(self, runner: str) -> None:
        """Tells that the process `runner` lives."""
        ...

    async def orphans(self, silent_s: float, limit: int) -> list[StoredResponse]:
        """Responses whose runner has not told for `silent_s` seconds that it lives."""
        ...

    async def sweep(self, before: float, limit: int) -> int:
        """Deletes at most `limit` responses made before this time, with their events; gives how many it deleted."""
        ...
