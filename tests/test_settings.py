"""Rules of single settings, beyond what `test_config.py` has of all: prices."""

from pathlib import Path

import pytest

from fundament.config import load
from fundament.errors import ConfigError
from fundament.settings import PriceConfig

LOCAL = "[[models]]\nid = 'a'\nsource = 'a.gguf'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LOCAL + "price = {input = 1}", "models[0].price.output: is required"),
        (LOCAL + "price = {input = -1, output = 1}", "models[0].price.input: expected a price of 0 to 1000000, got -1"),
        (LOCAL + "price = {input = 0.1234, output = 1}", "models[0].price: input is 0.1234; prices have at most three"),
        ("billing.currency = 'euro'", "billing.currency: expected a currency's code of three capital letters, got "),
    ],
)
def test_a_price_that_cannot_be_billed_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "fundament.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file, environ={})
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("input", [0.001, 0.15, 1.005, 2.675, 999_999.999, 3])
def test_every_price_in_steps_of_a_thousandth_is_taken(input: float) -> None:
    assert PriceConfig(input=input, output=0.0).cached_input == input
