"""The lists of routes, and the one ASGI application made of them. It knows every endpoint by path, and nothing else."""

from collections.abc import Sequence

from starlette.types import ASGIApp

from fundament.api.chat import ChatCompletions
from fundament.api.completions import Completions
from fundament.api.context import CompactConversation, CountInputTokens
from fundament.api.conversations import (
    CreateConversation,
    CreateItems,
    DeleteConversation,
    DeleteItem,
    ListItems,
    RetrieveConversation,
    RetrieveItem,
    UpdateConversation,
)
from fundament.api.cors import cross_origin
from fundament.api.desk import Desk
from fundament.api.docs import docs
from fundament.api.edge import Edge
from fundament.api.health import Live, Ready
from fundament.api.metrics import Metrics
from fundament.api.models import ListModels, RetrieveModel
from fundament.api.openapi import openapi
from fundament.api.requests import Methods
from fundament.api.responses import (
    CancelResponse,
    CreateResponse,
    DeleteResponse,
    ListInputItems,
    RetrieveResponse,
)
from fundament.api.responses_socket import ResponsesSocket
from fundament.api.routes import Routes
from fundament.api.usage import ReportUsage
from fundament.telemetry.worker import WorkerTelemetry

BASES = ("/v2", "/v1")  # the same API on both


def build_app(desk: Desk, telemetry: WorkerTelemetry, *, cors_origins: Sequence[str] = ()) -> ASGIApp:
    """The service as an ASGI application; `telemetry` is told of every HTTP request.

    Pages of `cors_origins` may talk to it ("*": any page).
    """
    admission, upstreams = desk.admission, desk.upstreams
    generation = (admission, upstreams, desk.limiter, desk.meter)
    endpoints: dict[str, ASGIApp] = {
        "/chat/completions": Methods(POST=ChatCompletions(*generation, max_body_bytes=desk.max_body_bytes)),
        "/completions": Methods(POST=Completions(*generation, max_body_bytes=desk.max_body_bytes)),
        "/responses": Methods(POST=CreateResponse(desk)),
        "/responses/input_tokens": Methods(POST=CountInputTokens(desk)),
        "/responses/compact": Methods(POST=CompactConversation(desk)),
        "/responses/{id}": Methods(GET=RetrieveResponse(desk), DELETE=DeleteResponse(desk)),
        "/responses/{id}/cancel": Methods(POST=CancelResponse(desk)),
        "/responses/{id}/input_items": Methods(GET=ListInputItems(desk)),
        "/conversations": Methods(POST=CreateConversation(desk)),
        "/conversations/{id}": Methods(
            GET=RetrieveConversation(desk), POST=UpdateConversation(desk), DELETE=DeleteConversation(desk)
        ),
        "/conversations/{id}/items": Methods(GET=ListItems(desk), POST=CreateItems(desk)),
        "/conversations/{id}/items/{item_id}": Methods(GET=RetrieveItem(desk), DELETE=DeleteItem(desk)),
        "/usage": Methods(GET=ReportUsage(admission, desk.ledger, desk.currency)),
        "/models": Methods(GET=ListModels(admission)),
        "/models/{id:path}": Methods(GET=RetrieveModel(admission)),
    }
    served = {base + path: endpoint for path, endpoint in endpoints.items() for base in BASES}
    served |= {"/health/live": Methods(GET=Live()), "/health/ready": Methods(GET=Ready(upstreams))}
    if telemetry.render is not None:
        served["/metrics"] = Methods(GET=Metrics(telemetry.render))
    reference = {"/openapi.json": openapi(admission.catalogue.models), **docs()}
    served |= {path: Methods(GET=endpoint) for path, endpoint in reference.items()}
    socket = ResponsesSocket(desk)
    sockets = {f"{base}/responses": socket for base in BASES}
    log = None if telemetry.access_log is None else telemetry.access_log.answered
    app = Edge(Routes(served), sockets, count=telemetry.metrics.answered, log=log)
    return cross_origin(app, cors_origins) if cors_origins else app
