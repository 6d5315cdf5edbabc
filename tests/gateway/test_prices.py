"""What tokens cost, in whole nanos."""

import pytest

from fundament.gateway.prices import Price
from fundament.protocol.usage import PromptDetails, Usage

PRICE = Price(input=150, cached_input=75, output=600)


@pytest.mark.parametrize(
    ("usage", "cost_nanos"),
    [
        (Usage(0, 0, 0), 0),
        (Usage(1_000_000, 0, 0), 150_000_000),
        (Usage(10, 2, 12), 10 * 150 + 2 * 600),
        (Usage(10, 2, 12, PromptDetails(cached_tokens=4)), 6 * 150 + 4 * 75 + 2 * 600),
        (Usage(10, 0, 10, PromptDetails(cached_tokens=40)), 10 * 75),  # a server that counts oddly gives nothing back
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, cost_nanos: int) -> None:
    assert PRICE.cost_nanos(usage) == cost_nanos
