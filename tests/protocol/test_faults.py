"""What breaks a request beyond its numbers, and OpenAI's words, `param` and `code` for that."""

from typing import Any

import pytest

from fundament.protocol import chat, completions
from fundament.protocol.validation import unknown_parameter
from protocol.openai_words import CHAT, COMPLETION, empty_array, out_of_range, refused, too_long, wrong_type


def json_schema(**fields: object) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": fields}}


def message(**fields: object) -> dict[str, Any]:
    return {"messages": [CHAT["messages"][0], fields]}


def part(**fields: object) -> dict[str, Any]:
    return message(role="user", content=[{"type": "text", "text": "x"}, fields])


def call(**fields: object) -> dict[str, Any]:
    return message(role="assistant", tool_calls=[fields])


ROLES = "'developer', 'system', 'user', 'assistant', 'tool', and 'function'"
TEXT_OR_PARTS = "one of a string or array of objects"
PATTERN = "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
TOO_MANY_PROPERTIES = (
    "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 "
    "properties instead."
)
CHAT_FAULTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"model": 3}, wrong_type("model", "a string", "an integer"), "model", "invalid_type"),
    ({"messages": []}, empty_array("messages"), "messages", "empty_array"),
    ({"messages": {}}, wrong_type("messages", "an array of objects", "an object"), "messages", "invalid_type"),
    ({"messages": [None]}, wrong_type("messages[0]", "an object", "null"), "messages[0]", "invalid_type"),
    ({"stream": "yes"}, wrong_type("stream", "a boolean", "a string"), "stream", "invalid_type"),
    ({"stream": 1}, wrong_type("stream", "a boolean", "an integer"), "stream", "invalid_type"),
    ({"stop": 5}, wrong_type("stop", "one of a string or array of strings", "an integer"), "stop", "invalid_type"),
    ({"stop": ["a", 1]}, wrong_type("stop[1]", "a string", "an integer"), "stop[1]", "invalid_type"),
    ({"stop": []}, empty_array("stop"), "stop", "empty_array"),
    ({"stop": list("abcde")}, too_long("stop", "array", 4, 5), "stop", "array_above_max_length"),
    ({"logit_bias": []}, wrong_type("logit_bias", "an object", "an array"), "logit_bias", "invalid_type"),
    ({"logit_bias": {"1": "x"}}, wrong_type("logit_bias", "a decimal", "a string"), "logit_bias", "invalid_type"),
    (
        {"logit_bias": {"1": 100, "a.b[0]": 101}},
        out_of_range("logit_bias", "decimal", "above", 100, 101),
        "logit_bias",
        "decimal_above_max_value",
    ),
    ({"metadata": {"a": 1}}, wrong_type("metadata", "a string", "an integer"), "metadata", "invalid_type"),
    (
        {"metadata": {"a": "x" * 512, "b": "x" * 513}},
        too_long("metadata", "string", 512, 513),
        "metadata",
        "string_above_max_length",
    ),
    (
        {"metadata": {str(number): "" for number in range(17)}},
        TOO_MANY_PROPERTIES,
        "metadata",
        "object_above_max_properties",
    ),
    (
        {"modalities": ["video"]},
        "Invalid value: 'video'. Supported values are: 'audio', and 'text'.",
        "modalities[0]",
        "invalid_value",
    ),
    (
        {"service_tier": "best"},
        "Invalid value: 'best'. Supported values are: 'auto', 'default', 'fast', 'flex', 'priority', and 'scale'.",
        "service_tier",
        "invalid_value",
    ),
    ({"functions": []}, empty_array("functions"), "functions", "empty_array"),
    ({"tools": [5]}, wrong_type("tools[0]", "an object", "an integer"), "tools[0]", "invalid_type"),
    (
        {"tool_choice": 5},
        wrong_type("tool_choice", "one of a string or object", "an integer"),
        "tool_choice",
        "invalid_type",
    ),
    (
        {"response_format": {"type": "yaml"}},
        "Invalid value: 'yaml'. Supported values are: 'text', 'json_object', and 'json_schema'.",
        "response_format.type",
        "invalid_value",
    ),
    (
        {"response_format": {"type": 5}},
        wrong_type("response_format.type", "a string", "an integer"),
        "response_format.type",
        "invalid_type",
    ),
    (
        {"response_format": {}},
        "Missing required parameter: 'response_format.type'.",
        "response_format.type",
        "missing_required_parameter",
    ),
    (
        {"response_format": {"type": "json_schema"}},
        "Missing required parameter: 'response_format.json_schema'.",
        "response_format.json_schema",
        "missing_required_parameter",
    ),
    (
        json_schema(name="a b"),
        f"Invalid 'response_format.json_schema.name': {PATTERN}",
        "response_format.json_schema.name",
        "invalid_value",
    ),
    (
        json_schema(name="a" * 65),
        too_long("response_format.json_schema.name", "string", 64, 65),
        "response_format.json_schema.name",
        "string_above_max_length",
    ),
    (
        json_schema(name="a", schema="x"),
        wrong_type("response_format.json_schema.schema", "an object", "a string"),
        "response_format.json_schema.schema",
        "invalid_type",
    ),
    (
        {"stream": True, "stream_options": {"speed": 1}},
        "Unrecognized request argument supplied: stream_options.speed",
        "stream_options.speed",
        "unknown_parameter",
    ),
    (
        {"stream_options": {"include_usage": True}},
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        "stream_options",
        "",
    ),
    (
        {"top_logprobs": 2},
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        "top_logprobs",
        "",
    ),
    (
        {"max_tokens": 5, "max_completion_tokens": 5},
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        "max_tokens",
        "invalid_parameter_combination",
    ),
    # messages
    (
        message(role="wizard", content="x"),
        f"Invalid value: 'wizard'. Supported values are: {ROLES}.",
        "messages[1].role",
        "invalid_value",
    ),
    *(
        (
            message(role=value, content="x"),
            wrong_type("messages[1].role", "a string", got),
            "messages[1].role",
            "invalid_type",
        )
        for value, got in [({}, "an object"), ([], "an array"), (None, "null"), (1.5, "a decimal"), (True, "a boolean")]
    ),
    (
        message(role=5, content="x"),
        wrong_type("messages[1].role", "a string", "an integer"),
        "messages[1].role",
        "invalid_type",
    ),
    (
        message(content="x"),
        "Missing required parameter: 'messages[1].role'.",
        "messages[1].role",
        "missing_required_parameter",
    ),
    (
        message(role="user"),
        "Missing required parameter: 'messages[1].content'.",
        "messages[1].content",
        "missing_required_parameter",
    ),
    *(
        (
            message(role=role, content=5, **rest),
            wrong_type("messages[1].content", TEXT_OR_PARTS, "an integer"),
            "messages[1].content",
            "invalid_type",
        )
        for role, rest in [
            ("developer", {}),
            ("system", {}),
            ("user", {}),
            ("assistant", {}),
            ("tool", {"tool_call_id": "c"}),
        ]
    ),
    (message(role="user", content=[]), empty_array("messages[1].content"), "messages[1].content", "empty_array"),
    (
        message(role="user", content=["x"]),
        wrong_type("messages[1].content[0]", "an object", "a string"),
        "messages[1].content[0]",
        "invalid_type",
    ),
    (
        message(role="user", content="x", mood="good"),
        "Unrecognized request argument supplied: messages[1].mood",
        "messages[1].mood",
        "unknown_parameter",
    ),
    (
        message(role="system", content=[{"type": "image_url", "image_url": {"url": "x"}}]),
        "Invalid value: 'image_url'. Supported values are: 'text'.",
        "messages[1].content[0].type",
        "invalid_value",
    ),
    (
        part(type="smell"),
        "Invalid value: 'smell'. Supported values are: 'text', 'image_url', 'input_audio', and 'file'.",
        "messages[1].content[1].type",
        "invalid_value",
    ),
    (
        part(type="text", text=5),
        wrong_type("messages[1].content[1].text", "a string", "an integer"),
        "messages[1].content[1].text",
        "invalid_type",
    ),
    (
        part(type="image_url", image_url={"url": "x", "detail": "huge"}),
        "Invalid value: 'huge'. Supported values are: 'auto', 'high', and 'low'.",
        "messages[1].content[1].image_url.detail",
        "invalid_value",
    ),
    (
        part(type="input_audio", input_audio={"data": "x"}),
        "Missing required parameter: 'messages[1].content[1].input_audio.format'.",
        "messages[1].content[1].input_audio.format",
        "missing_required_parameter",
    ),
    (
        message(role="assistant", tool_calls=[]),
        empty_array("messages[1].tool_calls"),
        "messages[1].tool_calls",
        "empty_array",
    ),
    (
        call(type="function", id="c", function={"name": 5, "arguments": ""}),
        wrong_type("messages[1].tool_calls[0].function.name", "a string", "an integer"),
        "messages[1].tool_calls[0].function.name",
        "invalid_type",
    ),
    (
        call(type="custom", id="c"),
        "Missing required parameter: 'messages[1].tool_calls[0].custom'.",
        "messages[1].tool_calls[0].custom",
        "missing_required_parameter",
    ),
    (
        call(type="mystery", id="c"),
        "Invalid value: 'mystery'. Supported values are: 'function', and 'custom'.",
        "messages[1].tool_calls[0].type",
        "invalid_value",
    ),
    (
        message(role="tool", content="x"),
        "Missing required parameter: 'messages[1].tool_call_id'.",
        "messages[1].tool_call_id",
        "missing_required_parameter",
    ),
]


