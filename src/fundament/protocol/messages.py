"""The messages of a chat, as the wire has them: OpenAI's `ChatCompletionRequestMessage` and its content parts.

It knows shapes and names; it does not know which model can see, hear or call.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from fundament.errors import InvalidRequest


class Closed(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An object of the wire with no fields but its own."""


class CacheBreakpoint(Closed):
    mode: Literal["explicit"]


class TextPart(Closed, tag_field="type", tag="text"):
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class RefusalPart(Closed, tag_field="type", tag="refusal"):
    refusal: str


class ImageUrl(Closed):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Closed, tag_field="type", tag="image_url"):
    image_url: ImageUrl
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputAudio(Closed):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Closed, tag_field="type", tag="input_audio"):
    input_audio: InputAudio
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class File(Closed):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FilePart(Closed, tag_field="type", tag="file"):
    file: File
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class OnlyText(Closed):
    """A part where no other kind may stand: `TextPart`, its type required, which msgspec does in unions only."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


TextParts = Annotated[list[OnlyText], Meta(min_length=1)]
UserParts = Annotated[list[TextPart | ImagePart | AudioPart | FilePart], Meta(min_length=1)]
AssistantParts = Annotated[list[TextPart | RefusalPart], Meta(min_length=1)]


class FunctionCall(Closed):
    name: str
    arguments: str


class FunctionToolCall(Closed, tag_field="type", tag="function"):
    id: str
    function: FunctionCall


class CustomCall(Closed):
    name: str
    input: str


class CustomToolCall(Closed, tag_field="type", tag="custom"):
    id: str
    custom: CustomCall


class AudioReference(Closed):
    id: str


class DeveloperMessage(Closed, tag_field="role", tag="developer"):
    content: str | TextParts
    name: str | None = None


class SystemMessage(Closed, tag_field="role", tag="system"):
    content: str | TextParts
    name: str | None = None


class UserMessage(Closed, tag_field="role", tag="user"):
    content: str | UserParts
    name: str | None = None


class AssistantMessage(Closed, tag_field="role", tag="assistant"):
    """`reasoning_content` is what thinking models' servers return and clients send back; it is not OpenAI's."""

    content: str | AssistantParts | None = None
    refusal: str | None = None
    name: str | None = None
    audio: AudioReference | None = None
    tool_calls: Annotated[list[FunctionToolCall | CustomToolCall], Meta(min_length=1)] | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    annotations: list[dict[str, object]] | None = None


class ToolMessage(Closed, tag_field="role", tag="tool"):
    content: str | TextParts
    tool_call_id: str


class FunctionMessage(Closed, tag_field="role", tag="function"):
    name: str
    content: str | None = None


Message = DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


def check_calls_and_results(messages: Sequence[Message]) -> None:
    """Each result of a tool answers a call of the assistant's message before it, and each call has its result.

    Raises:
        InvalidRequest: in OpenAI's words, `param` naming the message.
    """
    open_calls: dict[str, int] = {}  # the calls that wait for a result, and the message that made them
    made: frozenset[str] = frozenset()
    for position, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if not made:
                raise InvalidRequest(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                    "'tool_calls'.",
                    param=f"messages[{position}].role",
                )
            if message.tool_call_id not in made:
                raise InvalidRequest(
                    f"Invalid parameter: 'tool_call_id' of '{message.tool_call_id}' not found in 'tool_calls' of "
                    "previous message.",
                    param=f"messages[{position}].tool_call_id",
                )
            open_calls.pop(message.tool_call_id, None)
            continue
        _refuse_open(open_calls)
        made = frozenset()
        if isinstance(message, AssistantMessage) and message.tool_calls:
            made = frozenset(call.id for call in message.tool_calls)
            open_calls = dict.fromkeys(made, position)
    _refuse_open(open_calls)


def _refuse_open(open_calls: dict[str, int]) -> None:
    if open_calls:
        position = next(iter(open_calls.values()))
        raise InvalidRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
            param=f"messages[{position}].tool_calls",
        )
