"""Compacting a conversation: the model's own summary stands for what was said, in one item that clients send back.

It knows how the summary is asked for and how it travels; it does no I/O. The item's `encrypted_content` is opaque to
clients, as OpenAI's is, and holds the summary itself: it is the client's own conversation.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from fundament.errors import InvalidRequest
from fundament.protocol.responses import CompactRequest, ResponsesRequest
from fundament.protocol.responses_items import InputText, Message

Json = dict[str, Any]
SUMMARY_TOKENS = 1024  # a summary that is longer is cut there
_MARK = "fundament-summary-1:"
_ASKED = (
    "Summarize the conversation above, so that it can go on from the summary alone: what was asked, what was found out "
    "and decided, names, numbers and results of tools, and what is still open. Answer with the summary only."
)
_INTRODUCED = "Summary of the conversation so far:\n"


def summary_request(wanted: CompactRequest, most_tokens: int | None = None) -> ResponsesRequest:
    """The request for the summary of what came before and what is said in `wanted`; `most_tokens` may the model say."""
    asked = Message(role="user", content=[InputText(text=_ASKED)])
    return ResponsesRequest(
        model=wanted.model,
        input=[*wanted.items, asked],
        instructions=wanted.instructions,
        previous_response_id=wanted.previous_response_id,
        prompt_cache_key=wanted.prompt_cache_key,
        prompt_cache_options=wanted.prompt_cache_options,
        prompt_cache_retention=wanted.prompt_cache_retention,
        service_tier=wanted.service_tier,
        max_output_tokens=SUMMARY_TOKENS if most_tokens is None else min(SUMMARY_TOKENS, most_tokens),
        store=False,
    )


def summary_of(response: Json) -> str:
    """The text of the response to a `summary_request`."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part.get("text", "") for item in messages for part in item["content"])


def compacted(said: Sequence[Json], summary: str, id: str) -> list[Json]:
    """What stands for a conversation, as OpenAI documents it: the user's messages, then one item for all the rest."""
    users = [item for item in said if item["type"] == "message" and item["role"] == "user"]
    content = base64.urlsafe_b64encode((_MARK + summary).encode()).decode()
    return [*users, {"id": id, "type": "compaction", "encrypted_content": content}]


def told(encrypted_content: str, path: str) -> str:
    """What a model is told of a compacted conversation.

    Raises:
        InvalidRequest: it is not from this service.
    """
    try:
        text = base64.urlsafe_b64decode(encrypted_content.encode()).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith(_MARK):
        raise InvalidRequest(
            f"Invalid '{path}.encrypted_content': it was not made by this service.",
            param=f"{path}.encrypted_content",
            code="invalid_encrypted_content",
        )
    return _INTRODUCED + text.removeprefix(_MARK)
