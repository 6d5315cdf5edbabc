"""The models that are served, by id and by alias. It knows what is told about a model, not where it runs."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from fundament.errors import InvalidRequest, ModelNotFound
from fundament.gateway.prices import Price


class CatalogueModel(Struct, frozen=True, kw_only=True):
    """One model as users see it.

    `context_tokens` and `max_output_tokens` are None where only the upstream knows, `price` where nothing is charged.
    `meta_data` is what
    `GET /models/{id}` tells beyond OpenAI's fields.
    """

    id: str
    created: int
    owned_by: str
    aliases: tuple[str, ...] = ()
    open_weights: bool = True
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    region: str | None = None
    price: Price | None = None
    meta_data: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Catalogue:
    """The models in the order of the configuration."""

    def __init__(self, models: Iterable[CatalogueModel]) -> None:
        self.models = tuple(models)
        self._by_name = {name: model for model in self.models for name in (model.id, *model.aliases)}

    def find(self, name: str) -> CatalogueModel:
        """The model with this id or alias.

        Raises:
            ModelNotFound: there is none.
        """
        model = self._by_name.get(name)
        if model is None:
            raise ModelNotFound(name)
        return model


def refuse_raw_text(model: CatalogueModel) -> None:
    """Raw completions bypass the chat format, which only open-weight models allow.

    Raises:
        InvalidRequest: the model is a bought one; the message names the chat endpoint.
    """
    if not model.open_weights:
        raise InvalidRequest(
            f"'{model.id}' is a chat model and not supported in the completions endpoint, which is offered for "
            "open-weight models only. Use the chat endpoint instead: POST /chat/completions.",
            param="model",
            code="unsupported_model",
        )


def refuse_too_much_output(model: CatalogueModel, param: str, max_tokens: int | None) -> None:
    """Holds a request's output bound (tokens) against the model's.

    Raises:
        InvalidRequest: it asks for more than the model may give.
    """
    if max_tokens is not None and model.max_output_tokens is not None and max_tokens > model.max_output_tokens:
        raise InvalidRequest(
            f"{param} is too large: {max_tokens}. This model supports at most {model.max_output_tokens} completion "
            f"tokens, whereas you provided {max_tokens}.",
            param=param,
            code="invalid_value",
        )
