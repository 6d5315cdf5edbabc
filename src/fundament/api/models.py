"""`GET /models` and `GET /models/{id}`. It knows how a model is shown, not where it runs."""

from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from fundament.api.edge import send_json
from fundament.api.requests import header
from fundament.gateway.admission import Admission
from fundament.gateway.catalogue import CatalogueModel


class ListModels:
    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._admission.authenticate(header(scope, b"authorization"))
        data = [_shown(model, model.id) for model in self._admission.models(key)]
        await send_json(send, msgspec.json.encode({"object": "list", "data": data}))


class RetrieveModel:
    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self._admission.authenticate(header(scope, b"authorization"))
        name = scope["path_params"]["id"]
        await send_json(send, msgspec.json.encode(_shown(self._admission.admit(key, name), name)))


def _shown(model: CatalogueModel, asked: str) -> dict[str, Any]:
    """OpenAI's `Model`, with `meta_data` beside; the name is the one that was asked for, as in answers."""
    return {
        "id": asked,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "meta_data": model.meta_data,
    }
