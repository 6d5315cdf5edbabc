"""What breaks a request of the Responses API, and OpenAI's words, `param` and `code` for that; and what does not."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundament.errors import InvalidRequest
from fundament.protocol.responses import ResponsesRequest, parse_items, validate
from fundament.protocol.responses_items import InputText, ItemReference, Message
from protocol.openai_words import empty_array, out_of_range, refused, too_long, wrong_type
from protocol.test_any_input import VALUES, changed, paths
from specification import assert_valid

REQUEST: dict[str, Any] = {"model": "m", "input": "x"}
TEXT_OR_ITEMS = "one of a string or array of objects"
INPUT_PARTS = "'input_text', 'input_image', and 'input_file'"
ITEM_TYPES = (
    "'message', 'function_call', 'function_call_output', 'custom_tool_call', 'custom_tool_call_output', 'reasoning', "
    "'item_reference', 'compaction', 'mcp_list_tools', 'mcp_approval_request', 'mcp_approval_response', 'mcp_call', "
    "'additional_tools', 'apply_patch_call', 'apply_patch_call_output', 'code_interpreter_call', 'compaction_trigger', "
    "'computer_call', 'computer_call_output', 'file_search_call', 'image_generation_call', 'local_shell_call', "
    "'local_shell_call_output', 'program', 'program_output', 'shell_call', 'shell_call_output', 'tool_search_call', "
    "'tool_search_output', and 'web_search_call'"
)
FULL: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": "a"},
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "b"}],
            "status": "completed",
        },
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": "https://x", "detail": "auto"},
                {"type": "input_file", "file_data": "x", "filename": "y"},
            ],
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "c", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "d"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "e"}],
            "content": [{"type": "reasoning_text", "text": "f"}],
            "encrypted_content": None,
            "status": "completed",
        },
        {"type": "function_call", "id": "fc_1", "call_id": "g", "name": "h", "arguments": "{}", "status": "completed"},
        {"type": "function_call_output", "call_id": "g", "output": [{"type": "input_text", "text": "i"}]},
        {"type": "custom_tool_call", "call_id": "j", "name": "k", "input": ""},
        {"type": "custom_tool_call_output", "call_id": "j", "output": "l"},
        {"type": "item_reference", "id": "msg_2"},
        {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []},
        {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "n", "arguments": "{}", "output": "o"},
    ],
    "conversation": {"id": "conv_1"},
    "include": ["message.output_text.logprobs"],
    "max_output_tokens": 16,
    "metadata": {"a": "b"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}, "verbosity": "low"},
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "tools": [
        {"type": "function", "name": "f", "parameters": {}, "strict": None},
        {"type": "mcp", "server_label": "s", "server_url": "https://x", "require_approval": {"never": {}}},
        {"type": "web_search", "search_context_size": "low"},
    ],
    "top_logprobs": 20,
    "temperature": 1,
}


def item(**fields: object) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "x"}, fields]}


def part(role: str, **fields: object) -> dict[str, Any]:
    return item(role=role, content=[fields])


def format(**fields: object) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", **fields}}}


def missing(name: str) -> str:
    return f"Missing required parameter: '{name}'."


def unknown(name: str) -> str:
    return f"Unrecognized request argument supplied: {name}"


def unsupported(value: object, supported: str) -> str:
    return f"Invalid value: {value!r}. Supported values are: {supported}."


FAULTS: list[tuple[dict[str, Any], str, str | None, str | None]] = [
    ({"model": 3}, wrong_type("model", "a string", "an integer"), "model", "invalid_type"),
    ({"input": 5}, wrong_type("input", TEXT_OR_ITEMS, "an integer"), "input", "invalid_type"),
    ({"input": [5]}, wrong_type("input[0]", "an object", "an integer"), "input[0]", "invalid_type"),
    ({"input": [{}]}, missing("input[0].type"), "input[0].type", "missing_required_parameter"),
    (item(role="robot", content="x"), unsupported("robot", "'assistant', 'developer', 'system', and 'user'"),
     "input[1].role", "invalid_value"),
    (item(role="user"), missing("input[1].content"), "input[1].content", "missing_required_parameter"),
    (item(role="user", content="x", name="n"), unknown("input[1].name"), "input[1].name", "unknown_parameter"),
    (item(role="user", content=5), wrong_type("input[1].content", TEXT_OR_ITEMS, "an integer"), "input[1].content",
     "invalid_type"),
    (item(type="cat_call"), unsupported("cat_call", ITEM_TYPES), "input[1].type", "invalid_value"),
    (item(type=5), wrong_type("input[1].type", "a string", "an integer"), "input[1].type", "invalid_type"),
    (item(type="function_call", call_id="c", name="f"), missing("input[1].arguments"), "input[1].arguments",
     "missing_required_parameter"),
    (item(type="function_call_output", call_id="x" * 65, output=""), too_long("input[1].call_id", "string", 64, 65),
     "input[1].call_id", "string_above_max_length"),
    (item(type="function_call_output", call_id="c", output=5),
     wrong_type("input[1].output", TEXT_OR_ITEMS, "an integer"), "input[1].output", "invalid_type"),
    (item(type="reasoning", summary=[{"type": "x", "text": ""}]), unsupported("x", "'summary_text'"),
     "input[1].summary[0].type", "invalid_value"),
    (part("user", type="output_text", text="x"), unsupported("output_text", INPUT_PARTS), "input[1].content[0].type",
     "invalid_value"),
    (part("assistant", type="input_image", image_url="x"),
     unsupported("input_image", "'output_text', 'refusal', and 'input_text'"), "input[1].content[0].type",
     "invalid_value"),
    (part("user", type="input_text"), missing("input[1].content[0].text"), "input[1].content[0].text",
     "missing_required_parameter"),
    (part("user", type="input_image"),
     "Invalid 'input[1].content[0]': expected exactly one of 'image_url' or 'file_id'.", "input[1].content[0]",
     "invalid_value"),
    (part("user", type="input_file", file_id="a", file_url="b"),
     "Invalid 'input[1].content[0]': expected exactly one of 'file_id', 'file_data' or 'file_url'.",
     "input[1].content[0]", "invalid_value"),
    (item(type="function_call_output", call_id="c", output=[{"type": "refusal", "refusal": "x"}]),
     unsupported("refusal", INPUT_PARTS), "input[1].output[0].type", "invalid_value"),
    ({"max_output_tokens": 15}, out_of_range("max_output_tokens", "integer", "below", 16, 15), "max_output_tokens",
     "integer_below_min_value"),
    ({"max_tool_calls": 0}, out_of_range("max_tool_calls", "integer", "below", 1, 0), "max_tool_calls",
     "integer_below_min_value"),
    ({"temperature": 2.1}, out_of_range("temperature", "decimal", "above", 2, 2.1), "temperature",
     "decimal_above_max_value"),
    ({"top_p": -1}, out_of_range("top_p", "decimal", "below", 0, -1), "top_p", "decimal_below_min_value"),
    ({"top_logprobs": 21}, out_of_range("top_logprobs", "integer", "above", 20, 21), "top_logprobs",
     "integer_above_max_value"),
    ({"safety_identifier": "x" * 65}, too_long("safety_identifier", "string", 64, 65), "safety_identifier",
     "string_above_max_length"),
    ({"metadata": {"a": 1}}, wrong_type("metadata", "a string", "an integer"), "metadata", "invalid_type"),
    ({"truncation": "some"}, unsupported("some", "'auto', and 'disabled'"), "truncation", "invalid_value"),
    ({"reasoning": {"effort": "huge"}},
     unsupported("huge", "'high', 'low', 'max', 'medium', 'minimal', 'none', and 'xhigh'"), "reasoning.effort",
     "invalid_value"),
    ({"reasoning": {"depth": 1}}, unknown("reasoning.depth"), "reasoning.depth", "unknown_parameter"),
    ({"text": {"format": {"type": "yaml"}}}, unsupported("yaml", "'text', 'json_object', and 'json_schema'"),
     "text.format.type", "invalid_value"),
    (format(name="n"), missing("text.format.schema"), "text.format.schema", "missing_required_parameter"),
    (format(schema={}), missing("text.format.name"), "text.format.name", "missing_required_parameter"),
    (format(name="x" * 65, schema={}), too_long("text.format.name", "string", 64, 65), "text.format.name",
     "string_above_max_length"),
    ({"tools": [{"type": "function"}]}, missing("tools[0].name"), "tools[0].name", "missing_required_parameter"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, unknown("tools[0].function"), "tools[0].function",
     "unknown_parameter"),
    ({"tools": [{"type": "mcp"}]}, missing("tools[0].server_label"), "tools[0].server_label",
     "missing_required_parameter"),
    ({"tool_choice": {"type": "function"}}, missing("tool_choice.name"), "tool_choice.name",
     "missing_required_parameter"),
    ({"tool_choice": {"type": "allowed_tools", "tools": []}},
     empty_array("tool_choice.tools"), "tool_choice.tools", "empty_array"),
    ({"messages": []}, unknown("messages"), "messages", "unknown_parameter"),
    ({"stream_options": {"include_usage": True}, "stream": True}, unknown("stream_options.include_usage"),
     "stream_options.include_usage", "unknown_parameter"),
    ({"stream_options": {}}, "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
     "stream_options", None),
    ({"background": True, "store": False}, "The 'background' parameter is only allowed when 'store' is enabled.",
     "background", "invalid_parameter_combination"),
    ({"conversation": "conv_1", "previous_response_id": "resp_1"},
     "Mutually exclusive parameters. Ensure you are only providing one of: 'previous_response_id' or 'conversation'.",
     None, "mutually_exclusive_parameters"),
    ({"input": None}, "One of 'input', 'previous_response_id' or 'conversation' must be provided.", "input",
     "missing_required_parameter"),
    ({"input": []}, "One of 'input', 'previous_response_id' or 'conversation' must be provided.", "input",
     "missing_required_parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message", "param", "code"), FAULTS)
def test_a_fault_is_told_in_openais_words(
    change: dict[str, Any], message: str, param: str | None, code: str | None
) -> None:
    assert refused(validate, REQUEST | change) == (message, param, code)


def test_a_model_is_required() -> None:
    assert refused(validate, {"input": "x"}) == (missing("model"), "model", "missing_required_parameter")


def test_a_type_that_is_not_among_the_tools_is_told_with_those_that_are() -> None:
    message, param, code = refused(validate, REQUEST | {"tools": [{"type": "telepathy"}]})
    assert message.startswith(
        "Invalid value: 'telepathy'. Supported values are: 'function', 'custom', 'namespace', 'mcp', "
    )
    assert (param, code) == ("tools[0].type", "invalid_value")


def test_a_request_with_everything_is_valid_here_and_by_openais_document() -> None:
    request = validate(FULL)
    assert request.conversation_id == "conv_1"
    assert len(request.items) == len(FULL["input"])
    assert_valid("CreateResponse", {name: value for name, value in FULL.items() if name != "input"})


@pytest.mark.parametrize("item", FULL["input"], ids=lambda item: item.get("type", "easy"))
def test_an_item_that_is_taken_is_one_of_openais_document(item: dict[str, Any]) -> None:
    """`InputItem` itself takes a message only once, though two of its alternatives describe it."""
    alternatives = {"item_reference": "ItemReferenceParam"} if "type" in item else {None: "EasyInputMessage"}
    assert_valid(alternatives.get(item.get("type"), "Item"), item)


@pytest.mark.parametrize(
    "name", [name for name in ResponsesRequest.__struct_fields__ if name not in {"model", "input"}]
)
def test_null_is_the_same_as_leaving_a_parameter_out(name: str) -> None:
    assert validate(REQUEST | {name: None}) == validate(REQUEST)


@pytest.mark.parametrize("source", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}])
def test_without_input_the_history_is_answered(source: dict[str, Any]) -> None:
    assert validate({"model": "m", **source}).items == []


def test_a_string_is_one_message() -> None:
    assert validate(REQUEST).items == [Message(role="user", content=[InputText(text="x")])]


@pytest.mark.parametrize("reference", [{"id": "a"}, {"id": "a", "type": None}, {"id": "a", "type": "item_reference"}])
def test_a_reference_may_leave_its_type_out(reference: dict[str, Any]) -> None:
    assert validate({"model": "m", "input": [reference]}).items == [ItemReference(id="a")]


def test_the_clients_items_are_not_changed() -> None:
    items = [{"role": "user", "content": "x"}]
    validate({"model": "m", "input": items})
    assert items == [{"role": "user", "content": "x"}]


def test_items_come_back_from_storage_as_they_went() -> None:
    items = validate(FULL).items
    assert parse_items([msgspec.to_builtins(item) for item in items]) == items
    assert parse_items([]) == []


def test_stored_items_are_held_to_the_same() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_items([{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}])
    assert caught.value.param == "input[0].content[0].type"


@given(st.sampled_from(paths(FULL)), VALUES)
@settings(deadline=None)
def test_a_valid_request_with_one_changed_place_is_valid_or_refused(path: tuple[Any, ...], new: Any) -> None:
    try:
        validate(changed(FULL, path, new))
    except InvalidRequest as refusal:
        assert refusal.message
        assert refusal.param or refusal.code == "mutually_exclusive_parameters"


@given(st.dictionaries(st.sampled_from(ResponsesRequest.__struct_fields__) | st.text(), VALUES, max_size=6))
@settings(deadline=None)
def test_any_object_is_valid_or_refused(body: dict[str, Any]) -> None:
    try:
        validate(body)
    except InvalidRequest as refusal:
        assert refusal.message
