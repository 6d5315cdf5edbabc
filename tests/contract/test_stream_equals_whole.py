"""The embedded model's answer is the same whether it is streamed or not, field for field, and never loses a character.

Only the ids, the time and how much of the prompt was cached may differ. The chosen requests are those whose text the
engine writes twice the same way: greedy, or with a seed.
"""

import json
from typing import Any

import pytest

from folding import folded, without_ids
from service import Service
from specification import assert_valid, assert_valid_stream, read_sse

MODEL = "SmolLM2-135M-Instruct"
PATHS = {"chat": "/v2/chat/completions", "completions": "/v2/completions"}
SCHEMAS = {"chat": "CreateChatCompletion", "completions": "CreateCompletion"}
ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
CALLED: list[Any] = [{"role": "user", "content": "Look up the weather and the time in Paris."}]
LOOK = {
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {
            "what": {"enum": ["weather", "time", '{"name": }']},
            "where": {"type": "string", "maxLength": 9},
        },
        "required": ["what"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": LOOK}, {"type": "function", "function": {"name": "do_nothing"}}]
UNUSUAL = [
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈🇨🇭👍🏽",
    "漢字かな交じり文",
    "e\u0301a\u0308\u0323o\u031b\u0300",
    "नमस्ते",
    "ﷺ עברית",
    "𒀀𐍈𝄞🀄",
    "\u200d\u200b\ufeff",
    '👍"\\\n\t👎',
]


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    closed = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": closed}}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("chat", {}),
    "text of a seed": ("chat", {"temperature": 1.5, "seed": 7}),
    "one token": ("chat", {"max_tokens": 1}),
    "the end of the model's own": ("chat", {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 90}),
    "three choices": ("chat", {"n": 3}),
    "three choices of a seed": ("chat", {"n": 3, "temperature": 1, "seed": 11}),
    "logprobs": ("chat", {"logprobs": True}),
    "logprobs without alternatives": ("chat", {"logprobs": True, "top_logprobs": 0}),
    "top logprobs": ("chat", {"logprobs": True, "top_logprobs": 5}),
    "top logprobs of three choices": ("chat", {"logprobs": True, "top_logprobs": 2, "n": 3}),
    "tools, auto": ("chat", {"tools": TOOLS, "logprobs": True}),
    "tools, none": ("chat", {"tools": TOOLS, "tool_choice": "none"}),
    "a required call": ("chat", {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}),
    "a required call of three choices": ("chat", {"tools": TOOLS, "tool_choice": "required", "n": 3, "max_tokens": 60}),
    "a named call": ("chat", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "look_up"}}}),
    "an allowed tool": (
        "chat",
        {
            "tools": TOOLS,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "look_up"}}]},
            },
        },
    ),
    "parallel calls": ("chat", {"messages": CALLED, "tools": TOOLS, "tool_choice": "required", "max_tokens": 300}),
    "calls with logprobs": ("chat", {"tools": TOOLS, "tool_choice": "required", "logprobs": True}),
    "a call that is cut off": ("chat", {"tools": TOOLS, "tool_choice": "required", "max_tokens": 12}),
    "a call cut off before its name": ("chat", {"tools": TOOLS, "tool_choice": "required", "max_tokens": 3}),
    "the older functions": ("chat", {"functions": [LOOK], "function_call": {"name": "look_up"}}),
    "json object": ("chat", {"response_format": {"type": "json_object"}, "max_tokens": 40}),
    "json schema": ("chat", {"response_format": schema_format({"enum": UNUSUAL}), "logprobs": True, "max_tokens": 80}),
    "a completion": ("completions", {}),
    "a completion of a seed": ("completions", {"temperature": 1.5, "seed": 7}),
    "three completions": ("completions", {"n": 3, "temperature": 1, "seed": 11}),
    "a completion with logprobs": ("completions", {"logprobs": 2}),
    "a completion with logprobs and no alternatives": ("completions", {"logprobs": 0}),
    "three completions with logprobs": ("completions", {"logprobs": 1, "n": 3, "temperature": 1, "seed": 11}),
    "an echo": ("completions", {"echo": True}),
    "echoes": ("completions", {"echo": True, "n": 2, "temperature": 1, "seed": 3}),
    "two prompts": ("completions", {"prompt": ["Once upon a time", "1, 2, 3,"]}),
    "two prompts of two completions": ("completions", {"prompt": ["Once upon a time", "1, 2, 3,"], "n": 2}),
    "a completion of tokens": ("completions", {"prompt": [6403, 1980, 253, 655]}),
}


