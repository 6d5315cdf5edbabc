"""One MCP server, spoken to by the official package: connecting, listing, calling, each bounded.

It knows the package and its HTTP client, which take 40 MB and 0.4 s to load: import it only when a request has an MCP
tool. It knows nothing of the Responses API.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Generator, Mapping
from http import HTTPStatus
from typing import Any, cast

import httpx2
import mcp
import mcp_types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import ValidationError

from fundament.errors import InvalidRequest
from fundament.responses.destinations import addresses_of
from fundament.responses.remote_functions import Json, ServerFault

# Its lines can hold what a tool answered, and session ids.
for _name in ("mcp", "client", "httpx2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

_CLOSING_S = 2.0
_CONNECT_S = 10.0
_SILENT_S = 300.0
_OLD_SERVERS = frozenset(
    {400, 404, 405}
)  # what those that know SSE only answer to a POST (MCP, "Backwards Compatibility")
# What the package says where a server answered with a status and no JSON-RPC error.
_STAND_INS = frozenset({"Server returned an error response", "Not Found", "Session terminated"})
_NO_MCP = "it answered with something that is not MCP"
_HTTP_FAULTS = (
    (httpx2.TimeoutException, HTTPStatus.GATEWAY_TIMEOUT, "it did not answer in time"),
    (httpx2.ConnectError, HTTPStatus.BAD_GATEWAY, "it cannot be connected to"),
    (httpx2.RemoteProtocolError, HTTPStatus.BAD_GATEWAY, ""),
    (httpx2.HTTPError, HTTPStatus.BAD_GATEWAY, "the connection to it broke"),
)
_FAILURES = (mcp.MCPError, httpx2.HTTPError, httpx2.InvalidURL, ValidationError, OSError, RuntimeError, ValueError)


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Sends each request to an address that was checked for this very request, and bounds what comes back.

    The name stays in `Host` and in TLS, so that certificates are checked as ever.

    Args:
        param: the request field that a refusal names.
    """

    def __init__(self, *, allow_private: bool, param: str) -> None:
        self._allow_private = allow_private
        self._param = param
        self._inner = httpx2.AsyncHTTPTransport()
        self.last_status = 0
        self.failure: httpx2.HTTPError | InvalidRequest | None = None
        self._left_bytes = 0

    def expect(self, limit_bytes: int) -> None:
        """From now on, at most this much may come; forgets what went wrong before."""
        self._left_bytes = limit_bytes
        self.last_status = 0
        self.failure = None

    def take(self, size_bytes: int) -> None:
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise httpx2.RemoteProtocolError("it sent more than this service takes")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return self._bounded(await self._send(request))
        except (httpx2.HTTPError, InvalidRequest) as error:
            self.failure = error  # the package does not always say
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or {"http": 80, "https": 443}[request.url.scheme]
        addresses = await self._addresses(host, port)
        for position, address in enumerate(addresses):
            try:
                return await self._inner.handle_async_request(_readdressed(request, host, address))
            except httpx2.ConnectError:
                if position == len(addresses) - 1:
                    raise
        raise httpx2.ConnectError("no host has this name")

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return await addresses_of(host, port, allow_private=self._allow_private, param=self._param)
        except OSError as error:
            raise httpx2.ConnectError("no host has this name") from error

    def _bounded(self, response: httpx2.Response) -> httpx2.Response:
        self.last_status = response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            # A few bytes can become gigabytes; `Accept-Encoding` said so.
            raise httpx2.RemoteProtocolError("it compressed its answer, which it was asked not to")
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_BoundedStream(cast("httpx2.AsyncByteStream", response.stream), self),
            extensions=response.extensions,
        )


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, transport: PinnedTransport) -> None:
        self._stream = stream
        self._transport = transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                self._transport.take(len(piece))
                yield piece
        except httpx2.HTTPError as error:
            self._transport.failure = error
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()


