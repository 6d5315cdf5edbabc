"""What a model is told before it answers: the items of earlier responses or of a conversation, then the request's own.

It knows where items come from and how they are kept and listed; what they mean to a model is known by `messages.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fundament.errors import NotFound
from fundament.gateway.state import StateStore
from fundament.protocol.responses import ResponsesRequest, parse_items
from fundament.protocol.responses_items import Item, ItemReference

Json = dict[str, Any]
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "cto",
    "reasoning": "rs",
    "compaction": "cmp",
    "mcp_approval_response": "mcpr",
}
_WITH_STATUS = frozenset(_PREFIXES) - {"reasoning", "compaction", "mcp_approval_response"}


async def history_of(store: StateStore, owner: str, request: ResponsesRequest) -> list[Json]:
    """The items before the request's own, the oldest first.

    Raises:
        NotFound: `owner` has no such response or conversation.
    """
    if request.previous_response_id is not None:
        chain = await store.history(owner, request.previous_response_id)
        if not chain:
            raise NotFound(
                f"Previous response with id '{request.previous_response_id}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return [item for stored in chain for item in (*stored.input, *stored.response["output"])]
    if request.conversation_id is not None:
        items = await store.items(owner, request.conversation_id)
        if items is None:
            raise conversation_not_found(request.conversation_id)
        return items
    return []


def conversation_not_found(id: str) -> NotFound:
    return NotFound(f"Conversation with id '{id}' not found.", param="conversation", code="conversation_not_found")


def typed(items: Sequence[Json]) -> list[Item]:
    """Kept items as a chat is made of them; what was broken off in the middle says nothing to a model."""
    if not items:
        return []
    return parse_items([item for item in items if item.get("type") != "function_call" or _is_whole(item)])


def _is_whole(call: Json) -> bool:
    return call.get("status") != "incomplete"


def kept(items: Sequence[Item], new_id: Callable[[str], str]) -> list[Json]:
    """Items as they are kept and listed: with an id each, and texts as parts. References are to items kept already."""
    return [_kept(item, new_id) for item in items if not isinstance(item, ItemReference)]


def _kept(item: Item, new_id: Callable[[str], str]) -> Json:
    fields: Json = msgspec.to_builtins(item)
    kind: str = fields["type"]
    shown: Json = {"id": None, **fields}
    if shown["id"] is None:
        shown["id"] = new_id(_PREFIXES.get(kind, "item"))
    if kind in _WITH_STATUS:
        shown.setdefault("status", "completed")
    if kind == "message":
        shown["content"] = _parts(fields["role"], fields["content"])
    return shown


def _parts(role: str, content: str | list[Json]) -> list[Json]:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": kind, "text": content}] if isinstance(content, str) else content
    return [{"annotations": [], "logprobs": [], **part} if part["type"] == "output_text" else part for part in parts]
