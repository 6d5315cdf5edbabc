"""The tools of a response as a chat has them, and as the response object shows them.

It knows both shapes, and what `strict` means where a request leaves it out; it does not run tools.
"""

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
    Tool,
    ToolChoice,
)

Json = dict[str, Any]
_SECRETS = frozenset({"authorization", "headers"})


def chat_tools(tools: Sequence[Tool]) -> list[Json]:
    """The `tools` of a chat.

    Raises:
        InvalidRequest: a tool that nobody behind a chat can run, by its type.
    """
    return [_chat_tool(tool, f"tools[{position}].type") for position, tool in enumerate(tools)]


def chat_tool_choice(choice: ToolChoice) -> str | Json:
    """The `tool_choice` of a chat; raises as `chat_tools`."""
    if isinstance(choice, str):
        return choice
    if isinstance(choice, AllowedToolsChoice):
        named = [_named(tool, f"tool_choice.tools[{position}].type") for position, tool in enumerate(choice.tools)]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}
    return _named(choice, "tool_choice.type")


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
        f"Unsupported tool type: '{type}'. This model takes tools of the types 'function' and 'custom'.",
        param=param,
        code="unsupported_value",
    )


def _chat_tool(tool: Tool, param: str) -> Json:
    if isinstance(tool, FunctionTool):
        described = _without_nones(name=tool.name, description=tool.description, parameters=tool.parameters)
        return {"type": "function", "function": {**described, "strict": is_strict(tool)}}
    if isinstance(tool, CustomTool):
        described = _without_nones(name=tool.name, description=tool.description, format=_chat_format(tool.format))
        return {"type": "custom", "custom": described}
    raise unsupported(_type_of(tool), param)


def _chat_format(format: Mapping[str, Any] | None) -> Json | None:
    """A chat has the fields of a grammar one level deeper."""
    if format is None or format.get("type") != "grammar":
        return None if format is None else dict(format)
    return {"type": "grammar", "grammar": {name: value for name, value in format.items() if name != "type"}}


def _named(choice: object, param: str) -> Json:
    if isinstance(choice, FunctionChoice):
        return {"type": "function", "function": {"name": choice.name}}
    if isinstance(choice, CustomChoice):
        return {"type": "custom", "custom": {"name": choice.name}}
    raise unsupported(_type_of(choice), param)


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
    return {name: value for name, value in fields.items() if name not in _SECRETS}


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
