"""Items as the messages of a chat: what was said stays said, in an order that chats take."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings

from fundament.errors import InvalidRequest
from fundament.protocol.responses import parse_items, validate
from fundament.responses.translation import chat_request
from responses.chat_chunks import Said, chats, chunks_of
from responses.test_fold import told
from responses.translated import refusal, said, translated


def messages(*items: dict[str, Any], history: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    return translated(history, input=list(items))["messages"]


def answer(*texts: str) -> dict[str, Any]:
    parts = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []} for text in texts]
    return {"type": "message", "id": f"msg_{texts}", "role": "assistant", "status": "completed", "content": parts}


def called(id: str, name: str = "f") -> dict[str, Any]:
    fields = {"id": f"fc_{id}", "call_id": id, "name": name, "arguments": "{}", "status": "completed"}
    return {"type": "function_call", **fields}


def result(id: str, output: Any = "1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": output}


def thought(*texts: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": f"rs_{texts}", "summary": [], "content": content, **fields}


def tool_call(id: str, name: str = "f") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def tool(id: str, content: Any = "1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def test_instructions_are_the_first_message_and_roles_stay() -> None:
    body = translated(instructions="Be kind.", input=[said("developer", "a"), said("system", "b"), said("user", "c")])
    roles = [said("system", "Be kind."), said("developer", "a"), said("system", "b"), said("user", "c")]
    assert body["messages"] == roles


def test_history_comes_between_the_instructions_and_the_input() -> None:
    body = translated([said("user", "a"), answer("b")], instructions="i", input="c")
    assert body["messages"] == [said("system", "i"), said("user", "a"), said("assistant", "b"), said("user", "c")]


def test_parts_of_a_user_are_a_chats_parts() -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_file", "file_id": "file_1"},
    ]
    assert messages(said("user", parts)) == [
        said(
            "user",
            [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
                {"type": "file", "file": {"file_id": "file_1"}},
            ],
        )
    ]


def test_one_part_of_text_is_a_string_and_two_stay_two() -> None:
    text = {"type": "input_text", "text": "a"}
    assert messages(said("user", [text])) == [said("user", "a")]
    assert messages(said("system", [text, text])) == [said("system", [{"type": "text", "text": "a"}] * 2)]


def test_an_answer_with_its_calls_is_one_message() -> None:
    assert messages(answer("Let me see."), called("a"), called("b", "g"), result("a"), result("b")) == [
        {**said("assistant", "Let me see."), "tool_calls": [tool_call("a"), tool_call("b", "g")]},
        tool("a"),
        tool("b"),
    ]


def test_calls_after_results_are_a_message_of_their_own() -> None:
    assert messages(called("a"), result("a"), called("b"), result("b"), answer("Done.")) == [
        {**said("assistant", None), "tool_calls": [tool_call("a")]},
        tool("a"),
        {**said("assistant", None), "tool_calls": [tool_call("b")]},
        tool("b"),
        said("assistant", "Done."),
    ]


def test_results_follow_their_calls_whatever_came_between() -> None:
    assert messages(called("a"), answer("Wait."), said("user", "Well?"), result("a")) == [
        {**said("assistant", "Wait."), "tool_calls": [tool_call("a")]},
        tool("a"),
        said("user", "Well?"),
    ]


def test_calls_after_a_users_message_do_not_join_the_answer_before_it() -> None:
    assert messages(answer("a"), said("user", "b"), called("c"), result("c")) == [
        said("assistant", "a"),
        said("user", "b"),
        {**said("assistant", None), "tool_calls": [tool_call("c")]},
        tool("c"),
    ]


def test_two_answers_in_a_row_stay_two() -> None:
    assert messages(answer("a"), answer("b"), said("user", "c"))[:2] == [said("assistant", "a"), said("assistant", "b")]


def test_a_call_in_the_history_is_answered_by_the_input() -> None:
    assert messages(result("a"), history=[said("user", "q"), called("a")])[1:] == [
        {**said("assistant", None), "tool_calls": [tool_call("a")]},
        tool("a"),
    ]


def test_results_may_have_parts_of_text() -> None:
    parts = [{"type": "input_text", "text": text} for text in "ab"]
    assert messages(called("a"), result("a", parts))[1] == tool("a", [{"type": "text", "text": text} for text in "ab"])


def test_reasoning_belongs_to_the_answer_that_follows() -> None:
    assert messages(thought("Hm.", "So."), answer("a"), thought("And"), called("c"), result("c")) == [
        {**said("assistant", "a"), "reasoning_content": "Hm.\nSo.\nAnd", "tool_calls": [tool_call("c")]},
        tool("c"),
    ]


def test_reasoning_that_nobody_can_read_or_that_led_nowhere_is_left_out() -> None:
    hidden = thought(encrypted_content="x")
    assert messages(hidden, answer("a"), thought("Hm."), said("user", "b"), answer("c")) == [
        said("assistant", "a"),
        said("user", "b"),
        said("assistant", "c"),
    ]


def test_a_refusal_stays_a_refusal() -> None:
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert messages(refused) == [said("assistant", [{"type": "refusal", "refusal": "No."}])]


def test_calls_of_custom_tools_are_a_chats() -> None:
    call = {"type": "custom_tool_call", "call_id": "a", "name": "g", "input": "1+1"}
    output = {"type": "custom_tool_call_output", "call_id": "a", "output": "2"}
    custom = {"id": "a", "type": "custom", "custom": {"name": "g", "input": "1+1"}}
    assert messages(call, output) == [{**said("assistant", None), "tool_calls": [custom]}, tool("a", "2")]


REMOTE_CALL = {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "f", "arguments": "{}"}
QUESTION = {**REMOTE_CALL, "type": "mcp_approval_request", "id": "mcpr_1"}


def approval(approve: bool, **fields: Any) -> dict[str, Any]:
    return {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": approve, **fields}


def test_a_remote_call_is_a_call_with_its_result_and_an_approval_of_it_says_nothing() -> None:
    listed = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []}
    calls = [{**REMOTE_CALL, "output": "2"}, {**REMOTE_CALL, "id": "mcp_2", "error": "No."}]
    assert messages(listed, QUESTION, approval(True), *calls) == [
        {**said("assistant", None), "tool_calls": [tool_call("mcp_1", "mcp__s__f")]},
        tool("mcp_1", "2"),
        {**said("assistant", None), "tool_calls": [tool_call("mcp_2", "mcp__s__f")]},
        tool("mcp_2", "No."),
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"type": "http_error", "code": 401, "message": "Unauthorized"}, "Unauthorized"),
        ({"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": "no luck"}]}, "no luck"),
        ({"type": "mcp_tool_execution_error", "content": "no luck"}, "no luck"),
    ],
)
def test_the_model_is_told_why_a_remote_call_failed(error: dict[str, Any], told: str) -> None:
    assert messages({**REMOTE_CALL, "error": error})[1:] == [tool("mcp_1", told)]


def test_a_remote_call_that_was_not_made_says_nothing() -> None:
    assert messages(said("user", "x"), {**REMOTE_CALL, "status": "incomplete"}) == [said("user", "x")]


@pytest.mark.parametrize(("fields", "reason"), [({}, ""), ({"reason": "Too dear."}, " Reason: Too dear.")])
def test_the_model_is_told_that_a_call_was_not_approved(fields: dict[str, Any], reason: str) -> None:
    assert messages(approval(False, **fields), history=[QUESTION]) == [
        {**said("assistant", None), "tool_calls": [tool_call("mcpr_1", "mcp__s__f")]},
        tool("mcpr_1", f"The user did not approve this call.{reason}"),
    ]


@pytest.mark.parametrize(
    ("items", "message", "param", "code"),
    [
        ([result("a")], "No tool call found for function call output with call_id a.", "input", None),
        ([called("a")], "No tool output found for function call a.", "input", None),
        ([approval(True)], "No approval request found with id 'mcpr_1'.", "input[0]", None),
        ([thought("Hm.")], "The input has nothing that a model could answer.", "input", None),
    ],
)
def test_items_that_do_not_fit_together_are_refused(
    items: list[dict[str, Any]], message: str, param: str, code: str | None
) -> None:
    refused = refusal(input=items)
    assert (refused.message, refused.param, refused.code) == (message, param, code)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (said("user", [{"type": "input_image", "file_id": "f"}]), "input[0].content[0].file_id"),
        (
            said("user", [{"type": "input_image", "image_url": "u", "detail": "original"}]),
            "input[0].content[0].detail",
        ),
        (said("user", [{"type": "input_file", "file_url": "u"}]), "input[0].content[0].file_url"),
        (said("user", [{"type": "input_file", "file_id": "f", "detail": "high"}]), "input[0].content[0].detail"),
        (said("system", [{"type": "input_image", "image_url": "u"}]), "input[0].content[0].type"),
    ],
)
def test_parts_that_a_chat_cannot_say_are_refused_by_name(item: dict[str, Any], param: str) -> None:
    refused = refusal(input=[item])
    assert (refused.param, refused.code) == (param, "unsupported_value")


def test_an_image_as_a_result_is_refused_by_name() -> None:
    image = {"type": "input_image", "image_url": "u"}
    assert refusal(input=[called("a"), result("a", [image])]).param == "input[1].output[0].type"


def test_history_that_a_chat_cannot_say_is_refused_by_the_field_that_brought_it() -> None:
    image = said("user", [{"type": "input_image", "file_id": "f"}])
    for field in ("previous_response_id", "conversation"):
        request = validate({"model": "m", "input": "x", field: "id"})
        with pytest.raises(InvalidRequest) as caught:
            chat_request(request, parse_items([image]))
        assert (caught.value.param or "").startswith(field)


@settings(deadline=None)
@given(chats)
def test_an_answer_can_be_sent_back_with_the_results_of_its_calls(chat: list[Said]) -> None:
    """Items that were streamed are taken, and the chat that they become says the same, its calls in order."""
    _, response = told(chunks_of(chat))
    calls = [item for item in response["output"] if "call_id" in item]
    results = [{"type": f"{call['type']}_output", "call_id": call["call_id"], "output": "1"} for call in calls]
    body = translated(input=[said("user", "q"), *response["output"], *results])
    tool_calls = [call for message in body["messages"] for call in message.get("tool_calls", [])]
    assert [call["id"] for call in tool_calls] == [call["call_id"] for call in calls]
    assert [one["tool_call_id"] for one in body["messages"] if one["role"] == "tool"] == [c["call_id"] for c in calls]
    words = "".join(text_of(message) for message in body["messages"] if message["role"] == "assistant")
    assert words == "".join(one.whole for one in chat if one.kind in {"content", "refusal"})


def text_of(message: dict[str, Any]) -> str:
    content = message["content"] or ""
    return content if isinstance(content, str) else "".join(p.get("text", p.get("refusal")) for p in content)
