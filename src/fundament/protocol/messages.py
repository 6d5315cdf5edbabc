"""The messages of a chat, as the wire has them: OpenAI's `ChatCompletionRequestMessage` and its content parts.

It knows shapes and names; it does not know which model can see, hear or call.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct


class Closed(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An object of the wire with no fields but its own."""


class TextPart(Closed, tag_field="type", tag="text"):
    text: str


class RefusalPart(Closed, tag_field="type", tag="refusal"):
    refusal: str


class ImageUrl(Closed):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Closed, tag_field="type", tag="image_url"):
    image_url: ImageUrl


class InputAudio(Closed):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Closed, tag_field="type", tag="input_audio"):
    input_audio: InputAudio


class File(Closed):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FilePart(Closed, tag_field="type", tag="file"):
    file: File


class OnlyText(Closed):
    """A part where no other kind may stand: `TextPart`, its type required, which msgspec does in unions only."""

    type: Literal["text"]
    text: str


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
