"""The tools of the Responses API and the choice among them, by the names of OpenAI's document.

It knows shapes and names. Tools that OpenAI's own servers run (`HostedTool`) are known by name only: they are refused
where nobody could run them.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fundament.protocol.messages import Closed
from fundament.protocol.tools import FunctionName


class FunctionTool(Closed, tag_field="type", tag="function"):
    """`strict` left out means: strict if the schema allows it (`FunctionToolParam` of OpenAI's document)."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class CustomTool(Closed, tag_field="type", tag="custom"):
    name: FunctionName
    description: str | None = None
    format: dict[str, Any] | None = None


class NamespaceTool(Closed, tag_field="type", tag="namespace"):
    """Functions and custom tools of the client with a name in common, which their calls name, too."""

    name: Annotated[str, Meta(min_length=1)]
    description: str
    tools: Annotated[list[FunctionTool | CustomTool], Meta(min_length=1)]


class McpToolFilter(Closed):
    read_only: bool | None = None
    tool_names: list[str] | None = None


class McpApproval(Closed):
    always: McpToolFilter | None = None
    never: McpToolFilter | None = None


class McpTool(Closed, tag_field="type", tag="mcp"):
    server_label: Annotated[str, Meta(min_length=1)]
    server_url: str | None = None
    server_description: str | None = None
    connector_id: str | None = None
    authorization: str | None = None
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | McpToolFilter | None = None
    require_approval: Literal["always", "never"] | McpApproval | None = None


class HostedTool(Struct):
    """A tool that the server is to run itself, or the choice of it; its settings are not read."""


class ApplyPatchTool(HostedTool, tag_field="type", tag="apply_patch"):
    pass


class CodeInterpreterTool(HostedTool, tag_field="type", tag="code_interpreter"):
    pass


class ComputerTool(HostedTool, tag_field="type", tag="computer"):
    pass


class ComputerUseTool(HostedTool, tag_field="type", tag="computer_use"):
    pass


class ComputerUsePreviewTool(HostedTool, tag_field="type", tag="computer_use_preview"):
    pass


class FileSearchTool(HostedTool, tag_field="type", tag="file_search"):
    pass


class ImageGenerationTool(HostedTool, tag_field="type", tag="image_generation"):
    pass


class LocalShellTool(HostedTool, tag_field="type", tag="local_shell"):
    pass


class ProgrammaticToolCallingTool(HostedTool, tag_field="type", tag="programmatic_tool_calling"):
    pass


class ShellTool(HostedTool, tag_field="type", tag="shell"):
    pass


class ToolSearchTool(HostedTool, tag_field="type", tag="tool_search"):
    pass


class WebSearchTool(HostedTool, tag_field="type", tag="web_search"):
    pass


class DatedWebSearchTool(HostedTool, tag_field="type", tag="web_search_2025_08_26"):
    pass


class WebSearchPreviewTool(HostedTool, tag_field="type", tag="web_search_preview"):
    pass


class DatedWebSearchPreviewTool(HostedTool, tag_field="type", tag="web_search_preview_2025_03_11"):
    pass


Hosted = (
    ApplyPatchTool
    | CodeInterpreterTool
    | ComputerTool
    | ComputerUseTool
    | ComputerUsePreviewTool
    | FileSearchTool
    | ImageGenerationTool
    | LocalShellTool
    | ProgrammaticToolCallingTool
    | ShellTool
    | ToolSearchTool
    | WebSearchTool
    | DatedWebSearchTool
    | WebSearchPreviewTool
    | DatedWebSearchPreviewTool
)
Tool = FunctionTool | CustomTool | NamespaceTool | McpTool | Hosted


class FunctionChoice(Closed, tag_field="type", tag="function"):
    name: str


class CustomChoice(Closed, tag_field="type", tag="custom"):
    name: str


class McpChoice(Closed, tag_field="type", tag="mcp"):
    server_label: str
    name: str | None = None


class AllowedToolsChoice(Closed, tag_field="type", tag="allowed_tools"):
    tools: Annotated[list[FunctionChoice | CustomChoice | McpChoice | Hosted], Meta(min_length=1, max_length=128)]
    mode: Literal["auto", "required"] = "auto"


ToolChoice = (
    Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | McpChoice | AllowedToolsChoice | Hosted
)
