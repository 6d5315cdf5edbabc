"""The admin API's reports: usage, the audit log, and how the models are. It changes nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from fundament.api.admin_requests import answer
from fundament.backends.client import Client
from fundament.errors import InvalidRequest, RequestError
from fundament.gateway.usage import usage_query
from fundament.gateway.usage_csv import csv_of
from fundament.protocol.administration import AdminList, AdminModel
from fundament.protocol.answers import UsageReport
from fundament.storage.audit import AuditRepository
from fundament.storage.usage import UsageRepository

PROBE_TIMEOUT_S = 2.0
ENTRIES = 100
MOST_ENTRIES = 1000


class Usage:
    """What contracts have used, as `fundament usage report` tells it. `currency` is the bill's."""

    def __init__(self, database: AsyncEngine, currency: str) -> None:
        self._ledger = UsageRepository(database)
        self._currency = currency

    async def report(self, request: Request) -> Response:
        written: dict[str, str | None] = {**request.query_params}
        form = written.pop("format", "json")
        if form not in {"json", "csv"}:
            raise InvalidRequest("Invalid 'format': expected json or csv.", param="format", code="invalid_value")
        query = usage_query(written)
        totals = await self._ledger.report(query)
        report = UsageReport(object="list", currency=self._currency, data=list(totals))
        return answer(report) if form == "json" else Response(csv_of(query, report), media_type="text/csv")


class Audit:
    """The audit log, the newest entry first."""

    def __init__(self, database: AsyncEngine) -> None:
        self._repository = AuditRepository(database)

    async def list(self, request: Request) -> Response:
        for name in request.query_params:
            if name not in {"limit", "before"}:
                raise InvalidRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        limit = _whole(request, "limit", MOST_ENTRIES) or ENTRIES
        entries = await self._repository.list(limit + 1, _whole(request, "before", 2**63 - 1))
        data = [{"object": "audit.entry", **asdict(entry)} for entry in entries[:limit]]
        return answer(AdminList(data=data, has_more=len(entries) > limit))


@dataclass(frozen=True)
class Probe:
    """One server of a model: in an engine of ours, or, with a `base_url`, elsewhere."""

    model: str
    client: Client
    base_url: str | None

    async def ask(self) -> AdminModel:
        """An engine is asked as `GET /health/ready` asks it, an upstream for its list of models with our credential."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                response = await self.client.get("/models" if self.base_url else "/health")
                status = response.status
                response.close()
        except (RequestError, TimeoutError):
            status = None
        if self.base_url is None:
            return AdminModel(id=self.model, base_url=None, state="ready" if status == 200 else "starting")
        if status is None:
            return AdminModel(id=self.model, base_url=self.base_url, state="unreachable")
        if status in {401, 403}:
            return AdminModel(id=self.model, base_url=self.base_url, state="credential_refused")
        return AdminModel(id=self.model, base_url=self.base_url, state="failing" if status >= 500 else "ready")


class Models:
    """How each model of the catalogue is, asked now; one with several upstreams is told once for each."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = probes

    async def list(self, request: Request) -> Response:  # noqa: ARG002 - as every endpoint
        return answer(AdminList(data=[*await asyncio.gather(*(probe.ask() for probe in self._probes))]))


def _whole(request: Request, name: str, most: int) -> int | None:
    written = request.query_params.get(name)
    if written is None:
        return None
    number = int(written) if written.isascii() and written.isdigit() and len(written) < 20 else 0
    if not 1 <= number <= most:
        raise InvalidRequest(
            f"Invalid '{name}': expected an integer from 1 to {most}.", param=name, code="invalid_value"
        )
    return number
