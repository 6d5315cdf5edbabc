"""`GET /health/live` and `GET /health/ready`, for load balancers and people; no key needed.

It knows how to ask an engine whether it answers; it does not know how engines are started.
"""

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from fundament.api.edge import send_json
from fundament.backends.pool import AnyUpstream
from fundament.backends.upstream import Upstream
from fundament.errors import RequestError

PROBE_TIMEOUT_S = 2.0


class Live:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await send_json(send, b'{"status":"live"}')


class Ready:
    """200 when every local model's engine answers, 503 with the state of each otherwise.

    Upstreams do not count: while one is away, all other models are served.
    """

    def __init__(self, upstreams: Mapping[str, AnyUpstream]) -> None:
        self._local = {
            id: upstream
            for id, upstream in upstreams.items()
            if isinstance(upstream, Upstream) and upstream.profile.own
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        states = await asyncio.gather(*(_answers(upstream) for upstream in self._local.values()))
        models = {id: "ready" if state else "starting" for id, state in zip(self._local, states, strict=True)}
        body = {"status": "ready" if all(states) else "starting", "models": models}
        await send_json(send, msgspec.json.encode(body), status=200 if all(states) else 503)


async def _answers(upstream: Upstream) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            response = await upstream.client.get("/health")
            try:
                await response.read()
            finally:
                response.close()
            return response.status == 200
    except (RequestError, TimeoutError):
        return False
