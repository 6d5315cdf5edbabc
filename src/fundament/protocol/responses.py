"""The request of `POST /responses`, as OpenAI's `CreateResponse` and Open Responses' `CreateResponseBody` have it.

It knows what is well-formed; what the translation to a chat honours is known by `responses/parameters.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast, get_args

from msgspec import UNSET, Meta, UnsetType

from fundament.errors import InvalidRequest
from fundament.protocol.chat import (
    Metadata,
    Penalty,
    Probability,
    ResponseFormatJsonObject,
    ResponseFormatText,
    Temperature,
)
from fundament.protocol.messages import Closed
from fundament.protocol.responses_items import (
    CustomToolCallOutput,
    FunctionCallOutput,
    Hosted,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Part,
    Refusal,
)
from fundament.protocol.responses_tools import Tool, ToolChoice
from fundament.protocol.validation import checked

Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
_HOSTED = frozenset(str(item.__struct_config__.tag) for item in get_args(Hosted))
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]


class FormatJsonSchema(Closed, tag_field="type", tag="json_schema"):
    name: Annotated[str, Meta(max_length=64, pattern="^[a-zA-Z0-9_-]+$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextOptions(Closed):
    format: ResponseFormatText | ResponseFormatJsonObject | FormatJsonSchema | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Closed):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class ConversationId(Closed):
    id: str


class StreamOptions(Closed):
    include_obfuscation: bool | None = None


class ResponsesRequest(Closed):
    """The parameters. What only some servers honour is loosely typed: it is refused by name further on, or passed."""

    model: str
    input: str | list[Item] | None = None
    background: bool | None = None
    client_metadata: dict[str, Any] | None = None
    context_management: list[dict[str, Any]] | None = None
    conversation: str | ConversationId | None = None
    frequency_penalty: Penalty | None = None
    include: list[Include] | None = None
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=16)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    moderation: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: Penalty | None = None
    previous_response_id: str | None = None
    prompt: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning: ReasoningOptions | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    service_tier: ServiceTier | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    text: TextOptions | None = None
    tool_choice: ToolChoice | None = None
    tools: list[Tool] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Probability | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    @property
    def items(self) -> list[Item]:
        """The input as items: a string is a user's message."""
        return _items(self.input)

    @property
    def conversation_id(self) -> str | None:
        return self.conversation.id if isinstance(self.conversation, ConversationId) else self.conversation

    @property
    def stored(self) -> bool:
        return self.store is not False


class CompactRequest(Closed):
    """The request of `POST /responses/compact`: `CompactResponseMethodPublicBody` of OpenAI's document."""

    model: str
    input: str | list[Item] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    service_tier: ServiceTier | None = None

    @property
    def items(self) -> list[Item]:
        return _items(self.input)


class _Items(Closed):
    input: list[Item] | UnsetType = UNSET


def validate(body: Mapping[str, Any]) -> ResponsesRequest:
    """The request's parameters, typed.

    Raises:
        InvalidRequest: in OpenAI's words, `param` naming the field with its path.
    """
    request = checked(with_item_types(body, "input"), ResponsesRequest)
    _check_combinations(request)
    if isinstance(request.input, list):
        check_items(request.input, "input")
    return request


def validate_compact(body: Mapping[str, Any]) -> CompactRequest:
    """As `validate`, for what is to be compacted."""
    request = checked(with_item_types(body, "input"), CompactRequest)
    if not request.input and request.previous_response_id is None:
        raise InvalidRequest(
            "One of 'input' or 'previous_response_id' must be provided.",
            param="input",
            code="missing_required_parameter",
        )
    check_items(request.items, "input")
    return request


def _items(input: str | list[Item] | None) -> list[Item]:
    return [Message(role="user", content=[InputText(text=input)])] if isinstance(input, str) else input or []


