"""How the reference describes `GET /usage`, with the query that it takes and an example."""

from typing import Any

from fundament.api.operations import answered, operation, query_parameter, responses, sampled
from fundament.api.samples import usage_samples
from fundament.api.usage import DAYS, MOST_DAYS
from fundament.gateway.usage import DIMENSIONS

Json = dict[str, Any]

_DESCRIPTION = f"""\
What the contract of the key has used, and what it costs: one row for each combination of `by`. Days are of UTC. A \
request is in it a second or two after its end. At most {MOST_DAYS} days are reported at once. The key needs the scope \
`usage`.
"""


def usage_paths(model: str) -> Json:
    row = {
        "object": "usage",
        "day": "2026-11-23",
        "model": model,
        "requests": 2,
        "input_tokens": 1200,
        "cached_tokens": 1000,
        "output_tokens": 300,
        "reasoning_tokens": 0,
        "cost_nanos": 285000,
    }
    report = {"report": {"value": {"object": "list", "currency": "EUR", "data": [row]}}}
    described = operation("Usage", "reportUsage", "Report usage", _DESCRIPTION)
    answers = responses(answered("UsageReport", report), ("400", "401", "403", "5XX"))
    return {"/usage": {"get": described | {"parameters": _parameters(model)} | answers | sampled(usage_samples())}}


def _parameters(model: str) -> list[Json]:
    day = {"type": "string", "format": "date"}
    dimensions = {"type": "array", "items": {"type": "string", "enum": list(DIMENSIONS)}, "minItems": 1}
    by = query_parameter("by", "What to sum by, with commas between.", dimensions | {"default": ["day"]})
    return [
        by | {"style": "form", "explode": False, "example": ["day", "model"]},
        query_parameter("since", f"The first day; without it, {DAYS} days are reported.", day),
        query_parameter("until", "The last day; today, if it is not given.", day),
        query_parameter("key", "Only this key of the contract, by id or name.", {"type": "string"}),
        query_parameter("model", "Only this model, by id.", {"type": "string"}) | {"example": model},
    ]
