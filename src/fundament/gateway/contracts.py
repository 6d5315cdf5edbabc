"""Contracts: who uses the service, on which plan. All keys of a contract share what it has: limits, budget, state.

It knows what is kept of a contract; what a plan allows is in the configuration (`fundament.settings`), where contracts
are kept in `storage/contracts.py`.
"""

import secrets
import time
from decimal import Decimal, InvalidOperation

import msgspec

from fundament.errors import InvalidChange
from fundament.gateway.names import check_name

DEFAULT_CONTRACT = "default"
"""The contract of keys that were made without naming one; it is on the plan without limits."""

NANOS = 1_000_000_000
"""Money is counted in integers of 1e-9 of the currency."""

_HIGHEST_AMOUNT = 9_000_000_000  # what a database's 64-bit integer holds in nanos


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a contract.

    `plan` is the name of one. `monthly_budget_nanos` is what it may spend in a calendar month (UTC), None without
    bound. Times are Unix seconds; `closed_at` is None while the contract is open. `erased_at` says since when all that
    it has is being deleted; after that its id stands in the place of its name.
    """

    id: str
    name: str
    plan: str
    monthly_budget_nanos: int | None = None
    created_at: int
    closed_at: int | None = None
    erased_at: int | None = None


def new_contract(name: str, plan: str, monthly_budget_nanos: int | None = None) -> Contract:
    """Raises InvalidChange: the name is not allowed."""
    check_name(name, of="contract", unlike=("contract_", "sk-"))
    return Contract(
        id="contract_" + secrets.token_hex(12),
        name=name,
        plan=plan,
        monthly_budget_nanos=monthly_budget_nanos,
        created_at=int(time.time()),
    )


def nanos_of(amount: str) -> int:
    """An amount of money as people write it ("100.00"), in nanos.

    Raises:
        InvalidChange: it is no decimal number, below 0, finer than a nano, or more than 9,000,000,000.
    """
    try:
        nanos = Decimal(amount) * NANOS
    except InvalidOperation:
        nanos = Decimal("NaN")
    if not nanos.is_finite() or not 0 <= nanos <= _HIGHEST_AMOUNT * NANOS or nanos % 1:
        raise InvalidChange(f"'{amount}' is no amount from 0 to {_HIGHEST_AMOUNT} with at most 9 decimals, as 100.00.")
    return int(nanos)


def amount_of(nanos: int) -> str:
    """Nanos as people write money: two decimals, more where they are not 0."""
    whole, rest = divmod(nanos, NANOS)
    return f"{whole}.{f'{rest:09}'.rstrip('0'):0<2}"
