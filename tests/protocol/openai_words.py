"""How OpenAI says what is wrong with a request, and two requests with which nothing is."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fundament.errors import InvalidRequest

Validate = Callable[[Mapping[str, Any]], object]
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "x"}


def out_of_range(name: str, kind: str, side: str, bound: object, got: object) -> str:
    sign, where = ("<=", "above maximum") if side == "above" else (">=", "below minimum")
    return f"Invalid '{name}': {kind} {where} value. Expected a value {sign} {bound}, but got {got} instead."


def wrong_type(name: str, expected: str, got: str) -> str:
    return f"Invalid type for '{name}': expected {expected}, but got {got} instead."


def empty_array(name: str) -> str:
    return f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got an empty array instead."


def too_long(name: str, kind: str, limit: int, size: int) -> str:
    article = "an" if kind[0] in "ao" else "a"
    return (
        f"Invalid '{name}': {kind} too long. Expected {article} {kind} with maximum length {limit}, "
        f"but got {article} {kind} with length {size} instead."
    )


def refused(validate: Validate, body: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        validate(body)
    return caught.value.message, caught.value.param, caught.value.code
