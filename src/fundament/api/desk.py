"""What endpoints share, those of the Responses API above all: the parts behind them, how a request is read.

It knows no endpoint.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope

from fundament.api.requests import decode_object, header, read_body
from fundament.backends.pool import AnyUpstream
from fundament.errors import NotFound
from fundament.gateway.admission import Admission
from fundament.gateway.keys import KeyRecord
from fundament.gateway.limits import Limiter
from fundament.gateway.meter import Meter
from fundament.gateway.state import StateStore, StoredResponse
from fundament.gateway.usage import Ledger
from fundament.responses.background import Background


@dataclass(frozen=True)
class Desk:
    """The parts behind the endpoints. `currency` is the bill's."""

    admission: Admission
    upstreams: Mapping[str, AnyUpstream]
    limiter: Limiter
    meter: Meter
    store: StateStore
    background: Background
    ledger: Ledger
    currency: str
    max_body_bytes: int
    allow_private_addresses: bool = False

    def key(self, scope: Scope) -> Awaitable[KeyRecord]:
        return self.admission.authenticate(header(scope, b"authorization"))

    async def body(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        return decode_object(await read_body(scope, receive, self.max_body_bytes) or b"{}")

    async def find(self, owner: str, id: str) -> StoredResponse:
        """Raises NotFound: `owner` has no such response."""
        stored = await self.store.find(owner, id)
        if stored is None:
            raise response_not_found(id)
        return stored


def response_not_found(id: str) -> NotFound:
    return NotFound(f"Response with id '{id}' not found.", param="response_id", code="response_not_found")
