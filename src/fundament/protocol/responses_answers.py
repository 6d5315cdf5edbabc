"""What the Responses and Conversations APIs answer, as OpenAI's document has it: the shapes that the reference shows.

It knows shapes and names, not how they come to be: `responses/` makes them without going through these types, and
tests hold what is sent against them. The events of a stream are in `responses_events.py`.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from fundament.protocol.responses import ConversationId, ServiceTier, TextOptions
from fundament.protocol.responses_items import (
    Compaction,
    CustomToolCall,
    CustomToolCallOutput,
    FunctionCall,
    FunctionCallOutput,
    Hosted,
    InputFile,
    InputImage,
    InputText,
    ItemStatus,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Phase,
    Reasoning,
    SummaryText,
)
from fundament.protocol.responses_tools import Tool, ToolChoice

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class AlternativeToken(Struct):
    token: str
    logprob: float
    bytes: list[int]


class ChosenToken(AlternativeToken):
    top_logprobs: list[AlternativeToken]


class AnswerText(Struct, tag_field="type", tag="output_text"):
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[ChosenToken]


class AnswerRefusal(Struct, tag_field="type", tag="refusal"):
    refusal: str


class AnswerReasoning(Struct, tag_field="type", tag="reasoning_text"):
    text: str


class OutputMessage(Struct, tag_field="type", tag="message"):
    id: str
    status: ItemStatus
    role: Literal["assistant"]
    content: list[AnswerText | AnswerRefusal]


class OutputReasoning(Struct, tag_field="type", tag="reasoning"):
    id: str
    status: ItemStatus
    summary: list[SummaryText]
    content: list[AnswerReasoning]


class OutputFunctionCall(Struct, tag_field="type", tag="function_call"):
    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class OutputCustomToolCall(Struct, tag_field="type", tag="custom_tool_call"):
    id: str
    status: ItemStatus
    call_id: str
    name: str
    input: str


OutputItem = (
    OutputMessage
    | OutputReasoning
    | OutputFunctionCall
    | OutputCustomToolCall
    | McpListTools
    | McpCall
    | McpApprovalRequest
    | Hosted
)


class InputTokensDetails(Struct):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(Struct):
    reasoning_tokens: int


class ResponseUsage(Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(Struct):
    code: str
    message: str


class IncompleteDetails(Struct):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseReasoning(Struct):
    effort: str | None
    summary: str | None


class Response(Struct):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    background: bool
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[OutputItem]
    previous_response_id: str | None
    store: bool
    usage: ResponseUsage | None
    metadata: dict[str, str]
    frequency_penalty: float
    parallel_tool_calls: bool
    presence_penalty: float
    prompt_cache_key: str | None
    reasoning: ResponseReasoning
    safety_identifier: str | None
    service_tier: ServiceTier
    temperature: float
    text: TextOptions
    tool_choice: ToolChoice
    tools: list[Tool]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    conversation: ConversationId | UnsetType = UNSET
    user: str | UnsetType = UNSET


class DeletedResponse(Struct):
    id: str
    object: Literal["response"]
    deleted: bool


class InputTokens(Struct):
    object: Literal["response.input_tokens"]
    input_tokens: int


class CompactedItem(Struct, tag_field="type", tag="compaction"):
    id: str
    encrypted_content: str


class KeptMessage(Struct, tag_field="type", tag="message"):
    """A message as it is kept: with its id, and its text in parts."""

    id: str
    status: ItemStatus
    role: Literal["user", "assistant", "system", "developer"]
    content: list[InputText | InputImage | InputFile | AnswerText | AnswerRefusal]
    phase: Phase | UnsetType = UNSET


KeptItem = (
    KeptMessage
    | FunctionCall
    | FunctionCallOutput
    | CustomToolCall
    | CustomToolCallOutput
    | Reasoning
    | Compaction
    | McpListTools
    | McpApprovalRequest
    | McpApprovalResponse
    | McpCall
    | Hosted
)


class ItemList(Struct):
    object: Literal["list"]
    data: list[KeptItem]
    first_id: str
    last_id: str
    has_more: bool


class Conversation(Struct):
    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(Struct):
    id: str
    object: Literal["conversation.deleted"]
    deleted: bool


class CompactedResponse(Struct):
    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[KeptMessage | CompactedItem]
    usage: ResponseUsage
