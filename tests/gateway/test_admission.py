"""Who is let in: by a key's end and scopes, and by the models of its plan and its own."""

import time
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from accounts import CONTRACT
from fundament.errors import InvalidKey, ModelNotFound, PermissionDenied
from fundament.gateway.admission import Admission
from fundament.gateway.catalogue import Catalogue, CatalogueModel
from fundament.gateway.keys import KeyRecord, KeyRefresher, KeyRing, Scope, new_key, scopes_of
from fundament.gateway.last_used import LastUsed
from fundament.settings import PlanConfig

PLANS = {"unlimited": PlanConfig(), "small": PlanConfig(models=("a", "b"))}
CATALOGUE = Catalogue(
    [CatalogueModel(id=id, created=1, owned_by="x", aliases=(f"{id}-alias",)) for id in ("c", "b", "a")]
)


class NoStore:
    """A source that is not asked, and a store that is told when keys are used."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}

    async def version(self) -> int:
        raise AssertionError("asked")

    async def load(self) -> tuple[int, Sequence[KeyRecord]]:
        raise AssertionError("asked")

    async def used(self, times: Mapping[str, int]) -> None:
        self.times |= times


def admission(*records: KeyRecord, store: NoStore | None = None) -> Admission:
    store = store or NoStore()
    return Admission(KeyRefresher(KeyRing(records), store), CATALOGUE, PLANS, LastUsed(store))


def bearer(plaintext: str) -> bytes:
    return f"Bearer {plaintext}".encode()


def key(*, plan: str = "unlimited", models: tuple[str, ...] | None = None) -> KeyRecord:
    return new_key("key", msgspec.structs.replace(CONTRACT, plan=plan), models=models)[0]


async def test_a_key_works_until_its_end_and_is_told_of_it_after() -> None:
    record, plaintext = new_key("brief", CONTRACT, expires_at=int(time.time()) + 100)
    assert await admission(record).authenticate(bearer(plaintext)) == record
    over = msgspec.structs.replace(record, expires_at=1_700_000_000)
    with pytest.raises(InvalidKey) as caught:
        await admission(over).authenticate(bearer(plaintext))
    assert caught.value.status == 401
    assert caught.value.code == "invalid_api_key"
    assert caught.value.message.endswith("expired at 2023-11-14 22:13:20 UTC.")
    assert plaintext not in caught.value.message


async def test_a_key_is_good_for_its_scopes_only() -> None:
    record, plaintext = new_key("reader", CONTRACT, scopes=("usage",))
    door = admission(record)
    assert await door.authenticate(bearer(plaintext), "usage") == record
    with pytest.raises(PermissionDenied, match="lacks the scope 'inference'; it has usage") as caught:
        await door.authenticate(bearer(plaintext))
    assert (caught.value.status, caught.value.type, caught.value.code) == (403, "permission_denied", "missing_scope")


@pytest.mark.parametrize(
    ("plan", "models", "allowed"),
    [
        ("unlimited", None, ["c", "b", "a"]),
        ("unlimited", ("a",), ["a"]),
        ("small", None, ["b", "a"]),
        ("small", ("c", "b"), ["b"]),
        ("small", ("c",), []),
        ("not configured", None, []),
    ],
)
def test_a_key_may_use_the_models_that_its_plan_and_it_have(
    plan: str, models: tuple[str, ...] | None, allowed: list[str]
) -> None:
    door, asking = admission(), key(plan=plan, models=models)
    assert [model.id for model in door.models(asking)] == allowed
    for id in ("a", "b", "c"):
        for name in (id, f"{id}-alias"):
            if id in allowed:
                assert door.admit(asking, name).id == id
            else:
                with pytest.raises(PermissionDenied) as caught:
                    door.admit(asking, name)
                assert (caught.value.param, caught.value.code) == ("model", "permission_denied")
                assert f"'{name}'" in caught.value.message
    with pytest.raises(ModelNotFound):
        door.admit(asking, "d")


def test_the_plan_that_is_without_a_model_is_named() -> None:
    with pytest.raises(PermissionDenied, match=r"The plan 'small' .* does not include the model 'c'"):
        admission().admit(key(plan="small"), "c")


async def test_only_a_key_that_is_let_in_counts_as_used() -> None:
    store = NoStore()
    good, secret = new_key("good", CONTRACT)
    reader, readers = new_key("reader", CONTRACT, scopes=("usage",))
    last_used = LastUsed(store)
    door = Admission(KeyRefresher(KeyRing([good, reader]), store), CATALOGUE, PLANS, last_used)
    await door.authenticate(bearer(secret))
    with pytest.raises(PermissionDenied):
        await door.authenticate(bearer(readers))
    await last_used.flush()
    assert store.times.keys() == {good.id}
    assert abs(store.times[good.id] - time.time()) < 2


@pytest.mark.parametrize(
    ("names", "scopes"),
    [(["usage"], ("usage",)), (["usage", "inference", "usage"], ("inference", "usage"))],
)
def test_scopes_are_read_by_name(names: list[str], scopes: tuple[Scope, ...]) -> None:
    assert scopes_of(names) == scopes