class Connection:
    """A session with one server, from `open` to `close`.

    The package's session must be left by the task that entered it, so that a task of its own holds it.

    Args:
        headers: sent with each request; they have been checked.
    """

    _session: mcp.ClientSession  # from `open` on

    def __init__(self, url: str, headers: Mapping[str, str], *, allow_private: bool, param: str) -> None:
        self._url = url
        self._headers = {**headers, "accept-encoding": "identity"}
        self._param = param
        self._transport = PinnedTransport(allow_private=allow_private, param=param)
        self._leave = asyncio.Event()
        self._holder: asyncio.Task[None] | None = None

    async def open(self, *, limit_bytes: int) -> None:
        """Connects and agrees on a version of MCP; raises as `call`."""
        self._transport.expect(limit_bytes)
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[mcp.Client] = loop.create_future()
        self._holder = asyncio.create_task(self._hold(opened))
        with self._faults():
            await asyncio.wait({opened, self._holder}, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                self._holder.result()
            self._session = opened.result().session

    @property
    def is_open(self) -> bool:
        return self._holder is not None and not self._holder.done() and not self._leave.is_set()

    async def list_tools(self, cursor: str | None, *, limit_bytes: int) -> tuple[list[Json], str | None]:
        """A page of the server's tools as `MCPListToolsTool`s, and the next page's cursor; raises as `call`."""
        self._transport.expect(limit_bytes)
        with self._faults():
            page = await self._session.list_tools(params=mcp_types.PaginatedRequestParams(cursor=cursor))
        return [_shown_tool(tool) for tool in page.tools], page.next_cursor

    async def call(self, name: str, arguments: Json, *, limit_bytes: int) -> Json:
        """What the tool answers, as MCP's `CallToolResult`. Its structured content is not held to the tool's schema:
        a schema can be written so that checking it takes for ever.

        Raises:
            ServerFault: it cannot be asked, sent too much, or answered something else.
            InvalidRequest: it is none that may be connected to.
        """
        self._transport.expect(limit_bytes)
        params = mcp_types.CallToolRequestParams(name=name, arguments=arguments)
        with self._faults():
            result = await self._session.send_request(
                mcp_types.CallToolRequest(params=params), mcp_types.CallToolResult
            )
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def close(self) -> None:
        self._leave.set()
        if self._holder is None:
            return
        await asyncio.wait({self._holder}, timeout=_CLOSING_S)
        self._holder.cancel()
        await asyncio.wait({self._holder})
        if not self._holder.cancelled():
            self._holder.exception()  # whoever waited for an answer was told

    async def _hold(self, opened: "asyncio.Future[mcp.Client]") -> None:
        try:
            await self._hold_session(streamable_http_client, opened)
        except (*_FAILURES, ExceptionGroup):
            if opened.done() or self._transport.last_status not in _OLD_SERVERS:
                raise
            await self._hold_session(sse_client, opened)

    async def _hold_session(self, kind: Any, opened: "asyncio.Future[mcp.Client]") -> None:
        async with contextlib.AsyncExitStack() as stack:
            if kind is sse_client:
                transport = sse_client(self._url, httpx_client_factory=self._http_client)
            else:
                http = await stack.enter_async_context(self._http_client())
                transport = streamable_http_client(self._url, http_client=http)
            client = await stack.enter_async_context(mcp.Client(transport, cache=None))
            opened.set_result(client)
            await self._leave.wait()

    def _http_client(self, *_: Any, **__: Any) -> httpx2.AsyncClient:
        """`sse_client` has headers and timeouts of its own for it; these are ours.

        What is asked is bounded by who asks; a stream may be silent while the model thinks.
        """
        return httpx2.AsyncClient(
            headers=self._headers,
            transport=self._transport,
            timeout=httpx2.Timeout(_CONNECT_S, read=_SILENT_S),
            trust_env=False,  # a proxy would connect to whatever it finds
        )

    @contextlib.contextmanager
    def _faults(self) -> Generator[None]:
        try:
            yield
        except (*_FAILURES, ExceptionGroup) as error:
            raise self._fault(_first(error)) from None

    def _fault(self, error: Exception) -> Exception:
        if isinstance(error, mcp.MCPError):
            if error.code != mcp_types.CONNECTION_CLOSED or self._transport.failure is None:
                return self._protocol_fault(error)
            error = self._transport.failure
        if isinstance(error, httpx2.InvalidURL):
            error = InvalidRequest(f"Invalid '{self._param}': {error}", param=self._param, code="invalid_value")
        if isinstance(error, InvalidRequest):
            return error
        if isinstance(error, httpx2.HTTPStatusError):
            return _status_fault(error.response.status_code)
        for kind, status, words in _HTTP_FAULTS:
            if isinstance(error, kind):
                return ServerFault.http(status, words or str(error))
        return ServerFault.protocol(mcp_types.INTERNAL_ERROR, _NO_MCP)

    def _protocol_fault(self, error: mcp.MCPError) -> ServerFault:
        if error.message in _STAND_INS and self._transport.last_status >= HTTPStatus.BAD_REQUEST:
            return _status_fault(self._transport.last_status)
        # What cannot be parsed is in the package's words for it.
        return ServerFault.protocol(error.code, _NO_MCP if error.code == mcp_types.PARSE_ERROR else error.message)


def _readdressed(request: httpx2.Request, host: str, address: str) -> httpx2.Request:
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def _first(error: Exception) -> Exception:
    """The first failure in a group of them."""
    if isinstance(error, ExceptionGroup):
        return _first(cast("ExceptionGroup[Exception]", error).exceptions[0])
    return error


def _status_fault(status: int) -> ServerFault:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "an unknown status"
    return ServerFault.http(status, f"it answered {status} ({phrase})")


def _shown_tool(tool: mcp_types.Tool) -> Json:
    annotations = None if tool.annotations is None else tool.annotations.model_dump(by_alias=True, exclude_none=True)
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "annotations": annotations,
    }
