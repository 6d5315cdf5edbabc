"""Tools of MCP servers as functions of a chat: their names there, which are allowed, which need an approval.

It knows what a request says about them and how results are told to a model; it does not know servers (`remote.py`).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Struct

from fundament.errors import InvalidRequest
from fundament.protocol.responses_items import McpCall
from fundament.protocol.responses_tools import McpApproval, McpTool, McpToolFilter

Json = dict[str, Any]

_NAME_LENGTH = 64  # `FunctionObject.name` of OpenAI's document
_HASH_LENGTH = 8


class ListedTool(Struct, omit_defaults=True):
    """A tool as an `mcp_list_tools` item has it (`MCPListToolsTool`)."""

    name: str
    input_schema: Json
    description: str | None = None
    annotations: Json | None = None


class RemoteFunction(Struct, frozen=True):
    """A tool of the MCP server `server_label` that the model may call."""

    server_label: str
    tool: ListedTool
    needs_approval: bool

    @property
    def chat_tool(self) -> Json:
        function: Json = {"name": chat_name(self.server_label, self.tool.name)}
        if self.tool.description is not None:
            function["description"] = self.tool.description
        return {"type": "function", "function": {**function, "parameters": self.tool.input_schema, "strict": False}}


RemoteFunctions = Mapping[str, RemoteFunction]
"""By their names in the chat."""


class RemoteResult(Struct, frozen=True):
    """What a call came to: `output`, or `error` as one of OpenAI's `MCPToolCallError`s."""

    output: str | None = None
    error: Json | None = None


class ServerFault(Exception):
    """The server could not be asked, or did not answer as MCP has it.

    Attributes:
        error: as OpenAI's `HTTPError` or `MCPProtocolError`.
    """

    def __init__(self, error: Json) -> None:
        super().__init__(error["message"])
        self.error = error

    @classmethod
    def http(cls, code: int, message: str) -> "ServerFault":
        return cls({"type": "http_error", "code": int(code), "message": message})

    @classmethod
    def protocol(cls, code: int, message: str) -> "ServerFault":
        return cls({"type": "mcp_protocol_error", "code": int(code), "message": message})


def chat_name(server_label: str, name: str) -> str:
    """The function's name in a chat: always the same for a tool, and never that of another.

    It is `mcp__label__name` where that says which part is which and is short enough; else it ends in a hash of both.
    """
    plain = f"mcp__{server_label}__{name}"
    is_clear = plain.count("__") == 2 and "___" not in plain
    if is_clear and re.fullmatch(r"[a-zA-Z0-9_-]+", plain) and len(plain) <= _NAME_LENGTH:
        return plain
    digest = hashlib.sha256(f"{server_label}\0{name}".encode()).hexdigest()[:_HASH_LENGTH]
    beginning = re.sub("[^a-zA-Z0-9_-]", "_", plain)[: _NAME_LENGTH - _HASH_LENGTH - len("___")]
    return f"{beginning}___{digest}"


def functions_of(tool: McpTool, listed: Sequence[ListedTool]) -> dict[str, RemoteFunction]:
    """The functions that the request lets the model see, of those that the server has."""
    return {
        chat_name(tool.server_label, one.name): RemoteFunction(tool.server_label, one, _needs_approval(tool, one))
        for one in listed
        if _is_allowed(tool, one)
    }


def read_listed(tools: Iterable[Json], param: str) -> list[ListedTool]:
    """The tools of an `mcp_list_tools` item that a request has.

    Raises:
        InvalidRequest: they are not what such an item may have.
    """
    try:
        return msgspec.convert(list(tools), list[ListedTool])
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"Invalid '{param}': {error}.", param=param, code="invalid_value") from None


def told_result(call: McpCall) -> str | None:
    """What the model is told of a call; None if there is nothing to tell."""
    error = call.error
    if not isinstance(error, dict):
        return call.output if error is None else error
    if error.get("type") == "mcp_tool_execution_error":
        content: object = error.get("content")
        return content_text(cast("list[Any]", content)) if isinstance(content, list) else str(content)
    return str(error.get("message", "The tool failed."))


def content_text(content: Iterable[Any]) -> str:
    """Blocks of an MCP result as text; what is not text is named by its kind."""
    return "\n".join(_texts(content))


def _texts(content: Iterable[Any]) -> Iterator[str]:
    for entry in content:
        if not isinstance(entry, dict):
            yield str(entry)
            continue
        block = cast("Json", entry)
        resource: Json = block.get("resource") or {}
        text: object = block.get("text", resource.get("text"))
        if isinstance(text, str):
            yield text
        else:
            details = (block.get("mimeType") or resource.get("mimeType"), block.get("uri") or resource.get("uri"))
            yield f"[{' '.join(str(detail) for detail in (block.get('type'), *details) if detail)}]"


def _is_allowed(tool: McpTool, listed: ListedTool) -> bool:
    allowed = tool.allowed_tools
    if isinstance(allowed, McpToolFilter):
        return _matches(allowed, listed)
    return allowed is None or listed.name in allowed


def _needs_approval(tool: McpTool, listed: ListedTool) -> bool:
    """Always, unless the request says never: for all tools, or for this one and not the opposite."""
    approval = tool.require_approval
    if not isinstance(approval, McpApproval):
        return approval != "never"
    if approval.always is not None and _matches(approval.always, listed):
        return True
    # A filter that names nothing frees nothing.
    never = approval.never
    return never is None or never == McpToolFilter() or not _matches(never, listed)


def _matches(wanted: McpToolFilter, listed: ListedTool) -> bool:
    if wanted.tool_names is not None and listed.name not in wanted.tool_names:
        return False
    is_read_only = bool((listed.annotations or {}).get("readOnlyHint"))
    return wanted.read_only is None or wanted.read_only == is_read_only
