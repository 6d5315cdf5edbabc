"""`POST /chat/completions`. It knows what is particular to chat; the way is `generation.py`'s."""

from collections.abc import Mapping
from typing import Any

from fundament.api.generation import Generation
from fundament.gateway.catalogue import CatalogueModel, refuse_too_much_output
from fundament.protocol import chat
from fundament.protocol.chat import ChatRequest


class ChatCompletions(Generation[ChatRequest]):
    kind = "chat"
    id_prefix = "chatcmpl-"

    def validate(self, body: Mapping[str, Any]) -> ChatRequest:
        return chat.validate(body)

    def check(self, model: CatalogueModel, request: ChatRequest) -> None:
        refuse_too_much_output(model, "max_tokens", request.max_tokens)
        refuse_too_much_output(model, "max_completion_tokens", request.max_completion_tokens)

    def output_tokens(self, request: ChatRequest) -> int | None:
        return request.max_completion_tokens or request.max_tokens
