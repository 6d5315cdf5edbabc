"""Who may ask for what: from the `Authorization` header to a key, from a model's name to the catalogue.

It answers from memory, and waits for storage only when a key is new to this process. It knows nothing of HTTP servers.
"""

from fundament.errors import InvalidKey
from fundament.gateway.catalogue import Catalogue, CatalogueModel
from fundament.gateway.keys import KeyRecord, KeyRefresher


class Admission:
    def __init__(self, keys: KeyRefresher, catalogue: Catalogue) -> None:
        self._keys = keys
        self.catalogue = catalogue

    async def authenticate(self, authorization: bytes | None) -> KeyRecord:
        """The key in an `Authorization: Bearer …` header.

        Raises:
            InvalidKey: there is none, or it is not (or no longer) valid.
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
        key = await self._keys.find(plaintext)
        if key is None:
            raise InvalidKey(
                f"Incorrect API key provided: {_masked(plaintext)}. It is unknown to this service, or was revoked.",
                code="invalid_api_key",
            )
        return key

    def admit(self, key: KeyRecord, model: str) -> CatalogueModel:  # noqa: ARG002 - who asks decides once plans exist
        """The model that `key` may use under this name.

        Raises:
            ModelNotFound: no model has this id or alias.
        """
        return self.catalogue.find(model)


def _masked(key: str) -> str:
    """Enough of a key to recognise a mix-up, too little to use."""
    return f"{key[:7]}{'*' * 8}{key[-4:]}" if len(key) >= 24 else "*" * 8
