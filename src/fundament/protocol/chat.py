"""The request of `POST /chat/completions`, as OpenAI's `CreateChatCompletionRequest` has it: types, ranges, names.

It knows what is well-formed; what a model's engine can honour is known by `backends/profiles.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fundament.errors import InvalidRequest
from fundament.protocol.messages import Closed, Message, check_calls_and_results
from fundament.protocol.tools import LegacyChoice, LegacyFunctions, Tool, ToolChoice
from fundament.protocol.validation import checked

Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
PositiveInteger = Annotated[int, Meta(ge=1)]
ChoiceCount = Annotated[int, Meta(ge=1, le=128)]
Stop = str | Annotated[list[str], Meta(min_length=1, max_length=4)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
# Not OpenAI's: what llama.cpp and vLLM take besides, for the `extra_body` of SDKs.
TopK = Annotated[int, Meta(ge=-1)]
RepeatPenalty = Annotated[float, Meta(gt=0, le=10)]
EXTENSIONS = frozenset({"chat_template_kwargs", "grammar", "min_p", "repeat_penalty", "repetition_penalty", "top_k"})
Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]


class StreamOptions(Closed):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(Closed):
    name: Annotated[str, Meta(max_length=64, pattern="^[a-zA-Z0-9_-]+$")]
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormatText(Closed, tag_field="type", tag="text"):
    pass


class ResponseFormatJsonObject(Closed, tag_field="type", tag="json_object"):
    pass


class ResponseFormatJsonSchema(Closed, tag_field="type", tag="json_schema"):
    json_schema: JsonSchema


class ChatRequest(Struct):
    """The known parameters. What is only passed on to an upstream that understands it is kept loosely typed."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    audio: dict[str, Any] | None = None
    frequency_penalty: Penalty | None = None
    function_call: LegacyChoice | None = None
    functions: LegacyFunctions | None = None
    logit_bias: dict[str, Bias] | None = None
    logprobs: bool | None = None
    max_completion_tokens: PositiveInteger | None = None
    max_tokens: PositiveInteger | None = None
    metadata: Metadata | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: dict[str, Any] | None = None
    n: ChoiceCount | None = None
    parallel_tool_calls: bool | None = None
    prediction: dict[str, Any] | None = None
    presence_penalty: Penalty | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    response_format: ResponseFormatText | ResponseFormatJsonObject | ResponseFormatJsonSchema | None = None
    safety_identifier: str | None = None
    seed: int | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    stop: Stop | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    tool_choice: ToolChoice | None = None
    tools: list[Tool] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Probability | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    grammar: str | None = None
    min_p: Probability | None = None
    repeat_penalty: RepeatPenalty | None = None
    repetition_penalty: RepeatPenalty | None = None
    top_k: TopK | None = None


def validate(body: Mapping[str, Any]) -> ChatRequest:
    """The request's parameters, typed; names that OpenAI does not know are left to the model's profile.

    Raises:
        InvalidRequest: in OpenAI's words, `param` naming the field with its path.
    """
    request = checked(body, ChatRequest)
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs"
        )
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    check_calls_and_results(request.messages)
    return request
