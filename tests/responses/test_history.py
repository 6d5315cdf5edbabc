"""Kept items as chats are made of them: answers of other servers have more than a chat can be told."""

from typing import Any

import pytest

from fundament.protocol.responses import validate
from fundament.protocol.responses_items import FunctionCall, Message, OutputText
from fundament.responses.history import kept, typed

CALL: dict[str, Any] = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
        {"type": "hologram_call", "id": "ho_1"},
        CALL | {"status": "incomplete"},
    ],
)
def test_what_a_chat_cannot_be_told_is_left_out_of_a_history(item: dict[str, Any]) -> None:
    assert typed([item]) == []


def test_fields_that_are_new_are_left_out() -> None:
    part = {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}
    message = {"type": "message", "role": "assistant", "content": [part], "mood": "good"}
    assert typed([CALL | {"caller": {"type": "direct"}}, message]) == [
        FunctionCall(call_id="c", name="f", arguments="{}"),
        Message(role="assistant", content=[OutputText(text="x", annotations=[], logprobs=[])]),
    ]


def test_items_of_the_servers_tools_are_kept_with_all_fields() -> None:
    search = {"type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    request = validate({"model": "m", "input": [search, search | {"id": "ws_1"}]})
    assert kept(request.items, lambda prefix: f"{prefix}_new") == [search | {"id": "item_new"}, search | {"id": "ws_1"}]