def ask_twice(service: Service, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The answer, which must be valid and the same in both ways."""
    said = {"messages": ASKED} if kind == "chat" else {"prompt": "Once upon a time"}
    body = {"model": MODEL, **said, "temperature": 0, "max_tokens": 24, **fields}
    reply = service.post(PATHS[kind], body)
    assert reply.status == 200, reply.body
    whole = without_ids(assert_valid(f"{SCHEMAS[kind]}Response", reply.json))
    with service.send("POST", PATHS[kind], {**body, "stream": True, "stream_options": {"include_usage": True}}) as sent:
        data = sent.read()
        assert sent.status == 200, data
    if len(whole["choices"]) == 1:
        chunks = assert_valid_stream("chat" if kind == "chat" else "completions", data, usage=True)
    else:
        *events, done = read_sse(data)
        assert done == "[DONE]"
        chunks = [assert_valid(f"{SCHEMAS[kind]}StreamResponse", json.loads(event)) for event in events]
    assert folded(kind, chunks) == whole
    return whole


def text_of(choice: dict[str, Any]) -> str:
    return choice["text"] if "text" in choice else choice["message"]["content"]


def assert_tokens_are_the_text(choice: dict[str, Any]) -> None:
    """The tokens of the log probabilities, joined, are the content: as texts and as bytes."""
    tokens = choice["logprobs"]["content"]
    content = choice["message"]["content"]
    assert "".join(token["token"] for token in tokens) == content
    assert b"".join(bytes(token["bytes"]) for token in tokens) == content.encode()


@pytest.mark.parametrize("case", CASES)
def test_the_fold_of_the_stream_is_the_whole_answer(embedded: Service, case: str) -> None:
    kind, fields = CASES[case]
    answer = ask_twice(embedded, kind, fields)
    assert len(answer["choices"]) == fields.get("n", 1) * (len(fields["prompt"]) if "two prompts" in case else 1)
    for choice in answer["choices"]:
        if kind == "chat" and fields.get("logprobs") and choice["message"]["content"] is not None:
            assert_tokens_are_the_text(choice)
            wanted = fields.get("top_logprobs", 0)
            assert all(len(token["top_logprobs"]) == wanted for token in choice["logprobs"]["content"])


@pytest.mark.parametrize("text", UNUSUAL, ids=ascii)
@pytest.mark.parametrize("logprobs", [False, True], ids=["plain", "logprobs"])
def test_no_character_is_broken_or_lost(embedded: Service, text: str, logprobs: bool) -> None:
    """Most of these characters are several tokens, each of which is half a character."""
    wanted = {"logprobs": True, "top_logprobs": 3} if logprobs else {}
    form = schema_format({"const": text})
    (choice,) = ask_twice(embedded, "chat", {"response_format": form, "max_tokens": 120, **wanted})["choices"]
    assert choice["finish_reason"] == "stop"
    assert json.loads(choice["message"]["content"]) == {"a": text}
    assert "\ufffd" not in choice["message"]["content"]
    if logprobs:
        assert_tokens_are_the_text(choice)


@pytest.mark.parametrize("text", UNUSUAL, ids=ascii)
def test_no_character_of_a_calls_arguments_is_broken_or_lost(embedded: Service, text: str) -> None:
    parameters = schema_format({"const": text})["json_schema"]["schema"]
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    fields = {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 150}
    (choice,) = ask_twice(embedded, "chat", fields)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"a": text}


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_character_that_the_limit_cuts_is_the_same_in_both_ways(embedded: Service, limit: int) -> None:
    form = schema_format({"const": UNUSUAL[0]})
    fields = {"response_format": form, "logprobs": True, "max_tokens": limit}
    (choice,) = ask_twice(embedded, "chat", fields)["choices"]
    assert choice["finish_reason"] == "length"
    assert '{"a":"👩‍👩‍👧‍👦"}'.startswith(choice["message"]["content"]), "half a character came out"
    assert_tokens_are_the_text(choice)


@pytest.fixture(scope="module", params=["chat", "completions"])
def known(request: pytest.FixtureRequest, embedded: Service) -> tuple[str, str]:
    """A kind of request, and the greedy text that answers it."""
    (choice,) = ask_twice(embedded, request.param, {"max_tokens": 32})["choices"]
    text = text_of(choice)
    assert len(text) > 60, "the greedy text is too short to be stopped in"
    return request.param, text


# Where the stop sequence begins in the text and how long it is, in characters: tokens have about four.
PLACES = [(1, 1), (9, 2), (10, 3), (11, 4), (14, 9), (15, 13), (22, 25), (40, 17)]


@pytest.mark.parametrize(("start", "length"), PLACES)
def test_a_stop_sequence_ends_the_text_wherever_it_cuts_tokens(
    embedded: Service, known: tuple[str, str], start: int, length: int
) -> None:
    kind, text = known
    stop = text[start : start + length]
    logprobs: dict[str, Any] = {"logprobs": True} if kind == "chat" else {}
    (choice,) = ask_twice(embedded, kind, {"max_tokens": 32, "stop": stop, **logprobs})["choices"]
    assert choice["finish_reason"] == "stop"
    assert text_of(choice) == text.partition(stop)[0]
    if kind == "chat" and text_of(choice):
        assert_tokens_are_the_text(choice)


@pytest.mark.parametrize(("start", "length"), PLACES)
def test_a_text_that_only_begins_like_a_stop_sequence_is_not_stopped(
    embedded: Service, known: tuple[str, str], start: int, length: int
) -> None:
    kind, text = known
    almost = text[start : start + length] + "\x00never"
    logprobs: dict[str, Any] = {"logprobs": True} if kind == "chat" else {}
    (choice,) = ask_twice(embedded, kind, {"max_tokens": 32, "stop": almost, **logprobs})["choices"]
    assert (text_of(choice), choice["finish_reason"]) == (text, "length")
    if kind == "chat":
        assert_tokens_are_the_text(choice)


@pytest.mark.parametrize("length", [1, 3, 8])
def test_a_text_that_the_limit_ends_within_a_stop_sequence_is_not_lost(
    embedded: Service, known: tuple[str, str], length: int
) -> None:
    kind, text = known
    (choice,) = ask_twice(embedded, kind, {"max_tokens": 32, "stop": text[-length:] + "\x00"})["choices"]
    assert (text_of(choice), choice["finish_reason"]) == (text, "length")


def test_an_answer_that_ends_by_itself_within_a_stop_sequence_is_not_lost(embedded: Service) -> None:
    form = schema_format({"const": "b"})
    (choice,) = ask_twice(embedded, "chat", {"response_format": form, "stop": ["}\n", '"}\x00']})["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a":"b"}', "stop")


@pytest.mark.parametrize("limit", [1, 3, 5, 6, 8, 10, 14])
def test_a_call_that_the_limit_cuts_shows_no_markup(embedded: Service, limit: int) -> None:
    (choice,) = ask_twice(embedded, "chat", {"tools": TOOLS, "tool_choice": "required", "max_tokens": limit})["choices"]
    assert choice["finish_reason"] == "length"
    assert not choice["message"]["content"]


@pytest.mark.parametrize("stop", ["tool_call", "name", "arguments", '"what"', "}", "\n"])
def test_a_stop_sequence_neither_breaks_a_call_nor_shows_its_markup(embedded: Service, stop: str) -> None:
    fields = {"tools": TOOLS, "tool_choice": "required", "stop": stop, "max_tokens": 60, "parallel_tool_calls": False}
    (choice,) = ask_twice(embedded, "chat", fields)["choices"]
    assert not choice["message"]["content"]
    if choice["finish_reason"] == "tool_calls":
        for call in choice["message"]["tool_calls"]:
            assert "what" in json.loads(call["function"]["arguments"]) or call["function"]["name"] == "do_nothing"


def test_a_stop_sequence_of_characters_that_are_several_tokens(embedded: Service) -> None:
    fields = {"response_format": schema_format({"const": "a👩‍👩‍👧b漢字c"}), "max_tokens": 60, "logprobs": True}
    for stop, left in [("漢", '{"a":"a👩‍👩‍👧b'), ("\u200d👧", '{"a":"a👩‍👩'), ("👩", '{"a":"a')]:
        (choice,) = ask_twice(embedded, "chat", {**fields, "stop": stop})["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (left, "stop")
        assert_tokens_are_the_text(choice)
