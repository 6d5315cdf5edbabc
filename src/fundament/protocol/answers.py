"""What the service answers, as OpenAI's document has it: the shapes that the API reference shows.

It knows shapes and names. Answers are made by `backends/translate.py` and `api/`, which do not go through these types;
tests hold what they send against them.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from fundament.protocol.messages import CustomToolCall, FunctionCall, FunctionToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class PromptTokensDetails(Struct):
    cached_tokens: int | UnsetType = UNSET
    audio_tokens: int | UnsetType = UNSET


class CompletionTokensDetails(Struct):
    reasoning_tokens: int | UnsetType = UNSET
    audio_tokens: int | UnsetType = UNSET
    accepted_prediction_tokens: int | UnsetType = UNSET
    rejected_prediction_tokens: int | UnsetType = UNSET


class CompletionUsage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | UnsetType = UNSET
    completion_tokens_details: CompletionTokensDetails | UnsetType = UNSET


class TokenProbability(Struct):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenAlternatives(TokenProbability):
    top_logprobs: list[TokenProbability]


class ChoiceLogprobs(Struct):
    content: list[TokenAlternatives] | None
    refusal: list[TokenAlternatives] | None


class AnswerMessage(Struct):
    """`reasoning_content` is sent for models that think aloud; it is not OpenAI's."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[FunctionToolCall | CustomToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    annotations: list[dict[str, Any]] | UnsetType = UNSET


class ChatChoice(Struct):
    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage | UnsetType = UNSET
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType | None = UNSET


class FunctionDelta(Struct):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Struct):
    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta | UnsetType = UNSET


class Delta(Struct):
    role: Literal["developer", "system", "user", "assistant", "tool"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionDelta | UnsetType = UNSET


class ChunkChoice(Struct):
    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: ChoiceLogprobs | UnsetType | None = UNSET


class ChatCompletionChunk(Struct):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType | None = UNSET


class TextLogprobs(Struct):
    tokens: list[str] | UnsetType = UNSET
    token_logprobs: list[float | None] | UnsetType = UNSET
    top_logprobs: list[dict[str, float] | None] | UnsetType | None = UNSET
    text_offset: list[int] | UnsetType = UNSET


class TextChoice(Struct):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"] | None


class Completion(Struct):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET


class ModelPrice(Struct):
    input: float
    cached_input: float
    output: float
    per_tokens: Literal[1_000_000]
    currency: str


class ModelMetadata(Struct):
    max_sequence_length: int | None
    hidden_size: int | None
    max_output_length: int | None
    quantisation: str | None
    open_weights: bool
    hosted_by: str | None
    region: str | None
    license: str | None
    aliases: list[str]
    price: ModelPrice | UnsetType = UNSET


class Model(Struct):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    meta_data: ModelMetadata


class ModelList(Struct):
    object: Literal["list"]
    data: list[Model]


class UsageTotals(Struct, kw_only=True):
    """Of these, the dimensions that were asked for are there."""

    object: Literal["usage"] = "usage"
    day: str | UnsetType = UNSET
    contract_id: str | UnsetType = UNSET
    contract_name: str | UnsetType | None = UNSET
    key_id: str | UnsetType = UNSET
    key_name: str | UnsetType | None = UNSET
    model: str | UnsetType = UNSET
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nanos: int


class UsageReport(Struct):
    object: Literal["list"]
    currency: str
    data: list[UsageTotals]


class Error(Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Struct):
    error: Error


class Liveness(Struct):
    status: Literal["live"]


class Readiness(Struct):
    status: Literal["ready", "starting"]
    models: dict[str, Literal["ready", "starting"]]
