"""The requests of the Conversations API, as OpenAI's document has them.

It knows shapes and names; where conversations are kept is known by `gateway/state.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from fundament.protocol.chat import Metadata
from fundament.protocol.messages import Closed
from fundament.protocol.responses import check_items, with_item_types
from fundament.protocol.responses_items import Item
from fundament.protocol.validation import checked

MOST_ITEMS = 20  # at a time


class NewConversation(Closed):
    """No items, and none listed, are the same: OpenAI's own package for agents sends an empty list."""

    items: Annotated[list[Item], Meta(max_length=MOST_ITEMS)] | None = None
    metadata: Metadata | None = None


class ConversationChange(Closed):
    metadata: Metadata | None


class ItemsToAdd(Closed):
    items: Annotated[list[Item], Meta(min_length=1, max_length=MOST_ITEMS)]


Request = TypeVar("Request", NewConversation, ItemsToAdd)


def validate(body: Mapping[str, Any], type: type[Request]) -> Request:
    """The request's items and metadata, typed.

    Raises:
        InvalidRequest: in OpenAI's words, `param` naming the field with its path.
    """
    request = checked(with_item_types(body, "items"), type)
    check_items(request.items or [], "items")
    return request
