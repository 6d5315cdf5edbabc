"""The Conversations API: conversations, and the items that responses and clients put into them.

It knows HTTP and shapes; what responses add by themselves is known by `responses.py`.
"""

import secrets
import time
from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from fundament.api.desk import Desk
from fundament.api.edge import send_json
from fundament.errors import NotFound
from fundament.gateway.state import Conversation
from fundament.protocol.conversations import ConversationChange, ItemsToAdd, NewConversation, validate
from fundament.protocol.validation import checked
from fundament.responses.history import conversation_not_found, kept
from fundament.responses.pages import page, page_settings
from fundament.responses.references import resolved

Json = dict[str, Any]
_encode = msgspec.json.Encoder().encode


class ConversationEndpoint(ABC):
    """One of the endpoints: it has the contract, a body if it is sent one, and answers with JSON."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._store = desk.store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = await self._desk.key(scope)
        body = await self._desk.body(scope, receive) if scope["method"] == "POST" else {}
        await send_json(send, _encode(await self.answer(key.contract.id, scope, body)))

    @abstractmethod
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:
        """What the endpoint says to the contract `owner`; raises RequestError."""

    async def find(self, owner: str, scope: Scope) -> Conversation:
        id: str = scope["path_params"]["id"]
        found = await self._store.find_conversation(owner, id)
        if found is None:
            raise conversation_not_found(id)
        return found


class CreateConversation(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:  # noqa: ARG002 - as its siblings
        wanted = validate(body, NewConversation)
        conversation = Conversation(
            id=_new_id("conv"), owner=owner, created_at=int(time.time()), metadata=wanted.metadata or {}
        )
        items = await resolved(self._store, owner, wanted.items or [], "items")
        await self._store.add_conversation(conversation, kept(items, _new_id))
        return shown(conversation)


class RetrieveConversation(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:  # noqa: ARG002 - as its siblings
        return shown(await self.find(owner, scope))


class UpdateConversation(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:
        metadata = checked(body, ConversationChange).metadata or {}
        id: str = scope["path_params"]["id"]
        if not await self._store.set_metadata(owner, id, metadata):
            raise conversation_not_found(id)
        return shown(await self.find(owner, scope))


class DeleteConversation(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:  # noqa: ARG002 - as its siblings
        id: str = scope["path_params"]["id"]
        if not await self._store.delete_conversation(owner, id):
            raise conversation_not_found(id)
        return {"id": id, "object": "conversation.deleted", "deleted": True}


class CreateItems(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:
        id: str = scope["path_params"]["id"]
        wanted = validate(body, ItemsToAdd).items
        if await self._store.find_conversation(owner, id) is None:
            raise conversation_not_found(id)
        items = kept(await resolved(self._store, owner, wanted, "items"), _new_id)
        if not await self._store.add_items(owner, id, items):
            raise conversation_not_found(id)
        return page(items, len(items))


class ListItems(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:  # noqa: ARG002 - as its siblings
        id: str = scope["path_params"]["id"]
        limit, order, after = page_settings(parse_qs(scope["query_string"].decode("latin-1")))
        items = await self._store.items(owner, id, order=order, after=after, limit=limit + 1)
        if items is None:
            raise conversation_not_found(id)
        return page(items, limit)


class RetrieveItem(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:  # noqa: ARG002 - as its siblings
        id: str = scope["path_params"]["id"]
        item_id: str = scope["path_params"]["item_id"]
        items = await self._store.items(owner, id)
        if items is None:
            raise conversation_not_found(id)
        for item in items:
            if item["id"] == item_id:
                return item
        raise _item_not_found(item_id)


class DeleteItem(ConversationEndpoint):
    async def answer(self, owner: str, scope: Scope, body: Json) -> Json:  # noqa: ARG002 - as its siblings
        conversation = await self.find(owner, scope)
        item_id: str = scope["path_params"]["item_id"]
        if not await self._store.delete_item(owner, conversation.id, item_id):
            raise _item_not_found(item_id)
        return shown(conversation)


def shown(conversation: Conversation) -> Json:
    """`ConversationResource` of OpenAI's document."""
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at),
        "metadata": conversation.metadata,
    }


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(18)}"


def _item_not_found(id: str) -> NotFound:
    return NotFound(f"Item with id '{id}' not found.", param="item_id", code="item_not_found")
