"""Who may ask for what: from the `Authorization` header to a key, from a model's name to one that key and plan have.

It answers from memory, and waits for storage only when a key is new to this process. It knows nothing of HTTP servers.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fundament.errors import InvalidKey, PermissionDenied
from fundament.gateway.catalogue import Catalogue, CatalogueModel
from fundament.gateway.keys import KeyRecord, KeyRefresher, Scope
from fundament.gateway.last_used import LastUsed
from fundament.settings import PlanConfig


class Admission:
    """The door. `plans` are those of the configuration; what the catalogue has is known without a key."""

    def __init__(
        self, keys: KeyRefresher, catalogue: Catalogue, plans: Mapping[str, PlanConfig], last_used: LastUsed
    ) -> None:
        self._keys = keys
        self._plans = plans
        self._last_used = last_used
        self.catalogue = catalogue

    async def authenticate(self, authorization: bytes | None, scope: Scope = "inference") -> KeyRecord:
        """The key in an `Authorization: Bearer …` header, which must be good for `scope`.

        Raises:
            InvalidKey: there is none, or it is not (or no longer) valid.
            PermissionDenied: it is good for something else.
            Unavailable: an unknown key cannot be looked up at the moment.
        """
        if authorization is None:
            raise InvalidKey(
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                code="invalid_api_key",
            )
        scheme, _, plaintext = authorization.decode("latin-1").partition(" ")
        plaintext = plaintext.strip()
        if scheme.lower() != "bearer" or not plaintext:
            raise InvalidKey(
                "The Authorization header must have the form 'Bearer YOUR_KEY'.",
                code="invalid_api_key",
            )
        key = self._keys.held(plaintext) or await self._keys.find(plaintext)
        if key is None:
            raise InvalidKey(
                f"Incorrect API key provided: {_masked(plaintext)}. It is unknown to this service, or was revoked.",
                code="invalid_api_key",
            )
        now_s = time.time()
        if key.expires_at is not None and key.expires_at <= now_s:
            moment = datetime.fromtimestamp(key.expires_at, UTC)
            raise InvalidKey(
                f"The API key {_masked(plaintext)} expired at {moment:%Y-%m-%d %H:%M:%S} UTC.", code="invalid_api_key"
            )
        if scope not in key.scopes:
            raise PermissionDenied(
                f"This API key lacks the scope '{scope}'; it has {', '.join(key.scopes)}.", code="missing_scope"
            )
        self._last_used.note(key.id, now_s)
        return key

    def admit(self, key: KeyRecord, model: str) -> CatalogueModel:
        """The model that `key` may use under this name.

        Raises:
            ModelNotFound: no model has this id or alias.
            PermissionDenied: the contract's plan, or the key itself, is without it.
        """
        found = self.catalogue.find(model)
        plan = self._plans.get(key.contract.plan)
        if plan is None or (plan.models is not None and found.id not in plan.models):
            raise _model_denied(f"The plan '{key.contract.plan}' of this API key's contract", model)
        if key.models is not None and found.id not in key.models:
            raise _model_denied("This API key", model)
        return found

    def models(self, key: KeyRecord) -> Sequence[CatalogueModel]:
        """The models that `key` may use, in the order of the catalogue."""
        plan = self._plans.get(key.contract.plan)
        allowed = [() if plan is None else plan.models, key.models]
        return [model for model in self.catalogue.models if all(ids is None or model.id in ids for ids in allowed)]


def _model_denied(who: str, model: str) -> PermissionDenied:
    return PermissionDenied(f"{who} does not include the model '{model}'.", param="model", code="permission_denied")


def _masked(key: str) -> str:
    """Enough of a key to recognise a mix-up, too little to use."""
    return f"{key[:7]}{'*' * 8}{key[-4:]}" if len(key) >= 24 else "*" * 8
