"""A usage report as rows of text, and as CSV with a line of titles. It knows a report's columns, not who wants it."""

import csv
import io
from collections.abc import Sequence

from fundament.gateway.contracts import amount_of
from fundament.gateway.usage import UsageQuery
from fundament.protocol.answers import UsageReport, UsageTotals

_SUMS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


def csv_of(query: UsageQuery, report: UsageReport) -> str:
    """What is asked for first, then the sums; a contract or a key has its id and its name, empty if it is gone."""
    columns = [name for dimension in query.by for name in columns_of(dimension)]
    written = io.StringIO()
    out = csv.writer(written, lineterminator="\n")
    out.writerow([*columns, *_SUMS, "cost", "currency"])
    for totals in report.data:
        out.writerow([*(getattr(totals, name) or "" for name in columns), *sums_of(totals), report.currency])
    return written.getvalue()


def columns_of(dimension: str) -> Sequence[str]:
    """The names of a dimension's fields in `UsageTotals`."""
    return (f"{dimension}_id", f"{dimension}_name") if dimension in {"contract", "key"} else (dimension,)


def sums_of(totals: UsageTotals) -> list[str]:
    """Requests, tokens, and the cost as people write it."""
    return [*(str(getattr(totals, name)) for name in _SUMS), amount_of(totals.cost_nanos)]
