"""Finds the endpoint of a path. It knows no endpoint."""

from collections.abc import Awaitable, Mapping

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.errors import NotFound


class Routes:
    """Finds the endpoint of a path: by a dict where the path is fixed, which is the hot way, else by Starlette."""

    def __init__(self, endpoints: Mapping[str, ASGIApp]) -> None:
        self._fixed = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
        routes = [Route(path, endpoint) for path, endpoint in endpoints.items() if "{" in path]
        self._router = Router(routes, redirect_slashes=False, default=_unknown_url)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._fixed.get(scope["path"], self._router)(scope, receive, send)


async def _unknown_url(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    raise NotFound(f"Invalid URL ({scope['method']} {scope['path']})", code="unknown_url")
