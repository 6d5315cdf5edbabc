"""References to items, replaced by the items themselves: from all that a key's owner has kept.

It knows where items can be, and that none may be there twice; what they mean to a model is known by `messages.py`.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from fundament.errors import NotFound
from fundament.gateway.state import StateStore
from fundament.protocol.responses import ResponsesRequest, duplicate_item, parse_items
from fundament.protocol.responses_items import Item, ItemReference
from fundament.responses.ids import response_id_of

Json = dict[str, Any]


async def with_items(
    store: StateStore, owner: str, request: ResponsesRequest, history: Sequence[Json]
) -> ResponsesRequest:
    """The request with the items that its input refers to; what came before it is `history`.

    Raises:
        InvalidRequest: an item is in `history` already, and not only referred to.
        NotFound, Unavailable: as `resolved`.
    """
    items = request.input
    if not isinstance(items, list):
        return request
    before = {item["id"] for item in history}
    for position, item in enumerate(items):
        if item.id is not None and item.id in before and not isinstance(item, ItemReference):
            raise duplicate_item(item.id, f"input[{position}].id")
    if not any(isinstance(item, ItemReference) for item in items):
        return request
    return replace(request, input=await resolved(store, owner, items, "input", history))


async def resolved(
    store: StateStore, owner: str, items: Sequence[Item], field: str, history: Sequence[Json] = ()
) -> list[Item]:
    """`items` with each reference replaced by the item that it names (`ItemReferenceParam` of OpenAI's document).

    Items of responses are found by the ids that they got here, not by ids that a client gave them.

    Args:
        field: the request's field that holds `items`.
        history: the items before these. A reference to one of them stays: it is said there already.

    Raises:
        NotFound: `owner` has no such item; `param` names the reference.
        Unavailable: the store cannot be read.
    """
    before = {item["id"] for item in history}
    wanted = [item.id for item in items if isinstance(item, ItemReference) and item.id not in before]
    known = await _of_responses(store, owner, wanted)
    if missing := [id for id in wanted if id not in known]:
        known |= await store.find_items(owner, missing)
    for position, item in enumerate(items):
        if isinstance(item, ItemReference) and item.id not in known and item.id not in before:
            raise NotFound(f"Item with id '{item.id}' not found.", param=f"{field}[{position}]")
    found = dict(zip(wanted, parse_items([known[id] for id in wanted]), strict=True))
    return [found.get(item.id, item) if isinstance(item, ItemReference) else item for item in items]


async def _of_responses(store: StateStore, owner: str, ids: Sequence[str]) -> dict[str, Json]:
    """The items of the responses that items with these ids were made for, by their ids."""
    items: dict[str, Json] = {}
    for response_id in dict.fromkeys(map(response_id_of, ids)):
        if response_id is not None and (stored := await store.find(owner, response_id)) is not None:
            items |= {item["id"]: item for item in (*stored.input, *stored.response["output"])}
    return items
