"""`GET /docs`: the API reference in the browser, drawn by Scalar's renderer from `/openapi.json`.

It knows the page's files and headers. Nothing is asked of another host, and the policy sent with the page forbids it.
"""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.api.edge import Headers
from fundament.api.fixed import Fixed
from fundament.api.requests import header

STATIC = Path(__file__).with_name("static")
RENDERER = "scalar-api-reference-1.72.1.js"  # its version is in its name, so that browsers may keep it for ever
PIECE_BYTES = 64 * 1024
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; "  # the renderer puts its styles into the page
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDS: Headers = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def docs() -> Mapping[str, ASGIApp]:
    """The page and its files, by path."""
    return {
        "/docs": Fixed((STATIC / "docs.html").read_bytes(), b"text/html; charset=utf-8", _GUARDS),
        "/docs/start.js": Fixed((STATIC / "start.js").read_bytes(), b"text/javascript; charset=utf-8"),
        f"/docs/{RENDERER}": Compressed(STATIC / f"{RENDERER}.gz", b"text/javascript; charset=utf-8"),
    }


class Compressed:
    """A file that is kept compressed and sent so, or unpacked for who cannot take it, a piece at a time."""

    def __init__(self, path: Path, media_type: bytes) -> None:
        self._path = path
        self._headers = [
            (b"content-type", media_type),
            (b"cache-control", b"public, max-age=31536000, immutable"),
            (b"vary", b"accept-encoding"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        headers = list(self._headers)
        packed = _takes_gzip(header(scope, b"accept-encoding") or b"")
        with self._path.open("rb") as file:
            if packed:
                length = b"%d" % self._path.stat().st_size
                headers += [(b"content-encoding", b"gzip"), (b"content-length", length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] != "HEAD":
                for piece in _pieces(file) if packed else _unpacked(file):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(PIECE_BYTES), b"")


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in _pieces(file):
        yield unpacker.decompress(piece)
    yield unpacker.flush()


def _takes_gzip(accepted: bytes) -> bool:
    for coding in accepted.lower().split(b","):
        name, _, weight = coding.partition(b";")
        if name.strip() in {b"gzip", b"*"}:
            return weight.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
    return False
