"""The catalogue, as `GET /models` shows it."""

import openai
import pytest

from service import Service
from specification import assert_valid

MODEL = "SmolLM2-135M-Instruct"


@pytest.mark.parametrize("base", ["/v1", "/v2"])
def test_the_list_has_every_model_of_the_catalogue(scripted: Service, base: str) -> None:
    models = assert_valid("ListModelsResponse", scripted.request("GET", f"{base}/models").json)
    assert [model["id"] for model in models["data"]] == [
        "gpt-4.1",
        "gpt-4.1-native",
        "gpt-5-native",
        "open-model",
        "impatient-model",
        "narrow-model",
        "unreachable-model",
        "vllm-model",
        "sglang-model",
        "llama-server-model",
        "generic-model",
    ]


def test_the_official_sdk_lists_and_retrieves(embedded_client: openai.OpenAI) -> None:
    assert MODEL in [model.id for model in embedded_client.models.list()]
    assert embedded_client.models.retrieve(MODEL).object == "model"


def test_a_local_models_metadata_come_from_its_file(embedded: Service) -> None:
    model = assert_valid("Model", embedded.request("GET", f"/v2/models/{MODEL}").json)
    metadata = model["meta_data"]
    assert metadata["max_sequence_length"] == 2048
    assert metadata["hidden_size"] == 576
    assert metadata["license"] == "apache-2.0"


def test_an_upstream_models_metadata_come_from_the_configuration(scripted: Service) -> None:
    model = assert_valid("Model", scripted.request("GET", "/v2/models/open-model").json)
    assert model["owned_by"] == "somebody"
    metadata = model["meta_data"]
    assert metadata["max_sequence_length"] == 4096
    assert metadata["max_output_length"] == 1024
    assert (metadata["hosted_by"], metadata["region"], metadata["license"]) == ("A Data Centre", "ch", "mit")


@pytest.mark.parametrize("name", ["open-model", "open-alias"])
def test_a_model_is_found_by_id_and_alias_and_echoed_as_asked(scripted: Service, name: str) -> None:
    assert scripted.request("GET", f"/v2/models/{name}").json["id"] == name


def test_an_unknown_model_is_a_404_by_name(scripted_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        scripted_client.models.retrieve("gpt-99")
    assert caught.value.code == "model_not_found"
    assert "gpt-99" in caught.value.message


def test_the_catalogue_is_for_holders_of_a_key(scripted: Service) -> None:
    assert scripted.request("GET", "/v2/models", key=None).status == 401
    assert scripted.request("GET", "/v2/models/gpt-4.1", key="wrong").status == 401
