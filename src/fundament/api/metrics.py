"""`GET /metrics`, for Prometheus; no key needed: no series names a contract, a key or a client.

It knows HTTP; what is shown is known by `telemetry/exposition.py`.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from fundament.api.requests import header

Render = Callable[[str], tuple[bytes, str]]
"""Takes the header `Accept`; gives a body and its media type."""


class Metrics:
    def __init__(self, render: Render) -> None:
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        accept = (header(scope, b"accept") or b"").decode("latin-1")
        # In a thread: a large catalogue has thousands of series, and other requests should not wait for all of them.
        body, media_type = await asyncio.to_thread(self._render, accept)
        headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
