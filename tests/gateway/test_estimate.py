"""Estimates of a prompt's tokens, against what tokenizers count."""

from typing import Any

import pytest

from fundament.gateway.estimate import MEDIUM_TOKENS, estimated_tokens

ENGLISH = "The quick brown fox jumps over the lazy dog, and the dog does not even look up from its dream. " * 20


def chat(content: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], "temperature": 0.1}


@pytest.mark.parametrize(
    ("text", "tokens"),  # as OpenAI's cl100k_base counts
    [
        (ENGLISH, 441),
        ("Der schnelle braune Fuchs springt über den faulen Hund. " * 20, 301),
        ("今天天气很好我们去公园散步吧" * 20, 360),
    ],
    ids=["English", "German", "Chinese"],
)
def test_an_estimate_is_within_twice_the_truth(text: str, tokens: int) -> None:
    assert tokens / 2 < estimated_tokens(chat(text)) < tokens * 2


def test_a_message_has_a_few_tokens_beside_its_text() -> None:
    assert estimated_tokens(chat("Hi")) == 5


def test_what_the_model_does_not_read_does_not_count() -> None:
    assert estimated_tokens(chat("Hi") | {"user": "x" * 1000, "metadata": {"a": "b" * 1000}}) == 5


def test_tools_count_with_the_names_in_their_schemas() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"p" * 400: {}}}}}
    assert estimated_tokens(chat("Hi") | {"tools": [tool]}) > 100


def test_a_picture_counts_alike_whatever_its_bytes() -> None:
    def seen(url: str) -> int:
        return estimated_tokens(chat([{"type": "image_url", "image_url": {"url": url}}]))

    assert seen("data:image/png;base64," + "A" * 1_000_000) == seen("https://example.com/a.png") < MEDIUM_TOKENS + 20


def test_tokens_given_by_number_are_counted() -> None:
    assert estimated_tokens({"prompt": [[1, 2, 3], [4, 5, 6]]}) == 6
    assert estimated_tokens({"prompt": ["abcd", "efgh"]}) == 2


def test_a_small_request_is_taken_for_its_bytes_and_a_large_one_looked_through() -> None:
    assert estimated_tokens(chat("Hi"), 90) == 23
    assert estimated_tokens(chat("Hi"), 100_000) == 5


def test_depth_does_no_harm() -> None:
    nested: Any = "x"
    for _ in range(100_000):
        nested = [nested]
    assert estimated_tokens({"prompt": nested}) == 1


def test_half_a_character_does_no_harm() -> None:
    assert estimated_tokens({"prompt": "\ud800"}) == 1
