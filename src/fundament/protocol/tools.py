"""Tools and the choice among them, as the wire has them, by the names of OpenAI's document.

It knows shapes and names; how a model is brought to call is known by `backends/tools.py`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta

from fundament.protocol.messages import Closed

FunctionName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class FunctionDefinition(Closed):
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Closed, tag_field="type", tag="function"):
    function: FunctionDefinition


class CustomDefinition(Closed):
    name: FunctionName
    description: str | None = None
    format: dict[str, Any] | None = None


class CustomTool(Closed, tag_field="type", tag="custom"):
    custom: CustomDefinition


Tool = FunctionTool | CustomTool


class Named(Closed):
    name: str


class FunctionChoice(Closed, tag_field="type", tag="function"):
    function: Named


class CustomChoice(Closed, tag_field="type", tag="custom"):
    custom: Named


class AllowedTools(Closed):
    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice | CustomChoice], Meta(min_length=1)]


class AllowedToolsChoice(Closed, tag_field="type", tag="allowed_tools"):
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedToolsChoice

LegacyFunctions = Annotated[list[FunctionDefinition], Meta(min_length=1, max_length=128)]
LegacyChoice = Literal["none", "auto"] | Named
