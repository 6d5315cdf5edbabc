"""A compacted conversation: the user's words, and one item that tells the rest to whoever goes on from it."""

from typing import Any

import pytest

from fundament.errors import InvalidRequest
from fundament.protocol.responses import parse_items, validate, validate_compact
from fundament.responses.compaction import SUMMARY_TOKENS, compacted, summary_of, summary_request, told
from fundament.responses.translation import chat_request

SAID: list[dict[str, Any]] = [
    {"id": "msg_1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "I am Ann"}]},
    {"id": "msg_2", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
    {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"id": "fco_1", "type": "function_call_output", "call_id": "c", "output": "é🙂"},
]


def test_what_is_left_is_the_users_words_and_the_summary() -> None:
    user, rest = compacted(SAID, "Ann said é🙂", "cmp_1")
    assert user == SAID[0]
    assert (rest["id"], rest["type"]) == ("cmp_1", "compaction")
    assert told(rest["encrypted_content"], "input[1]") == "Summary of the conversation so far:\nAnn said é🙂"


def test_a_model_is_told_the_summary_where_it_stands() -> None:
    items = [*compacted(SAID, "Ann called f", "cmp_1"), {"role": "user", "content": "Who am I?"}]
    messages = chat_request(validate({"model": "m", "input": items}), [])["messages"]
    assert [message["role"] for message in messages] == ["user", "user", "user"]
    assert messages[1]["content"] == "Summary of the conversation so far:\nAnn called f"


@pytest.mark.parametrize("content", ["", "abc", "!!!", "ZnVuZGFtZW50", "é"])
def test_what_others_have_compacted_is_refused_with_its_place(content: str) -> None:
    items = [{"type": "compaction", "encrypted_content": content}]
    with pytest.raises(InvalidRequest) as caught:
        chat_request(validate({"model": "m", "input": items}), [])
    assert (caught.value.param, caught.value.code) == ("input[0].encrypted_content", "invalid_encrypted_content")


def test_the_summary_is_asked_for_after_all_that_was_said() -> None:
    wanted = validate_compact({"model": "m", "input": SAID[:1], "instructions": "Be brief", "prompt_cache_key": "k"})
    body = chat_request(summary_request(wanted), parse_items(SAID[1:2]))
    assert [message["role"] for message in body["messages"]] == ["system", "assistant", "user", "user"]
    assert "Summarize the conversation above" in body["messages"][-1]["content"]
    assert body["prompt_cache_key"] == "k"
    assert body["max_completion_tokens"] == SUMMARY_TOKENS


def test_a_summary_is_all_that_the_model_said_and_may_be_nothing() -> None:
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    assert summary_of({"output": [thought, SAID[1]]}) == "Hello"
    assert summary_of({"output": [thought]}) == ""


@pytest.mark.parametrize(
    ("body", "param"),
    [({"model": "m"}, "input"), ({"input": "x"}, "model"), ({"model": "m", "input": "x", "store": True}, "store")],
)
def test_what_cannot_be_compacted_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate_compact(body)
    assert caught.value.param == param


@pytest.mark.parametrize(("most", "tokens"), [(None, SUMMARY_TOKENS), (100, 100), (100_000, SUMMARY_TOKENS)])
def test_a_summary_is_no_longer_than_the_model_may_speak(most: int | None, tokens: int) -> None:
    wanted = validate_compact({"model": "m", "input": "x"})
    assert summary_request(wanted, most).max_output_tokens == tokens
