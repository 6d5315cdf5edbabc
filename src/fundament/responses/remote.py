"""The MCP servers of one request: their tools, listed and called, within limits of time and size.

It knows what a request says about servers and how a failure is told; the package that speaks MCP is loaded by the
first server that is asked (`mcp_client.py`).
"""

import asyncio
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import msgspec

from fundament.errors import InvalidRequest, RemoteServerFailure
from fundament.protocol.responses_tools import McpTool, Tool
from fundament.responses.destinations import check_url
from fundament.responses.remote_functions import Json, RemoteResult, ServerFault, content_text

if TYPE_CHECKING:
    from fundament.responses.mcp_client import Connection

LISTED_TOOLS = 128
LIST_BYTES = 256 * 1024
RESULT_BYTES = 1024 * 1024
_PAGES = 32
_INVALID_PARAMS = -32602  # JSON-RPC 2.0

# What the connection itself is made of, or MCP: a client does not set these.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_OWN_HEADERS = frozenset(
    {
        *("host", "connection", "content-length", "content-type", "content-encoding", "transfer-encoding", "te"),
        *("accept", "accept-encoding", "expect", "keep-alive", "proxy-authorization", "trailer", "upgrade"),
        *("mcp-session-id", "mcp-protocol-version", "last-event-id"),
    }
)


class Servers(Protocol):
    """Answers for MCP servers, by their labels."""

    async def list_tools(self, server_label: str) -> list[Json]:
        """The server's tools as OpenAI's `MCPListToolsTool`s.

        Raises:
            RemoteServerFailure: it gave none.
            InvalidRequest: it is none that may be connected to.
        """
        ...

    async def call(self, server_label: str, name: str, arguments: str) -> RemoteResult:
        """What the tool answers to `arguments`, which is JSON; a failure of the server is a result as well.

        Raises:
            InvalidRequest: it is none that may be connected to.
        """
        ...


class RemoteServers:
    """The servers that a request names. Connects to each when it is asked first; `close` ends all sessions.

    Args:
        tools: the request's tools; others than MCP's are passed over.
        allow_private: whether addresses that are not public may be connected to.

    Raises:
        InvalidRequest: a server that cannot be asked, its field named.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        *,
        allow_private: bool,
        list_timeout_s: float = 10.0,
        call_timeout_s: float = 60.0,
    ) -> None:
        self._allow_private = allow_private
        self._list_timeout_s = list_timeout_s
        self._call_timeout_s = call_timeout_s
        self._tools: dict[str, tuple[McpTool, str]] = {}
        self._connections: dict[str, Connection] = {}
        for position, tool in enumerate(tools):
            if isinstance(tool, McpTool):
                path = f"tools[{position}]"
                _check(tool, path)
                if tool.server_label in self._tools:
                    raise _invalid(f"{path}.server_label", "another MCP server has the same label.")
                self._tools[tool.server_label] = (tool, path)

    async def list_tools(self, server_label: str) -> list[Json]:
        """As `Servers` says."""
        try:
            async with asyncio.timeout(self._list_timeout_s):
                return await self._all_tools(await self._connection(server_label))
        except ServerFault as fault:
            reason = str(fault)
        except TimeoutError:
            reason = f"it did not answer in {self._list_timeout_s:g} seconds"
        await self._drop(server_label)
        raise RemoteServerFailure(f"Error retrieving tool list from MCP server: '{server_label}': {reason}.")

    async def call(self, server_label: str, name: str, arguments: str) -> RemoteResult:
        """As `Servers` says."""
        try:
            parsed = msgspec.json.decode(arguments or "{}", type=Json)
        except msgspec.DecodeError:
            return RemoteResult(error=ServerFault.protocol(_INVALID_PARAMS, "the arguments are no JSON object").error)
        try:
            async with asyncio.timeout(self._list_timeout_s):
                connection = await self._connection(server_label)
            async with asyncio.timeout(self._call_timeout_s):
                return _result(await connection.call(name, parsed, limit_bytes=RESULT_BYTES))
        except ServerFault as fault:
            error = fault.error
        except TimeoutError:
            error = ServerFault.http(HTTPStatus.GATEWAY_TIMEOUT, "it did not answer in time").error
        if error["type"] == "http_error":
            await self._drop(server_label)
        return RemoteResult(error=error)

    async def close(self) -> None:
        """Ends all sessions."""
        await asyncio.gather(*map(self._drop, list(self._connections)))

    async def _connection(self, server_label: str) -> "Connection":
        known = self._connections.get(server_label)
        if known is not None and known.is_open:
            return known
        await self._drop(server_label)
        connection = self._connections[server_label] = await asyncio.to_thread(self._new_connection, server_label)
        await connection.open(limit_bytes=LIST_BYTES)
        return connection

    def _new_connection(self, server_label: str) -> "Connection":
        """In a thread: loading the package and the certificates takes the time of many requests."""
        from fundament.responses.mcp_client import Connection  # noqa: PLC0415 - 40 MB that others do not pay

        tool, path = self._tools[server_label]
        return Connection(
            str(tool.server_url), _headers(tool), allow_private=self._allow_private, param=f"{path}.server_url"
        )

    async def _drop(self, server_label: str) -> None:
        connection = self._connections.pop(server_label, None)
        if connection is not None:
            await connection.close()

    async def _all_tools(self, connection: "Connection") -> list[Json]:
        tools: list[Json] = []
        left_bytes, cursor = LIST_BYTES, None
        for _ in range(_PAGES):
            page, cursor = await connection.list_tools(cursor, limit_bytes=left_bytes)
            tools += page
            left_bytes -= len(msgspec.json.encode(page))
            if len(tools) > LISTED_TOOLS or left_bytes < 0:
                break
            if cursor is None:
                return tools
        raise ServerFault.protocol(
            _INVALID_PARAMS, f"it has more than {LISTED_TOOLS} tools, or more than {LIST_BYTES} bytes of them"
        )


def _result(result: Json) -> RemoteResult:
    content = result["content"]
    if result.get("isError"):
        return RemoteResult(error={"type": "mcp_tool_execution_error", "content": content})
    if not content and "structuredContent" in result:
        return RemoteResult(output=msgspec.json.encode(result["structuredContent"]).decode())
    return RemoteResult(output=content_text(content))


def _headers(tool: McpTool) -> dict[str, str]:
    headers = dict(tool.headers or {})
    if tool.authorization is not None:
        headers["authorization"] = f"Bearer {tool.authorization}"
    return headers


def _check(tool: McpTool, path: str) -> None:
    if tool.connector_id is not None:
        raise InvalidRequest(
            f"Unsupported parameter: '{path}.connector_id'. This service has no connectors; name a 'server_url'.",
            param=f"{path}.connector_id",
            code="unsupported_parameter",
        )
    if tool.server_url is None:
        raise InvalidRequest(
            f"Missing required parameter: '{path}.server_url'.",
            param=f"{path}.server_url",
            code="missing_required_parameter",
        )
    check_url(tool.server_url, f"{path}.server_url")
    for name, value in (tool.headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or name.lower() in _OWN_HEADERS:
            raise _invalid(f"{path}.headers", "one of them cannot be sent.")
    if tool.authorization is not None:
        if not _HEADER_VALUE.fullmatch(tool.authorization):
            raise _invalid(f"{path}.authorization", "it cannot be sent.")
        if any(name.lower() == "authorization" for name in tool.headers or ()):
            raise _invalid(f"{path}.authorization", "'headers' has one as well.")


def _invalid(param: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {reason}", param=param, code="invalid_value")
