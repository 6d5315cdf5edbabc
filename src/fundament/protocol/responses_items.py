"""The items of the Responses API, as a request has them: messages, calls and their results, reasoning, MCP's items.

It knows shapes and names, by OpenAI's `InputItem` and Open Responses' `ItemParam`; items that an answer had are taken
back as they were. Items of tools that OpenAI's own servers know (`HostedItem`) are known by name only. What an item
means to a model is known by `responses/messages.py` and `responses/native_input.py`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fundament.protocol.messages import Closed

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ItemId = Annotated[str, Meta(min_length=1)]
CallId = Annotated[str, Meta(min_length=1, max_length=64)]
Phase = Literal["commentary", "final_answer"]


class InputText(Closed, tag_field="type", tag="input_text"):
    text: str


class InputImage(Closed, tag_field="type", tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(Closed, tag_field="type", tag="input_file"):
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: Literal["auto", "low", "high"] | None = None


class OutputText(Closed, tag_field="type", tag="output_text"):
    text: str
    annotations: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None


class Refusal(Closed, tag_field="type", tag="refusal"):
    refusal: str


class SummaryText(Closed):
    type: Literal["summary_text"]
    text: str


class ReasoningText(Closed):
    type: Literal["reasoning_text"]
    text: str


InputPart = InputText | InputImage | InputFile
Part = InputText | InputImage | InputFile | OutputText | Refusal


class Message(Closed, tag_field="type", tag="message"):
    """`EasyInputMessage`, `InputMessage` and `OutputMessage` in one: which parts a role may have, `validate` checks."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: ItemId | None = None
    status: ItemStatus | None = None
    phase: Phase | None = None


class FunctionCall(Closed, tag_field="type", tag="function_call"):
    call_id: CallId
    name: str
    arguments: str
    namespace: str | None = None
    id: ItemId | None = None
    status: ItemStatus | None = None


class FunctionCallOutput(Closed, tag_field="type", tag="function_call_output"):
    call_id: CallId
    output: str | list[InputPart]
    id: ItemId | None = None
    status: ItemStatus | None = None


class CustomToolCall(Closed, tag_field="type", tag="custom_tool_call"):
    call_id: CallId
    name: str
    input: str
    namespace: str | None = None
    id: ItemId | None = None
    status: ItemStatus | None = None


class CustomToolCallOutput(Closed, tag_field="type", tag="custom_tool_call_output"):
    call_id: CallId
    output: str | list[InputPart]
    id: ItemId | None = None
    status: ItemStatus | None = None


class Reasoning(Closed, tag_field="type", tag="reasoning"):
    summary: list[SummaryText]
    id: ItemId | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


class ItemReference(Closed, tag_field="type", tag="item_reference"):
    id: ItemId


class Compaction(Closed, tag_field="type", tag="compaction"):
    encrypted_content: Annotated[str, Meta(max_length=20_971_520)]
    id: ItemId | None = None
    created_by: str | None = None


class McpListTools(Closed, tag_field="type", tag="mcp_list_tools"):
    id: ItemId
    server_label: str
    tools: list[dict[str, Any]]
    error: str | None = None


class McpApprovalRequest(Closed, tag_field="type", tag="mcp_approval_request"):
    id: ItemId
    server_label: str
    name: str
    arguments: str


class McpApprovalResponse(Closed, tag_field="type", tag="mcp_approval_response"):
    approval_request_id: str
    approve: bool
    id: ItemId | None = None
    reason: str | None = None


class McpCall(Closed, tag_field="type", tag="mcp_call"):
    id: ItemId
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: str | dict[str, Any] | None = None
    approval_request_id: str | None = None
    status: Literal["in_progress", "completed", "incomplete", "calling", "failed"] | None = None


class HostedItem(Struct):
    """An item that only a server with OpenAI's own tools understands. `fields` are all that it has, unchecked."""

    id: ItemId | None = None
    fields: dict[str, Any] = {}


class AdditionalToolsItem(HostedItem, tag_field="type", tag="additional_tools"):
    pass


class ApplyPatchCall(HostedItem, tag_field="type", tag="apply_patch_call"):
    pass


class ApplyPatchCallOutput(HostedItem, tag_field="type", tag="apply_patch_call_output"):
    pass


class CodeInterpreterCall(HostedItem, tag_field="type", tag="code_interpreter_call"):
    pass


class CompactionTriggerItem(HostedItem, tag_field="type", tag="compaction_trigger"):
    pass


class ComputerCall(HostedItem, tag_field="type", tag="computer_call"):
    pass


class ComputerCallOutput(HostedItem, tag_field="type", tag="computer_call_output"):
    pass


class FileSearchCall(HostedItem, tag_field="type", tag="file_search_call"):
    pass


class ImageGenerationCall(HostedItem, tag_field="type", tag="image_generation_call"):
    pass


class LocalShellCall(HostedItem, tag_field="type", tag="local_shell_call"):
    pass


class LocalShellCallOutput(HostedItem, tag_field="type", tag="local_shell_call_output"):
    pass


class ProgramItem(HostedItem, tag_field="type", tag="program"):
    pass


class ProgramOutput(HostedItem, tag_field="type", tag="program_output"):
    pass


class ShellCall(HostedItem, tag_field="type", tag="shell_call"):
    pass


class ShellCallOutput(HostedItem, tag_field="type", tag="shell_call_output"):
    pass


class ToolSearchCall(HostedItem, tag_field="type", tag="tool_search_call"):
    pass


class ToolSearchOutput(HostedItem, tag_field="type", tag="tool_search_output"):
    pass


class WebSearchCall(HostedItem, tag_field="type", tag="web_search_call"):
    pass


Hosted = (
    AdditionalToolsItem
    | ApplyPatchCall
    | ApplyPatchCallOutput
    | CodeInterpreterCall
    | CompactionTriggerItem
    | ComputerCall
    | ComputerCallOutput
    | FileSearchCall
    | ImageGenerationCall
    | LocalShellCall
    | LocalShellCallOutput
    | ProgramItem
    | ProgramOutput
    | ShellCall
    | ShellCallOutput
    | ToolSearchCall
    | ToolSearchOutput
    | WebSearchCall
)
Item = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | CustomToolCall
    | CustomToolCallOutput
    | Reasoning
    | ItemReference
    | Compaction
    | McpListTools
    | McpApprovalRequest
    | McpApprovalResponse
    | McpCall
    | Hosted
)
