"""The items of a response while they grow: messages and reasoning made of parts of text, calls of tools, tool lists.

It knows how an item looks at any moment, by OpenAI's `OutputItem`; when one opens and closes is known by `fold.py`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field

from fundament.responses.chunks import Token, TokenChoice
from fundament.responses.remote_functions import RemoteFunction, RemoteResult

Json = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete", "failed"]
TextType = Literal["output_text", "refusal", "reasoning_text"]
CallType = Literal["function_call", "custom_tool_call"]
AnyCallType = Literal["function_call", "custom_tool_call", "mcp_call", "mcp_approval_request"]


class TextForm(NamedTuple):
    """How one type of text is told: `item` is the item that it stands in, `field` holds the text in the part."""

    item: Literal["message", "reasoning"]
    field: str
    events: str


class CallForm(NamedTuple):
    """How one type of call is told: `field` holds what the tool is called with."""

    prefix: str
    field: str
    events: str


TEXT_FORMS: Mapping[TextType, TextForm] = MappingProxyType(
    {
        "output_text": TextForm("message", "text", "response.output_text"),
        "refusal": TextForm("message", "refusal", "response.refusal"),
        "reasoning_text": TextForm("reasoning", "text", "response.reasoning_text"),
    }
)
CALL_FORMS: Mapping[AnyCallType, CallForm] = MappingProxyType(
    {
        "function_call": CallForm("fc", "arguments", "response.function_call_arguments"),
        "custom_tool_call": CallForm("ctc", "input", "response.custom_tool_call_input"),
        "mcp_call": CallForm("mcp", "arguments", "response.mcp_call_arguments"),
        "mcp_approval_request": CallForm("mcpr", "arguments", ""),
    }
)
ID_PREFIXES = MappingProxyType({"message": "msg", "reasoning": "rs"})
LIST_BROKEN_OFF = "The response ended before the server told its tools."


class TextPart(Struct):
    """A part of a message or of reasoning, as far as it was told; `index` is its place in the item."""

    type: TextType
    item_id: str
    index: int
    pieces: list[str] = []
    logprobs: list[Json] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def shown(self) -> Json:
        if self.type == "output_text":
            return {"type": self.type, "text": self.text, "annotations": [], "logprobs": list(self.logprobs)}
        return {"type": self.type, TEXT_FORMS[self.type].field: self.text}


class TextItem(Struct):
    """A message of the assistant, or its reasoning."""

    type: Literal["message", "reasoning"]
    id: str
    parts: list[TextPart] = []

    def shown(self, status: Status) -> Json:
        item: Json = {"id": self.id, "type": self.type, "status": status}
        if self.type == "message":
            item["role"] = "assistant"
        else:
            item["summary"] = []
        item["content"] = [part.shown() for part in self.parts]
        return item


class CallItem(Struct):
    """A call of a function or of a custom tool."""

    type: CallType
    id: str
    call_id: str
    name: str
    namespace: str | None = None
    pieces: list[str] = []

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def shown(self, status: Status) -> Json:
        item: Json = {
            "id": self.id,
            "type": self.type,
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            CALL_FORMS[self.type].field: self.arguments,
        }
        return item if self.namespace is None else {**item, "namespace": self.namespace}


class RemoteCallItem(Struct):
    """A call of an MCP server's tool, at `output_index`; or, if it needs an approval, the question for it."""

    id: str
    function: RemoteFunction
    output_index: int
    approval_request_id: str | None = None
    pieces: list[str] = []
    result: RemoteResult = field(default_factory=RemoteResult)

    @property
    def type(self) -> Literal["mcp_call", "mcp_approval_request"]:
        return "mcp_approval_request" if self.is_question else "mcp_call"

    @property
    def is_question(self) -> bool:
        return self.function.needs_approval and self.approval_request_id is None

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def shown(self, status: Status) -> Json:
        item: Json = {"id": self.id, "type": self.type, "server_label": self.function.server_label}
        item |= {"name": self.function.tool.name, "arguments": self.arguments}
        if self.is_question:
            return item
        told = {"approval_request_id": self.approval_request_id, "output": self.result.output}
        return {**item, "status": status, **told, "error": self.result.error}


class ToolListItem(Struct):
    """What an MCP server has, or why it did not tell."""

    id: str
    server_label: str
    tools: list[Json] = []
    error: str | None = None

    @property
    def type(self) -> Literal["mcp_list_tools"]:
        return "mcp_list_tools"

    def shown(self, status: Status) -> Json:  # noqa: ARG002 - this item has none
        item: Json = {"id": self.id, "type": self.type, "server_label": self.server_label, "tools": self.tools}
        return item if self.error is None else {**item, "error": self.error}


def shown_logprobs(tokens: Sequence[TokenChoice]) -> list[Json]:
    """A chat's logprobs as OpenAI's `LogProb`, where `bytes` is never null."""
    return [
        {**_shown_token(token), "top_logprobs": [_shown_token(other) for other in token.top_logprobs]}
        for token in tokens
    ]


def _shown_token(token: Token) -> Json:
    data = list(token.token.encode()) if token.bytes is None else token.bytes
    return {"token": token.token, "logprob": token.logprob, "bytes": data}
