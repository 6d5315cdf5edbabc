"""Requests of the Responses API, translated, and each chat that comes of it held to what chats may be."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from fundament.errors import RequestError
from fundament.protocol import chat
from fundament.protocol.responses import parse_items, validate
from fundament.responses.translation import chat_request
from specification import assert_valid


def translated(history: Sequence[dict[str, Any]] = (), **parameters: Any) -> dict[str, Any]:
    """The chat, which our own chats and OpenAI's document take."""
    body = chat_request(validate({"model": "m", "input": "x", **parameters}), parse_items(history))
    chat.validate(json.loads(json.dumps(body)))
    thoughts = [key for key in ("messages[].reasoning_content",) if "reasoning_content" in json.dumps(body)]
    return assert_valid("CreateChatCompletionRequest", json.loads(json.dumps(body)), undeclared=thoughts)


def refusal(**parameters: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        translated(**parameters)
    return caught.value


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}
