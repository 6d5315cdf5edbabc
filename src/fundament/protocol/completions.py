"""The request of `POST /completions`, as OpenAI's `CreateCompletionRequest` has it: raw text in, raw text out.

It knows what is well-formed; what a model's engine can honour is known by `backends/profiles.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from msgspec import Meta, Struct

from fundament.errors import InvalidRequest
from fundament.protocol.chat import (
    Bias,
    ChoiceCount,
    Penalty,
    Probability,
    RepeatPenalty,
    Stop,
    StreamOptions,
    Temperature,
    TopK,
)
from fundament.protocol.validation import checked

TokenId = Annotated[int, Meta(ge=0)]
Prompt = str | Annotated[list[str | TokenId | Annotated[list[TokenId], Meta(min_length=1)]], Meta(min_length=1)]


class CompletionRequest(Struct):
    model: str
    prompt: Prompt
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None
    echo: bool | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    n: ChoiceCount | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    user: str | None = None
    grammar: str | None = None
    min_p: Probability | None = None
    repeat_penalty: RepeatPenalty | None = None
    repetition_penalty: RepeatPenalty | None = None
    top_k: TopK | None = None


def validate(body: Mapping[str, Any]) -> CompletionRequest:
    """The request's parameters, typed; names that OpenAI does not know are left to the model's profile.

    Raises:
        InvalidRequest: in OpenAI's words, `param` naming the field with its path.
    """
    request = checked(body, CompletionRequest)
    if isinstance(request.prompt, list) and len({type(entry) for entry in request.prompt}) > 1:
        raise InvalidRequest(
            "Invalid type for 'prompt': expected one of a string, array of strings, array of integers, or array of "
            "arrays of integers, but got a mixed array instead.",
            param="prompt",
            code="invalid_type",
        )
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if request.best_of is not None and request.best_of < (request.n or 1):
        raise InvalidRequest(
            f"Invalid 'best_of': it must not be less than 'n', which is {request.n or 1}.",
            param="best_of",
            code="invalid_value",
        )
    if request.best_of is not None and request.best_of > (request.n or 1) and request.stream:
        raise InvalidRequest(
            "Invalid 'best_of': the best of several answers cannot be streamed.",
            param="best_of",
            code="invalid_parameter_combination",
        )
    return request


def prompts_of(prompt: Prompt) -> list[str | list[int]]:
    """The prompts that are asked at once: texts, or tokens."""
    if isinstance(prompt, list) and not isinstance(prompt[0], int):
        return cast("list[str | list[int]]", prompt)
    return [cast("str | list[int]", prompt)]
