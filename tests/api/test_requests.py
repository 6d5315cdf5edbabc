"""A body becomes an object, or a refusal that costs little, whatever is in it."""

import pytest

from fundament.api.requests import MOST_VALUES, decode_object
from fundament.errors import BodyTooLarge, InvalidRequest


@pytest.mark.parametrize(
    "item", [b"[]", b"{}", b"0", b'""', b"[[[[[[[[]]]]]]]]"], ids=["lists", "objects", "numbers", "texts", "deep lists"]
)
def test_a_body_of_more_values_than_any_prompt_is_refused_before_it_is_decoded(item: bytes) -> None:
    body = b'{"x":[' + b",".join([item] * MOST_VALUES) + b",0]}"
    with pytest.raises(BodyTooLarge) as caught:
        decode_object(body)
    assert caught.value.code == "request_too_large"


def test_a_large_body_of_few_values_is_decoded() -> None:
    body = b'{"x":"' + b"a long prompt, in which there are commas. " * 500_000 + b'"}'
    assert len(decode_object(body)["x"]) == len(body) - 8


@pytest.mark.parametrize("body", [b'{"x":' * 100_000, b"[" * 100_000, b'{"x":' * 5000 + b"1" + b"}" * 5000])
def test_a_body_that_is_nested_too_deeply_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        decode_object(body)


@pytest.mark.parametrize("number", ["1" * 5000, "1" * 500_000, "1e999", "-1e999"])
def test_a_number_without_bound_is_refused_or_is_a_number(number: str) -> None:
    try:
        assert decode_object(f'{{"x":{number}}}'.encode()).keys() == {"x"}
    except InvalidRequest as refused:
        assert len(refused.message) < 500
