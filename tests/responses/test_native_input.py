"""What a server that speaks Responses itself is sent of kept items."""

from typing import Any

import pytest

from fundament.responses.compaction import compacted
from fundament.responses.native_input import native_item
from specification import assert_valid

PART = {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}
SUMMARY = [{"type": "summary_text", "text": "Hm."}]
MESSAGE = {"type": "message", "role": "assistant", "status": "completed", "content": [PART]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
CODE = {"type": "code_interpreter_call", "container_id": "cntr_1", "code": "1", "outputs": []}
SEALED = {"type": "reasoning", "id": "rs_1", "summary": SUMMARY, "encrypted_content": "g"}


@pytest.mark.parametrize(
    ("kept", "sent"),
    [
        (MESSAGE | {"id": "msg_1", "phase": None}, MESSAGE),
        (CALL | {"id": "fc_1"}, CALL),
        (CALL | {"id": "fc_1", "status": "incomplete"}, None),
        (CODE | {"id": "ci_1", "status": "completed"}, CODE | {"id": "ci_1", "status": "completed"}),
        (CODE | {"id": "ci_1", "status": "interpreting"}, None),
        (CODE | {"id": "ci_1", "status": "failed"}, CODE | {"id": "ci_1", "status": "failed"}),
        (SEALED | {"status": "completed", "content": []}, SEALED),
        (SEALED | {"encrypted_content": None}, None),
        ({"type": "reasoning", "id": "rs_1", "summary": [], "content": []}, None),
        ({"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA", "created_by": "x"},
         {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}),
        ({"type": "custom_tool_call_output", "id": "cto_1", "call_id": "c", "output": "y", "status": "completed"},
         {"type": "custom_tool_call_output", "call_id": "c", "output": "y"}),
        ({"type": "shell_call_output", "id": "sho_1", "call_id": "c", "output": [], "created_by": "x"},
         {"type": "shell_call_output", "call_id": "c", "output": []}),
        ({"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "n", "arguments": "{}"},
         {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "n", "arguments": "{}"}),
    ],
)  # fmt: skip
def test_an_item_is_sent_without_what_the_server_would_look_for(
    kept: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    assert native_item(kept) == sent


@pytest.mark.parametrize(
    "failed",
    [
        {"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": None},
        CODE | {"id": "ci_1", "status": "failed", "code": None, "outputs": None},
    ],
)
def test_a_field_that_must_be_there_is_sent_though_it_is_null(failed: dict[str, Any]) -> None:
    sent = native_item(failed)
    assert_valid("InputItem", sent)
    assert sent == failed


def test_a_summary_of_ours_is_said_by_the_user() -> None:
    *_, item = compacted([], "They met.", "cmp_1")
    content = [{"type": "input_text", "text": "Summary of the conversation so far:\nThey met."}]
    assert native_item(item) == {"type": "message", "role": "user", "content": content}
