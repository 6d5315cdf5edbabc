"""Contracts: who uses the service, on which plan. All keys of a contract share what it has: limits, budget, state.

It knows what is kept of a contract; what a plan allows is in the configuration (`fundament.settings`), where contracts
are kept in `storage/contracts.py`.
"""

import secrets
import time

import msgspec

from fundament.gateway.names import check_name

DEFAULT_CONTRACT = "default"
"""The contract of keys that were made without naming one; it is on the plan without limits."""

BILLIONTHS = 1_000_000_000
"""Money is counted in integers of 1e-9 of the currency ("nanos")."""


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a contract.

    `plan` is the name of one. `monthly_budget_nanos` is what it may spend in a calendar month (UTC), None without
    bound. Times are Unix seconds; `closed_at` is None while the contract is open.
    """

    id: str
    name: str
    plan: str
    monthly_budget_nanos: int | None = None
    created_at: int
    closed_at: int | None = None


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
