"""MCP servers in a thread: the official package's own, with tools that behave and tools that do not, and liars.

It knows MCP's server side and ASGI, and nothing of the code that is tested.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from mcp.server.mcpserver import Image, MCPServer
from mcp.types import ToolAnnotations
from starlette.types import ASGIApp, Receive, Scope, Send


def toolbox(tools: int = 0) -> MCPServer:
    """A server with a tool for each way in which one can behave, and as many more as asked for."""
    server = MCPServer("toolbox")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        return str(a + b)

    @server.tool()
    def fail() -> str:
        raise ValueError("no luck")

    @server.tool()
    async def sleep(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    @server.tool()
    def repeat(text: str, times: int) -> str:
        return text * times

    @server.tool()
    def draw() -> Image:
        return Image(data=b"png", format="png")

    for number in range(tools):
        server.add_tool(lambda: "x", name=f"tool_{number}")
    return server


class Serving:
    """An ASGI application on a port of 127.0.0.1, in a thread; records the headers of each request."""

    def __init__(self, app: ASGIApp, *, path: str = "/mcp", **options: Any) -> None:
        self._app = app
        self._path = path
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.seen: list[dict[str, str]] = []
        config = uvicorn.Config(
            self._record, log_level="critical", interface="asgi3", timeout_graceful_shutdown=1, ws="none", **options
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Cuts every connection."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        try:
            self._server.run([self._socket])
        except Exception:
            # Sessions that are cut off in the middle complain about their end.
            if not self._server.force_exit:
                raise

    async def _record(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self._app(scope, receive, send)


def certificate_for(name: str, folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def answering(status: int, headers: dict[str, str] | None = None, body: bytes | Callable[[], bytes] = b"") -> ASGIApp:
    """An application that always answers the same."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        pairs: list[Any] = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body() if callable(body) else body})

    return app
