"""The ids of a response and of its items: those of one request are alike, so that an item's id tells its response.

It knows how ids are made, and nothing of what they stand for.
"""

import itertools
import re
from collections.abc import Callable

_REQUEST = "req_"
_ID = re.compile("[a-z]+_([0-9a-f]{32})[0-9a-f]{4,}")


def ids(request_id: str) -> Callable[[str], str]:
    """Makes ids that begin with a prefix, all of one request alike and none twice. The first is the response's."""
    seed = request_id.removeprefix(_REQUEST)
    numbers = itertools.count()
    return lambda prefix: f"{prefix}_{seed}{next(numbers):04x}"


def response_id_of(item_id: str) -> str | None:
    """The id of the response that an item was made for; None if `ids` did not make it."""
    made = _ID.fullmatch(item_id)
    return None if made is None else f"resp_{made[1]}{0:04x}"


def request_id_of(response_id: str) -> str:
    """The id of the request that a response was made for."""
    made = _ID.fullmatch(response_id)
    return response_id if made is None else _REQUEST + made[1]
