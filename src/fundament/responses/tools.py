"""The tools of a response as a chat has them, and as the response object shows them.

It knows both shapes, and what `strict` means where a request leaves it out; it does not run tools.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from fundament.errors import InvalidRequest
from fundament.protocol.responses_tools import (
    AllowedToolsChoice,
    CustomChoice,
    CustomTool,
    FunctionChoice,
    FunctionTool,
    McpChoice,
    McpTool,
    Tool,
    ToolChoice,
)
from fundament.responses.remote_functions import RemoteFunctions

Json = dict[str, Any]
_SECRETS = frozenset({"authorization", "headers"})


def chat_tools(tools: Sequence[Tool], functions: RemoteFunctions | None = None) -> list[Json]:
    """The `tools` of a chat: those of the request, and `functions` in place of the MCP servers that have them.

    Without `functions`, nobody asks MCP servers, and they are refused like all that nobody can run.

    Raises:
        InvalidRequest: a tool that nobody behind a chat can run, by its type, or that has the name of another one.
    """
    made: list[Json] = []
    for position, tool in enumerate(tools):
        if isinstance(tool, McpTool) and functions is not None:
            made += [one.chat_tool for one in functions.values() if one.server_label == tool.server_label]
        else:
            made.append(_chat_tool(tool, functions, f"tools[{position}]"))
    return made


def chat_tool_choice(choice: ToolChoice, functions: RemoteFunctions | None = None) -> str | Json:
    """The `tool_choice` of a chat; raises as `chat_tools`."""
    if isinstance(choice, str):
        return choice
    if isinstance(choice, AllowedToolsChoice):
        named = [
            name
            for position, tool in enumerate(choice.tools)
            for name in _named(tool, functions, f"tool_choice.tools[{position}]")
        ]
        return _allowed(choice.mode, named)
    named = _named(choice, functions, "tool_choice")
    return named[0] if len(named) == 1 else _allowed("required", named)


def shown_tools(tools: Sequence[Tool]) -> list[Json]:
    """The `tools` of a response object: every field of a function, and no credentials."""
    return [_shown_tool(tool) for tool in tools]


def is_strict(tool: FunctionTool) -> bool:
    """Whether arguments are held to the schema: as the request says, or else if the schema is made for it.

    OpenAI "attempts to use strict validation when the schema is compatible" (`FunctionToolParam`): when each object in
    it is closed and requires all its properties.
    """
    if tool.strict is not None:
        return tool.strict
    return tool.parameters is not None and all(map(_is_closed, _objects(tool.parameters)))


def unsupported(type: str, param: str) -> InvalidRequest:
    """The refusal of a tool of this type."""
    return InvalidRequest(
        f"Unsupported tool type: '{type}'. This model takes tools of the types 'function', 'custom' and 'mcp'.",
        param=param,
        code="unsupported_value",
    )


def _chat_tool(tool: Tool, functions: RemoteFunctions | None, path: str) -> Json:
    if not isinstance(tool, FunctionTool | CustomTool):
        raise unsupported(_type_of(tool), f"{path}.type")
    if functions is not None and tool.name in functions:
        raise InvalidRequest(
            f"Invalid '{path}.name': the tool of an MCP server is called '{tool.name}' as well.",
            param=f"{path}.name",
            code="invalid_value",
        )
    if isinstance(tool, FunctionTool):
        described = _without_nones(name=tool.name, description=tool.description, parameters=tool.parameters)
        return {"type": "function", "function": {**described, "strict": is_strict(tool)}}
    described = _without_nones(name=tool.name, description=tool.description, format=_chat_format(tool.format))
    return {"type": "custom", "custom": described}


def _chat_format(format: Mapping[str, Any] | None) -> Json | None:
    """A chat has the fields of a grammar one level deeper."""
    if format is None or format.get("type") != "grammar":
        return None if format is None else dict(format)
    return {"type": "grammar", "grammar": {name: value for name, value in format.items() if name != "type"}}


def _allowed(mode: str, named: list[Json]) -> Json:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}


def _named(choice: object, functions: RemoteFunctions | None, path: str) -> list[Json]:
    if isinstance(choice, McpChoice) and functions is not None:
        return _named_remote(choice, functions, path)
    if isinstance(choice, FunctionChoice):
        return [{"type": "function", "function": {"name": choice.name}}]
    if isinstance(choice, CustomChoice):
        return [{"type": "custom", "custom": {"name": choice.name}}]
    raise unsupported(_type_of(choice), f"{path}.type")


def _named_remote(choice: McpChoice, functions: RemoteFunctions, path: str) -> list[Json]:
    """One tool of the server, or all that it has."""
    names = [
        name
        for name, function in functions.items()
        if function.server_label == choice.server_label and choice.name in {None, function.tool.name}
    ]
    if not names:
        raise InvalidRequest(
            f"Invalid '{path}': no such tool of an MCP server is among the 'tools'.", param=path, code="invalid_value"
        )
    return [{"type": "function", "function": {"name": name}} for name in names]


def _shown_tool(tool: Tool) -> Json:
    if isinstance(tool, FunctionTool):
        return {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": is_strict(tool),
        }
    fields: Json = msgspec.to_builtins(tool)
    if isinstance(tool, McpTool) and tool.server_url is not None:
        fields["server_url"] = _without_path(tool.server_url)
    return {name: value for name, value in fields.items() if name not in _SECRETS}


def _without_path(url: str) -> str:
    """As the official API shows it: paths and queries of MCP servers often hold a key."""
    origin = re.match(r"\w+://[^/?#]*", url)
    return url if origin is None or origin[0] == url.rstrip("/") else f"{origin[0]}/<redacted>"


def _objects(schema: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Each schema of an object in `schema`, itself included."""
    left: list[object] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += cast("list[object]", node)
        elif isinstance(node, dict):
            fields = cast("dict[str, Any]", node)
            left += fields.values()
            if fields.get("type") == "object" or "properties" in fields:
                yield fields


def _is_closed(schema: Mapping[str, Any]) -> bool:
    properties: object = schema.get("properties", {})
    required: object = schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return False
    return schema.get("additionalProperties") is False and all(
        name in required for name in cast("list[str]", properties)
    )


def _type_of(tagged: object) -> str:
    return str(msgspec.to_builtins(tagged)["type"])


def _without_nones(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