def parse_items(items: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Items as they were stored or sent, typed.

    Raises:
        InvalidRequest: as `validate`, for `{"input": items}`.
    """
    parsed = checked(with_item_types({"input": items}, "input"), _Items).input
    found = [] if parsed is UNSET else parsed
    check_parts(found, "input")
    return found


def with_item_types(body: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """`body` with the type of each item in `field`: a message and a reference may leave it out.

    A `HostedItem` has its own fields one level deeper, where no type takes them away.
    """
    items = body.get(field)
    if not isinstance(items, list):
        return body
    return {**body, field: [_with_type(item) for item in cast("list[object]", items)]}


def _with_type(item: object) -> object:
    if not isinstance(item, dict):
        return item
    fields = cast("dict[str, Any]", item)
    if (kind := fields.get("type")) is not None:
        hosted = isinstance(kind, str) and kind in _HOSTED
        return {"type": kind, "id": fields.get("id"), "fields": fields} if hosted else fields
    if "role" in fields:
        return {**fields, "type": "message"}
    return {**fields, "type": "item_reference"} if fields.keys() <= {"type", "id"} and fields.get("id") else fields


def _check_combinations(request: ResponsesRequest) -> None:
    if request.previous_response_id is not None and request.conversation is not None:
        raise InvalidRequest(
            "Mutually exclusive parameters. Ensure you are only providing one of: 'previous_response_id' or "
            "'conversation'.",
            code="mutually_exclusive_parameters",
        )
    if not request.input and not any((request.previous_response_id, request.conversation, request.prompt)):
        raise InvalidRequest(
            "One of 'input', 'previous_response_id' or 'conversation' must be provided.",
            param="input",
            code="missing_required_parameter",
        )
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if request.background and not request.stored:
        raise InvalidRequest(
            "The 'background' parameter is only allowed when 'store' is enabled.",
            param="background",
            code="invalid_parameter_combination",
        )


_ASSISTANT = (OutputText, Refusal, InputText)
_OTHERS = (InputText, InputImage, InputFile)


def check_items(items: Sequence[Item], field: str) -> None:
    """Raises InvalidRequest: as `check_parts`; or two items in `field` have the same id."""
    check_parts(items, field)
    seen: set[str] = set()
    for position, item in enumerate(items):
        if item.id in seen:
            raise duplicate_item(item.id, f"{field}[{position}].id")
        if item.id is not None:
            seen.add(item.id)


def duplicate_item(id: str, path: str) -> InvalidRequest:
    """The item whose id is at `path` is there already."""
    return InvalidRequest(
        f"Duplicate item found with id {id}. Remove duplicate items from your input and try again.", param=path
    )


def check_parts(items: Sequence[Item], field: str) -> None:
    """Raises InvalidRequest: an item in `field` has a part that its role or type cannot have."""
    for position, item in enumerate(items):
        inner, parts = _parts(item)
        allowed = _ASSISTANT if isinstance(item, Message) and item.role == "assistant" else _OTHERS
        for place, part in enumerate(parts):
            _check_part(part, allowed, f"{field}[{position}].{inner}[{place}]")


def _parts(item: Item) -> tuple[str, Sequence[Part]]:
    """The field of an item that may have parts, and those that it has."""
    if isinstance(item, Message):
        return "content", () if isinstance(item.content, str) else item.content
    if isinstance(item, FunctionCallOutput | CustomToolCallOutput):
        return "output", () if isinstance(item.output, str) else item.output
    return "", ()


def _check_part(part: Part, allowed: tuple[type[Part], ...], path: str) -> None:
    if not isinstance(part, allowed):
        names = [kind.__struct_config__.tag for kind in allowed]
        listed = ", ".join(map(repr, names[:-1])) + f", and {names[-1]!r}"
        raise InvalidRequest(
            f"Invalid value: {part.__struct_config__.tag!r}. Supported values are: {listed}.",
            param=f"{path}.type",
            code="invalid_value",
        )
    if isinstance(part, InputImage) and (part.image_url is None) == (part.file_id is None):
        raise InvalidRequest(
            f"Invalid '{path}': expected exactly one of 'image_url' or 'file_id'.", param=path, code="invalid_value"
        )
    if isinstance(part, InputFile) and sum(x is not None for x in (part.file_id, part.file_data, part.file_url)) != 1:
        raise InvalidRequest(
            f"Invalid '{path}': expected exactly one of 'file_id', 'file_data' or 'file_url'.",
            param=path,
            code="invalid_value",
        )
