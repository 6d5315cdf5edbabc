"""Models by id and by alias, and what is refused of a model before anybody is asked."""

import pytest

from fundament.errors import InvalidRequest, ModelNotFound
from fundament.gateway.catalogue import Catalogue, CatalogueModel, refuse_raw_text, refuse_too_much_output

OPEN = CatalogueModel(id="open", created=1, owned_by="x", aliases=("alias", "Other"), max_output_tokens=100)
BOUGHT = CatalogueModel(id="bought", created=1, owned_by="x", open_weights=False)


def test_models_keep_the_order_of_the_configuration() -> None:
    assert Catalogue([BOUGHT, OPEN]).models == (BOUGHT, OPEN)


@pytest.mark.parametrize(("name", "model"), [("open", OPEN), ("alias", OPEN), ("Other", OPEN), ("bought", BOUGHT)])
def test_a_model_is_found_by_its_id_and_by_each_alias(name: str, model: CatalogueModel) -> None:
    assert Catalogue([OPEN, BOUGHT]).find(name) is model


@pytest.mark.parametrize("name", ["", "Open", "other", "open ", "open/1", "\x00"])
def test_any_other_name_is_not_found_and_echoed(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        Catalogue([OPEN, BOUGHT]).find(name)
    failure = caught.value
    assert failure.message == f"The model '{name}' does not exist or you do not have access to it."
    assert (failure.status, failure.type) == (404, "invalid_request_error")
    assert (failure.param, failure.code) == ("model", "model_not_found")


def test_raw_text_is_for_open_weights_and_the_refusal_names_the_chat_endpoint() -> None:
    refuse_raw_text(OPEN)
    with pytest.raises(InvalidRequest, match="POST /chat/completions") as caught:
        refuse_raw_text(BOUGHT)
    assert (caught.value.status, caught.value.param) == (400, "model")


def test_output_is_bounded_by_the_model_where_it_has_a_bound() -> None:
    refuse_too_much_output(OPEN, "max_tokens", 100)
    refuse_too_much_output(OPEN, "max_tokens", None)
    refuse_too_much_output(BOUGHT, "max_tokens", 10**9)
    with pytest.raises(InvalidRequest) as caught:
        refuse_too_much_output(OPEN, "max_completion_tokens", 101)
    assert caught.value.message == (
        "max_completion_tokens is too large: 101. This model supports at most 100 completion tokens, whereas you "
        "provided 101."
    )
    assert (caught.value.param, caught.value.code) == ("max_completion_tokens", "invalid_value")