@pytest.mark.parametrize(("fields", "words", "param", "code"), CHAT_FAULTS)
def test_a_fault_of_a_chat_request_is_said_in_openais_words(
    fields: dict[str, Any], words: str, param: str, code: str
) -> None:
    assert refused(chat.validate, CHAT | fields) == (words, param, code or None)


PROMPT = "one of a string or array"
MIXED = (
    "Invalid type for 'prompt': expected one of a string, array of strings, array of integers, or array of arrays of "
    "integers, but got a mixed array instead."
)
COMPLETION_FAULTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"prompt": []}, empty_array("prompt"), "prompt", "empty_array"),
    ({"prompt": ["a", 1]}, MIXED, "prompt", "invalid_type"),
    ({"prompt": [1, [1]]}, MIXED, "prompt", "invalid_type"),
    ({"prompt": [[]]}, empty_array("prompt[0]"), "prompt[0]", "empty_array"),
    (
        {"prompt": [-1]},
        out_of_range("prompt[0]", "integer", "below", 0, -1),
        "prompt[0]",
        "integer_below_min_value",
    ),
    (
        {"prompt": [[1, "x"]]},
        wrong_type("prompt[0][1]", "an integer", "a string"),
        "prompt[0][1]",
        "invalid_type",
    ),
    ({"echo": "x"}, wrong_type("echo", "a boolean", "a string"), "echo", "invalid_type"),
    ({"suffix": 1}, wrong_type("suffix", "a string", "an integer"), "suffix", "invalid_type"),
    ({"logprobs": True}, wrong_type("logprobs", "an integer", "a boolean"), "logprobs", "invalid_type"),
    (
        {"stream_options": {}},
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        "stream_options",
        "",
    ),
]


