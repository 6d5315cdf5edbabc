"""Answers that are the same for everybody as long as the process lives: bytes, a media type, an ETag.

It knows HTTP's caching, not what is in the bytes.
"""

import hashlib

from starlette.types import Receive, Scope, Send

from fundament.api.edge import Headers
from fundament.api.requests import header


class Fixed:
    """An endpoint that always answers the same, and 304 to who has it already."""

    def __init__(self, body: bytes, media_type: bytes, headers: Headers = ()) -> None:
        self.body = body
        self._tag = b'"%b"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()
        kept = (b"etag", self._tag), (b"cache-control", b"no-cache"), *headers
        length = (b"content-length", b"%d" % len(body))
        self._headers = [(b"content-type", media_type), length, *kept]
        self._unchanged_headers = list(kept)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        known = header(scope, b"if-none-match") or b""
        unchanged = self._tag in known or known == b"*"
        status, headers = (304, self._unchanged_headers) if unchanged else (200, self._headers)
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"" if unchanged else self.body})
