"""Kept items as the input of a server that speaks Responses itself and keeps nothing of ours.

It knows what such a server must not be sent: ids, which it would look up in a store that has none of them, and what it
cannot read. Practice of Codex (`ResponseItem` of its protocol) and of OpenAI's guide "Conversation state"; no I/O.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fundament.errors import InvalidRequest
from fundament.responses.compaction import told

Json = dict[str, Any]

# OpenAI's document requires the ids of other types. A web search's is left out all the same: with it, its reasoning
# would have to be there, too.
_LEFT_OUT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("message", "function_call", "function_call_output", "web_search_call", "mcp_approval_response"),
                *("computer_call_output", "additional_tools"),
            ),
            frozenset({"id"}),
        ),
        **dict.fromkeys(("custom_tool_call", "custom_tool_call_output"), frozenset({"id", "status"})),
        **dict.fromkeys(
            (
                *("shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output"),
                *("tool_search_call", "tool_search_output"),
            ),
            frozenset({"id", "created_by"}),
        ),
        "reasoning": frozenset({"status"}),
        "compaction": frozenset({"created_by"}),
    }
)
# A field that is null is as good as left out, but not where OpenAI's schema of the item requires it.
_KEPT_NULL: Mapping[str, frozenset[str]] = MappingProxyType(
    {"image_generation_call": frozenset({"result"}), "code_interpreter_call": frozenset({"code", "outputs"})}
)
BOUND = frozenset({"reasoning", "compaction", "program"})
"""Items that hold something encrypted, which counts for the id only that the server gave them."""

_ENDED = frozenset({None, "completed", "failed"})


def native_item(item: Mapping[str, Any]) -> Json | None:
    """The item as it is sent; None for one that says nothing there.

    That is reasoning that is not encrypted (another model's), and a call that was broken off.
    """
    kind: str = item["type"]
    if kind == "reasoning":
        return _reasoning(item) if item.get("encrypted_content") else None
    if kind.endswith("_call") and item.get("status") not in _ENDED:
        return None
    if kind == "compaction" and (summary := _summary(item["encrypted_content"])) is not None:
        return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": summary}]}
    return _sent(item)


def _sent(item: Mapping[str, Any]) -> Json:
    left_out = _LEFT_OUT.get(item["type"], frozenset())
    kept_null = _KEPT_NULL.get(item["type"], frozenset())
    return {
        name: value for name, value in item.items() if name not in left_out and (value is not None or name in kept_null)
    }


def _reasoning(item: Mapping[str, Any]) -> Json:
    """Content that is empty is refused; the encrypted has it anyway."""
    return {name: value for name, value in _sent(item).items() if name != "content"}


def _summary(encrypted_content: str) -> str | None:
    """What an item of our own `POST /responses/compact` says; None for the server's own."""
    try:
        return told(encrypted_content, "input")
    except InvalidRequest:
        return None
