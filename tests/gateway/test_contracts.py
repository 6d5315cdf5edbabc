"""Money as people write it and as it is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundament.errors import InvalidChange
from fundament.gateway.contracts import amount_of, nanos_of


@pytest.mark.parametrize(
    ("amount", "nanos", "shown"),
    [
        ("100.00", 100_000_000_000, "100.00"),
        ("0", 0, "0.00"),
        ("0.5", 500_000_000, "0.50"),
        ("0.000000001", 1, "0.000000001"),
        ("9000000000", 9_000_000_000_000_000_000, "9000000000.00"),
    ],
)
def test_an_amount_is_counted_in_nanos_and_shown_again(amount: str, nanos: int, shown: str) -> None:
    assert nanos_of(amount) == nanos
    assert amount_of(nanos) == shown


@given(st.integers(0, 9_000_000_000_000_000_000))
def test_what_is_shown_is_what_is_read(nanos: int) -> None:
    assert nanos_of(amount_of(nanos)) == nanos


@pytest.mark.parametrize("amount", ["", "x", "-1", "1,5", "nan", "snan", "inf", "0.0000000001", "9000000001", "1e99"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(InvalidChange, match=f"'{amount}' is no amount"):
        nanos_of(amount)
