"""Lists of items in pages, as OpenAI's `ListInputItems` has them: `limit`, `order`, `after`. It knows no storage."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fundament.errors import InvalidRequest
from fundament.gateway.state import Order

Json = dict[str, Any]
DEFAULT_LIMIT = 20
LIMIT = 100
_NUMBER = re.compile("[0-9]{1,4}")
Query = Mapping[str, list[str]]


def page_settings(query: Query) -> tuple[int, Order, str | None]:
    """The `limit` (items), `order` and `after` of a query.

    Raises:
        InvalidRequest: a value that they cannot have, by name.
    """
    text = query.get("limit", [str(DEFAULT_LIMIT)])[-1]
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= LIMIT:
        raise InvalidRequest(
            f"Invalid 'limit': expected an integer from 1 to {LIMIT}, but got {text!r}.",
            param="limit",
            code="invalid_value",
        )
    order = query.get("order", ["desc"])[-1]
    if order not in {"asc", "desc"}:
        raise InvalidRequest(
            f"Invalid value: {order!r}. Supported values are: 'asc', and 'desc'.", param="order", code="invalid_value"
        )
    return int(text), cast("Order", order), query.get("after", [None])[-1]


def page_of(items: Sequence[Json], query: Query) -> Json:
    """The page of `items`, which are in ascending order, that a query asks for."""
    limit, order, after = page_settings(query)
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        known = [place for place, item in enumerate(ordered) if item["id"] == after]
        ordered = ordered[known[0] + 1 :] if known else []
    return page(ordered[: limit + 1], limit)


def page(items: Sequence[Json], limit: int) -> Json:
    """`ResponseItemList` of the first `limit` items; one more than that tells that there are more."""
    shown = items[:limit]
    return {
        "object": "list",
        "data": list(shown),
        "first_id": shown[0]["id"] if shown else "",
        "last_id": shown[-1]["id"] if shown else "",
        "has_more": len(items) > limit,
    }
