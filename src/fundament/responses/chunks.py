"""The chunks of a chat's answer, as far as the fold reads them: OpenAI's `CreateChatCompletionStreamResponse`, typed.

It knows shapes only. Fields that it does not name are not read; a wrong type is the server's fault.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from fundament.errors import UpstreamFailure
from fundament.protocol.usage import Usage


class Token(Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenChoice(Token):
    top_logprobs: list[Token] = []


class Logprobs(Struct):
    content: list[TokenChoice] | None = None


class FunctionPiece(Struct):
    name: str | None = None
    arguments: str | None = None


class CustomPiece(Struct):
    name: str | None = None
    input: str | None = None


class CallPiece(Struct):
    index: int = 0
    id: str | None = None
    function: FunctionPiece | None = None
    custom: CustomPiece | None = None


class Delta(Struct):
    """`reasoning_content` and `reasoning` are two names of one thing, which OpenAI's own chats do not show."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPiece] | None = None


class Choice(Struct):
    index: int = 0
    delta: Delta | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Chunk(Struct):
    choices: list[Choice] = []
    usage: Usage | None = None
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(Chunk)


def decode_chunk(data: bytes) -> Chunk:
    """The chunk of one event's data.

    Raises:
        UpstreamFailure: it is no chunk.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _broken(error) from None


def read_chunk(chunk: Mapping[str, Any]) -> Chunk:
    """A chunk that was decoded already; raises as `decode_chunk`."""
    try:
        return msgspec.convert(chunk, Chunk)
    except msgspec.ValidationError as error:
        raise _broken(error) from None


def _broken(error: Exception) -> UpstreamFailure:
    return UpstreamFailure(f"The model's server sent a chunk that cannot be read: {error}.", code="upstream_error")


class _Message(Delta):
    """A whole message has the fields of a delta; its calls are numbered by their place."""


class _CompletedChoice(Struct):
    index: int = 0
    message: _Message | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class _Completion(Struct):
    choices: list[_CompletedChoice] = []
    usage: Usage | None = None
    service_tier: str | None = None


_completion_decoder = msgspec.json.Decoder(_Completion)


def decode_completion(data: bytes) -> Chunk:
    """A whole `chat.completion` as one chunk that says it all; raises as `decode_chunk`."""
    try:
        completion = _completion_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _broken(error) from None
    choices: list[Choice] = []
    for choice in completion.choices:
        for place, call in enumerate((choice.message and choice.message.tool_calls) or ()):
            call.index = place
        choices.append(Choice(choice.index, choice.message, choice.logprobs, choice.finish_reason))
    return Chunk(choices, completion.usage, completion.service_tier)
