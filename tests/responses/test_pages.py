"""What a query may say about pages, and what it is told when it may not."""

from typing import Any

import pytest

from fundament.errors import InvalidRequest
from fundament.responses.pages import page_of, page_settings

ITEMS: list[dict[str, Any]] = [{"id": f"item_{number}"} for number in range(3)]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "", "x", "1.0", "1_0", " 1", "\N{SUPERSCRIPT TWO}", "1" * 5000])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        page_settings({"limit": [limit]})
    assert (caught.value.param, caught.value.code) == ("limit", "invalid_value")


def test_an_order_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        page_settings({"order": ["up"]})
    assert (caught.value.param, caught.value.code) == ("order", "invalid_value")


def test_a_page_is_the_newest_items_unless_asked() -> None:
    assert page_settings({}) == (20, "desc", None)
    assert page_settings({"limit": ["1", "100"], "order": ["asc"], "after": ["a"]}) == (100, "asc", "a")


@pytest.mark.parametrize(
    ("query", "shown", "more"),
    [
        ({}, [2, 1, 0], False),
        ({"limit": ["2"]}, [2, 1], True),
        ({"limit": ["3"]}, [2, 1, 0], False),
        ({"order": ["asc"], "limit": ["1"]}, [0], True),
        ({"order": ["asc"], "after": ["item_0"]}, [1, 2], False),
        ({"after": ["item_0"]}, [], False),
        ({"after": ["item_9"]}, [], False),
    ],
)
def test_pages_follow_each_other(query: dict[str, list[str]], shown: list[int], more: bool) -> None:
    ids = [f"item_{number}" for number in shown]
    page = page_of(ITEMS, query)
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (ids, more)
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else ("", ""))