@pytest.mark.parametrize(("fields", "words", "param", "code"), COMPLETION_FAULTS)
def test_a_fault_of_a_completion_request_is_said_in_openais_words(
    fields: dict[str, Any], words: str, param: str, code: str
) -> None:
    assert refused(completions.validate, COMPLETION | fields) == (words, param, code or None)


@pytest.mark.parametrize("prompt", [5, None, {}])
def test_a_prompt_of_a_wrong_kind_is_refused_with_every_kind_that_is_right(prompt: object) -> None:
    words, param, code = refused(completions.validate, COMPLETION | {"prompt": prompt})
    assert "expected one of a string" in words
    assert "array of strings" in words
    assert (param, code) == ("prompt", "invalid_type")


@pytest.mark.parametrize("prompt", ["", "x", ["x", "y"], [1, 2], [[1], [2, 3]]])
def test_all_four_kinds_of_prompt_are_taken(prompt: object) -> None:
    assert completions.validate(COMPLETION | {"prompt": prompt}).prompt == prompt


def test_names_that_openai_does_not_know_are_left_to_the_models_profile() -> None:
    assert chat.validate(CHAT | {"mirostat": 5}) == chat.validate(CHAT)
    assert completions.validate(COMPLETION | {"mirostat": 5}) == completions.validate(COMPLETION)
    assert unknown_parameter("top_k").message == "Unrecognized request argument supplied: top_k"
