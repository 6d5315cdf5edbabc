"""The admin API: contracts, keys, plans, usage, models and the audit log, for who has the admin key.

It knows paths and what is written in bodies and queries. What a change is, the commands and it have from `storage`.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp, Receive, Scope, Send

from fundament.api.admin_accounts import Contracts, Keys, Plans
from fundament.api.admin_reports import Audit, Models, Probe, Usage
from fundament.api.admin_requests import address_of, endpoint
from fundament.api.edge import Edge
from fundament.api.requests import Methods, header
from fundament.api.routes import Routes
from fundament.errors import InvalidKey
from fundament.settings import Config


@dataclass(frozen=True)
class AdminDesk:
    """What the admin API works with; `probes` tell how the models are."""

    config: Config
    database: AsyncEngine
    key: str
    probes: Sequence[Probe]


def build_admin(desk: AdminDesk) -> ASGIApp:
    """The admin API as an ASGI application."""
    return Edge(Guard(Routes(_endpoints(desk)), desk.key))


def _endpoints(desk: AdminDesk) -> dict[str, ASGIApp]:
    contracts, keys = Contracts(desk.config, desk.database), Keys(desk.config, desk.database)
    usage = Usage(desk.database, desk.config.billing.currency)
    return {
        "/admin/contracts": Methods(GET=endpoint(contracts.list), POST=endpoint(contracts.create)),
        "/admin/contracts/{contract}": Methods(
            GET=endpoint(contracts.show), PATCH=endpoint(contracts.change), DELETE=endpoint(contracts.close)
        ),
        "/admin/contracts/{contract}/erase": Methods(POST=endpoint(contracts.erase)),
        "/admin/contracts/{contract}/keys": Methods(GET=endpoint(keys.list), POST=endpoint(keys.create)),
        "/admin/keys": Methods(GET=endpoint(keys.list), POST=endpoint(keys.create)),
        "/admin/keys/{key}": Methods(DELETE=endpoint(keys.revoke)),
        "/admin/keys/{key}/rotate": Methods(POST=endpoint(keys.rotate)),
        "/admin/plans": Methods(GET=endpoint(Plans(desk.config).list)),
        "/admin/usage": Methods(GET=endpoint(usage.report)),
        "/admin/models": Methods(GET=endpoint(Models(desk.probes).list)),
        "/admin/audit": Methods(GET=endpoint(Audit(desk.database).list)),
    }


class Guard:
    """Lets through who has the admin key; a stranger is not even told which paths there are."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._digest = _digest(b"Bearer " + key.encode())
        self._log: Any = structlog.get_logger("fundament.admin")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Digests are of one length, so that not even the key's length is told.
        if not hmac.compare_digest(_digest(header(scope, b"authorization") or b""), self._digest):
            self._log.warning("admin_key_refused", address=address_of(scope), path=scope["path"])
            raise InvalidKey("The admin API needs its own key: Authorization: Bearer KEY.", code="invalid_api_key")
        await self._app(scope, receive, send)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
