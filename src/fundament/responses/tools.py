"""The tools of a response as a chat has them, and as the response object shows them.

It knows both shapes, and what `strict` means where a request leaves it out; it does not run tools. A chat has no
namespaces: a tool in one gets a name made of both.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

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
    NamespaceTool,
    Tool,
    ToolChoice,
)
from fundament.responses.remote_functions import RemoteFunctions

Json = dict[str, Any]
_SECRETS = frozenset({"authorization", "headers"})


class Named(NamedTuple):
    """A tool within a namespace, as calls of the Responses API name it."""

    namespace: str
    name: str


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
            made += _chat_tools(tool, functions, f"tools[{position}]")
    return made


class ToolPath(NamedTuple):
    """Where a tool of a chat comes from in the request; what is in the tool is there, too, if it `is_whole`."""

    path: str
    is_whole: bool = True


def tool_paths(tools: Sequence[Tool], functions: RemoteFunctions = MappingProxyType({})) -> list[ToolPath]:
    """Where each of the `chat_tools` is in the request; `functions` are where the MCP server that has them is."""
    paths: list[ToolPath] = []
    for position, tool in enumerate(tools):
        path = f"tools[{position}]"
        if isinstance(tool, McpTool):
            theirs = [one for one in functions.values() if one.server_label == tool.server_label]
            paths += [ToolPath(path, is_whole=False)] * len(theirs)
        elif isinstance(tool, NamespaceTool):
            paths += [ToolPath(f"{path}.tools[{at}]") for at in range(len(tool.tools))]
        else:
            paths.append(ToolPath(path))
    return paths


def namespaced(tools: Sequence[Tool]) -> dict[str, Named]:
    """The tools in namespaces, by their names in a chat."""
    return {
        name_in_chat(tool.name, inner.name): Named(tool.name, inner.name)
        for tool in tools
        if isinstance(tool, NamespaceTool)
        for inner in tool.tools
    }


def name_in_chat(namespace: str | None, name: str) -> str:
    """What a tool is called in a chat."""
    return name if namespace is None else f"{namespace}__{name}"


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


def without_secrets(tool: Mapping[str, Any]) -> Json:
    """A tool as it may be shown: credentials for MCP servers are neither kept nor told."""
    return {name: value for name, value in tool.items() if name not in _SECRETS}


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
        f"Unsupported tool type: '{type}'. This model takes tools of the types 'function', 'custom', "
        "'namespace' and 'mcp'.",
        param=param,
        code="unsupported_value",
    )


def _chat_tools(tool: Tool, functions: RemoteFunctions | None, path: str) -> list[Json]:
    if isinstance(tool, NamespaceTool):
        named = [(inner, name_in_chat(tool.name, inner.name), _described(tool, inner)) for inner in tool.tools]
    elif isinstance(tool, FunctionTool | CustomTool):
        named = [(tool, tool.name, tool.description)]
    else:
        raise unsupported(_type_of(tool), f"{path}.type")
    for _, name, _ in named:
        if functions is not None and name in functions:
            raise InvalidRequest(
                f"Invalid '{path}.name': the tool of an MCP server is called '{name}' as well.",
                param=f"{path}.name",
                code="invalid_value",
            )
    return [_chat_tool(inner, name, description) for inner, name, description in named]


def _described(namespace: NamespaceTool, tool: FunctionTool | CustomTool) -> str:
    return "\n\n".join(filter(None, (namespace.description, tool.description)))


def _chat_tool(tool: FunctionTool | CustomTool, name: str, description: str | None) -> Json:
    if isinstance(tool, FunctionTool):
        described = _without_nones(name=name, description=description, parameters=tool.parameters)
        return {"type": "function", "function": {**described, "strict": is_strict(tool)}}
    described = _without_nones(name=name, description=description, format=_chat_format(tool.format))
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
    if isinstance(tool, NamespaceTool):
        inside = [_shown_tool(inner) for inner in tool.tools]
        return {"type": "namespace", "name": tool.name, "description": tool.description, "tools": inside}
    fields: Json = msgspec.to_builtins(tool)
    if isinstance(tool, McpTool) and tool.server_url is not None:
        fields["server_url"] = _without_path(tool.server_url)
    return without_secrets(fields)


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
