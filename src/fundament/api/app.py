"""The lists of routes, and the one ASGI application made of them. It knows every endpoint by path, and nothing else."""

from collections.abc import Mapping

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.api.chat import ChatCompletions
from fundament.api.completions import Completions
from fundament.api.docs import docs
from fundament.api.edge import Edge
from fundament.api.health import Live, Ready
from fundament.api.models import ListModels, RetrieveModel
from fundament.api.openapi import openapi
from fundament.api.requests import Only
from fundament.backends.upstream import Upstream
from fundament.errors import NotFound
from fundament.gateway.admission import Admission
from fundament.gateway.meter import Meter

BASES = ("/v2", "/v1")  # the same API on both


def build_app(admission: Admission, upstreams: Mapping[str, Upstream], meter: Meter, *, max_body_bytes: int) -> ASGIApp:
    """The service as an ASGI application."""
    endpoints: dict[str, ASGIApp] = {
        "/chat/completions": Only("POST", ChatCompletions(admission, upstreams, meter, max_body_bytes=max_body_bytes)),
        "/completions": Only("POST", Completions(admission, upstreams, meter, max_body_bytes=max_body_bytes)),
        "/models": Only("GET", ListModels(admission)),
        "/models/{id:path}": Only("GET", RetrieveModel(admission)),
    }
    served = {base + path: endpoint for path, endpoint in endpoints.items() for base in BASES}
    served |= {"/health/live": Only("GET", Live()), "/health/ready": Only("GET", Ready(upstreams))}
    reference = {"/openapi.json": openapi(admission.catalogue.models), **docs()}
    served |= {path: Only("GET", endpoint) for path, endpoint in reference.items()}
    return Edge(Routes(served))


class Routes:
    """Finds the endpoint of a path: by a dict where the path is fixed, which is the hot way, else by Starlette."""

    def __init__(self, endpoints: Mapping[str, ASGIApp]) -> None:
        self._fixed = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
        routes = [Route(path, endpoint) for path, endpoint in endpoints.items() if "{" in path]
        self._router = Router(routes, redirect_slashes=False, default=_unknown_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._fixed.get(scope["path"], self._router)(scope, receive, send)


async def _unknown_url(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    raise NotFound(f"Invalid URL ({scope['method']} {scope['path']})", code="unknown_url")
