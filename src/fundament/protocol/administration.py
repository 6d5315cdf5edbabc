"""The bodies of the admin API. It knows their shapes; what may be in a field is known by those who act on it.

Money, durations and moments are written as the commands take them: "100.00", "1h", "30d", "2027-01-31".
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Names = Annotated[tuple[str, ...], Meta(min_length=1)]


class NewContract(Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    plan: str
    monthly_budget: str | None = None


class ContractChange(Struct, kw_only=True, forbid_unknown_fields=True):
    plan: str | UnsetType = UNSET
    monthly_budget: str | UnsetType | None = UNSET


class NewKey(Struct, kw_only=True, forbid_unknown_fields=True):
    """`models` None are all of the contract's plan."""

    name: str
    scopes: Names = ("inference",)
    models: Names | None = None
    expires: str | None = None


class NewKeyOf(NewKey, kw_only=True, forbid_unknown_fields=True):
    """A new key where the URL does not say whose."""

    contract: str = "default"


class KeyRotation(Struct, kw_only=True, forbid_unknown_fields=True):
    overlap: str = "1h"


class AdminContract(Struct, kw_only=True):
    """A contract; times are Unix seconds."""

    object: Literal["contract"] = "contract"
    id: str
    name: str
    plan: str
    monthly_budget: str | None
    created_at: int
    closed_at: int | None
    erased_at: int | None


class ContractReference(Struct):
    id: str
    name: str


class AdminKey(Struct, kw_only=True):
    """A key; times are Unix seconds. `key` is the key itself: there this once, when it was made."""

    object: Literal["key"] = "key"
    id: str
    contract: ContractReference
    name: str
    hint: str
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    replaced_by: str | None
    revoked_at: int | None
    key: str | UnsetType = UNSET


class RotatedKey(Struct, kw_only=True):
    object: Literal["key.rotation"] = "key.rotation"
    old: AdminKey
    new: AdminKey


class ErasedContract(Struct, kw_only=True):
    """What was deleted by this request; the next one may find more, where answers were under way."""

    object: Literal["contract.erased"] = "contract.erased"
    id: str
    erased_at: int
    responses: int
    conversations: int
    requests: int


class AdminModel(Struct, kw_only=True):
    """A server of a model. `base_url` is the upstream's; a model that runs here has none: `ready` or `starting`."""

    object: Literal["model"] = "model"
    id: str
    base_url: str | None
    state: Literal["ready", "starting", "credential_refused", "failing", "unreachable"]


class AdminList(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Any]
    has_more: bool = False
