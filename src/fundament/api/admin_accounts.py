"""The admin API's contracts, keys and plans. It knows their JSON; the rules and the rows are `storage`'s."""

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from fundament.api.admin_requests import actor_of, answer, read
from fundament.gateway.contracts import Contract, amount_of, nanos_of
from fundament.gateway.keys import KeyRecord, model_ids_of, scopes_of
from fundament.gateway.moments import duration_s, moment
from fundament.protocol.administration import (
    AdminContract,
    AdminKey,
    AdminList,
    ContractChange,
    ContractReference,
    ErasedContract,
    KeyRotation,
    NewContract,
    NewKey,
    NewKeyOf,
    RotatedKey,
)
from fundament.settings import Config
from fundament.storage.contracts import ContractRepository
from fundament.storage.erasure import Erasure
from fundament.storage.keys import KeyRepository


class Contracts:
    """The endpoints of contracts, which paths name by id or name."""

    def __init__(self, config: Config, database: AsyncEngine) -> None:
        self._plans = config.plans
        self._database = database

    async def list(self, request: Request) -> Response:
        found = await self._repository(request).list()
        return answer(AdminList(data=[_contract(contract) for contract in found]))

    async def create(self, request: Request) -> Response:
        wanted = await read(request, NewContract)
        budget = None if wanted.monthly_budget is None else nanos_of(wanted.monthly_budget)
        made = await self._repository(request).create(wanted.name, wanted.plan, budget)
        return answer(_contract(made), 201)

    async def show(self, request: Request) -> Response:
        return answer(_contract(await self._repository(request).find(request.path_params["contract"])))

    async def change(self, request: Request) -> Response:
        wanted = await read(request, ContractChange)
        budget: int | UnsetType | None = UNSET
        if wanted.monthly_budget is not UNSET:
            budget = None if wanted.monthly_budget is None else nanos_of(wanted.monthly_budget)
        changed = await self._repository(request).change(
            request.path_params["contract"], plan=wanted.plan, monthly_budget_nanos=budget
        )
        return answer(_contract(changed))

    async def close(self, request: Request) -> Response:
        return answer(_contract(await self._repository(request).close(request.path_params["contract"])))

    async def erase(self, request: Request) -> Response:
        erasure = Erasure(self._database, actor_of(request))
        contract, erased = await erasure.erase(request.path_params["contract"])
        counts = msgspec.structs.asdict(erased)
        return answer(ErasedContract(id=contract.id, erased_at=contract.erased_at or 0, **counts))

    def _repository(self, request: Request) -> ContractRepository:
        return ContractRepository(self._database, self._plans, actor_of(request))


class Keys:
    """The endpoints of keys: of all, or of the contract that the path names."""

    def __init__(self, config: Config, database: AsyncEngine) -> None:
        self._models = config.models
        self._database = database

    async def list(self, request: Request) -> Response:
        found = await self._repository(request).list(request.path_params.get("contract"))
        return answer(AdminList(data=[_key(record) for record in found]))

    async def create(self, request: Request) -> Response:
        contract: str | None = request.path_params.get("contract")
        wanted = await read(request, NewKey if contract is not None else NewKeyOf)
        record, plaintext = await self._repository(request).create(
            wanted.name,
            contract=wanted.contract if isinstance(wanted, NewKeyOf) else contract or "",
            scopes=scopes_of(wanted.scopes),
            models=None if wanted.models is None else model_ids_of(wanted.models, self._models),
            expires_at=None if wanted.expires is None else moment(wanted.expires),
        )
        return answer(_key(record, plaintext), 201)

    async def rotate(self, request: Request) -> Response:
        wanted = await read(request, KeyRotation)
        rotated = await self._repository(request).rotate(request.path_params["key"], duration_s(wanted.overlap))
        old, new, plaintext = rotated
        return answer(RotatedKey(old=_key(old), new=_key(new, plaintext)), 201)

    async def revoke(self, request: Request) -> Response:
        return answer(_key(await self._repository(request).revoke(request.path_params["key"])))

    def _repository(self, request: Request) -> KeyRepository:
        return KeyRepository(self._database, actor_of(request))


class Plans:
    def __init__(self, config: Config) -> None:
        self._plans = config.plans

    async def list(self, request: Request) -> Response:  # noqa: ARG002 - as every endpoint
        plans = [
            {"object": "plan", "name": name, **msgspec.to_builtins(plan)} for name, plan in sorted(self._plans.items())
        ]
        return answer(AdminList(data=plans))


def _contract(contract: Contract) -> AdminContract:
    nanos = contract.monthly_budget_nanos
    return AdminContract(
        id=contract.id,
        name=contract.name,
        plan=contract.plan,
        monthly_budget=None if nanos is None else amount_of(nanos),
        created_at=contract.created_at,
        closed_at=contract.closed_at,
        erased_at=contract.erased_at,
    )


def _key(record: KeyRecord, plaintext: str | UnsetType = UNSET) -> AdminKey:
    return AdminKey(
        id=record.id,
        contract=ContractReference(record.contract.id, record.contract.name),
        name=record.name,
        hint=record.hint,
        scopes=record.scopes,
        models=record.models,
        created_at=record.created_at,
        expires_at=record.expires_at,
        last_used_at=record.last_used_at,
        replaced_by=record.replaced_by,
        revoked_at=record.revoked_at,
        key=plaintext,
    )
