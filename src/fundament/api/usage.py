"""`GET /usage`: what the contract of a key has used. It knows how usage is asked for, not how it is counted."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl

import msgspec
from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

from fundament.api.edge import send_json
from fundament.api.requests import header
from fundament.errors import InvalidRequest
from fundament.gateway.admission import Admission
from fundament.gateway.usage import Ledger, UsageQuery, usage_query
from fundament.protocol.answers import UsageReport

DAYS = 30
"""That are reported where the query does not say since when."""

MOST_DAYS = 366


@dataclass(frozen=True)
class ReportUsage:
    """`currency` is the bill's."""

    admission: Admission
    ledger: Ledger
    currency: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        key = await self.admission.authenticate(header(scope, b"authorization"), "usage")
        query = _within_bounds(usage_query(_parameters(scope)), datetime.now(UTC).date())
        totals = await self.ledger.report(replace(query, contract=key.contract.id))
        report = UsageReport(object="list", currency=self.currency, data=list(totals))
        await send_json(send, msgspec.json.encode(report))


def _parameters(scope: Scope) -> dict[str, str]:
    written = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    if "contract" in written:  # a command may ask for any; a key's own is all that it may see
        raise InvalidRequest("Unknown parameter: 'contract'.", param="contract", code="unknown_parameter")
    return written


def _within_bounds(query: UsageQuery, today: date) -> UsageQuery:
    until = query.until or max(today, query.since or today)
    since = query.since or max(until, date.min + timedelta(DAYS)) - timedelta(days=DAYS - 1)
    if (until - since).days >= MOST_DAYS:
        raise InvalidRequest(
            f"Invalid 'since': at most {MOST_DAYS} days can be reported at once.", param="since", code="invalid_value"
        )
    return replace(query, since=since, until=until)
