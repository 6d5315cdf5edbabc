"""docs/parameters.md says of every parameter what becomes of it, and it is true."""

import json
from typing import Any

import pytest

from fundament.backends.profiles import PROFILES
from fundament.protocol import chat
from parameter_table import ENDPOINTS, PAGE, Change, Row, changes_by_profiles, extensions, parameters
from schema_differences import Document
from scripted_answers import chat_answer, completion_answer
from scripted_upstream import ScriptedUpstream
from service import Service
from specification import SPECIFICATION

MODEL = "SmolLM2-135M-Instruct"
PATHS = {"chat": "/v2/chat/completions", "completions": "/v2/completions"}
SCHEMAS = {"chat": "CreateChatCompletionRequest", "completions": "CreateCompletionRequest"}

FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}], "max_tokens": 4}
FUNCTIONS = {"functions": [FUNCTION], "max_tokens": 4}

# A value that asks for something, and what it needs beside it. The rest of the request is `base()`.
ASKING: dict[str, dict[str, dict[str, Any]]] = {
    "chat": {
        "audio": {"audio": {"voice": "alloy", "format": "wav"}},
        "frequency_penalty": {"frequency_penalty": 0.5},
        "function_call": {"function_call": {"name": "look"}, **FUNCTIONS},
        "functions": FUNCTIONS,
        "logit_bias": {"logit_bias": {"28": -100}},
        "logprobs": {"logprobs": True},
        "max_completion_tokens": {"max_completion_tokens": 2, "max_tokens": None},
        "max_tokens": {"max_tokens": 3},
        "messages": {"messages": [{"role": "user", "content": "Hello"}]},
        "metadata": {"metadata": {"project": "a"}},
        "modalities": {"modalities": ["text", "audio"]},
        "model": {},
        "moderation": {"moderation": {"model": "omni-moderation-latest"}},
        "n": {"n": 2},
        "parallel_tool_calls": {"parallel_tool_calls": False, **TOOLS},
        "prediction": {"prediction": {"type": "content", "content": "Hello"}},
        "presence_penalty": {"presence_penalty": 0.5},
        "prompt_cache_key": {"prompt_cache_key": "a"},
        "prompt_cache_options": {"prompt_cache_options": {"ttl": "30m"}},
        "prompt_cache_retention": {"prompt_cache_retention": "24h"},
        "reasoning_effort": {"reasoning_effort": "low"},
        "response_format": {"response_format": {"type": "json_object"}},
        "safety_identifier": {"safety_identifier": "a"},
        "seed": {"seed": 7},
        "service_tier": {"service_tier": "default"},
        "stop": {"stop": ["!"]},
        "store": {"store": True},
        "stream": {"stream": True},
        "stream_options": {"stream_options": {"include_usage": True}, "stream": True},
        "temperature": {"temperature": 0.5},
        "tool_choice": {"tool_choice": "required", **TOOLS},
        "tools": TOOLS,
        "top_logprobs": {"top_logprobs": 2, "logprobs": True},
        "top_p": {"top_p": 0.5},
        "user": {"user": "a"},
        "verbosity": {"verbosity": "low"},
        "web_search_options": {"web_search_options": {}},
    },
    "completions": {
        "best_of": {"best_of": 2},
        "echo": {"echo": True},
        "frequency_penalty": {"frequency_penalty": 0.5},
        "logit_bias": {"logit_bias": {"28": -100}},
        "logprobs": {"logprobs": 2},
        "max_tokens": {"max_tokens": 3},
        "model": {},
        "n": {"n": 2},
        "presence_penalty": {"presence_penalty": 0.5},
        "prompt": {"prompt": "Hello"},
        "seed": {"seed": 7},
        "stop": {"stop": ["!"]},
        "stream": {"stream": True},
        "stream_options": {"stream_options": {"include_usage": True}, "stream": True},
        "suffix": {"suffix": "!"},
        "temperature": {"temperature": 0.5},
        "top_p": {"top_p": 0.5},
        "user": {"user": "a"},
    },
}
ROWS = parameters()


def base(endpoint: str, model: str) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": "Hi"}]} if endpoint == "chat" else {"prompt": "Hi"}
    return {"model": model, "max_tokens": 2, **said}


def name_of(row: Row) -> str:
    return f"{row.endpoint}-{row.name}"


@pytest.mark.parametrize("endpoint", ENDPOINTS.values())
def test_every_parameter_of_openais_document_has_a_row(endpoint: str) -> None:
    document = Document(json.loads(SPECIFICATION.read_bytes()))
    wanted = set(document.fields(document.schema(SCHEMAS[endpoint])))
    assert sorted(wanted) == sorted(row.name for row in ROWS if row.endpoint == endpoint)


def test_the_page_is_read_as_it_is_written() -> None:
    row = "| `echo` | **refused**; taken: `false`, `[1]` | **sent** |"
    text = f"## Completions\n\n| Parameter | Embedded engine | Upstream |\n|---|---|---|\n{row}\n"
    assert parameters(text) == [Row("completions", "echo", "refused", "sent", (False, [1]))]
    with pytest.raises(AssertionError, match="without its bold word"):
        parameters(text.replace("**refused**", "refused"))


EXTENSIONS: dict[str, Any] = {
    "chat_template_kwargs": {"any": 1},
    "grammar": 'root ::= "yes" | "no"',
    "min_p": 0.1,
    "repeat_penalty": 1.1,
    "repetition_penalty": 1.1,
    "top_k": 3,
}


def test_every_parameter_that_is_not_openais_has_a_row() -> None:
    assert extensions().keys() == EXTENSIONS.keys() == chat.EXTENSIONS


@pytest.mark.parametrize("endpoint", ENDPOINTS.values())
@pytest.mark.parametrize("name", EXTENSIONS)
def test_what_is_not_openais_is_taken_where_the_page_says_so(
    embedded: Service, scripted: Service, endpoint: str, name: str
) -> None:
    reply = embedded.post(PATHS[endpoint], base(endpoint, MODEL) | {name: EXTENSIONS[name]})
    if endpoint in extensions()[name]:
        assert reply.status == 200, reply.body
    else:
        assert (reply.status, reply.error["param"], reply.error["code"]) == (400, name, "unknown_parameter")
    if endpoint == "chat":
        bought = scripted.post(PATHS[endpoint], base(endpoint, "gpt-4.1") | {name: EXTENSIONS[name]})
        assert (bought.status, bought.error["param"], bought.error["code"]) == (400, name, "unknown_parameter")


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_the_embedded_engine_does_what_the_row_says(embedded: Service, row: Row) -> None:
    reply = embedded.post(PATHS[row.endpoint], base(row.endpoint, MODEL) | ASKING[row.endpoint][row.name])
    if row.embedded in {"honoured", "emulated", "no effect"}:
        assert reply.status == 200, reply.body
        return
    assert row.embedded == "refused", f"{PAGE.name} has no such word: {row.embedded}"
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, row.name, "unsupported_parameter")
    for value in (None, *row.taken):
        taken = embedded.post(PATHS[row.endpoint], base(row.endpoint, MODEL) | {row.name: value})
        assert taken.status == 200, (value, taken.body)


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_an_upstream_gets_what_the_row_says(scripted: Service, upstream: ScriptedUpstream, row: Row) -> None:
    model = "gpt-4.1" if row.endpoint == "chat" else "generic-model"
    asked = base(row.endpoint, model) | ASKING[row.endpoint][row.name]
    upstream.default(chat_answer("Hello") if row.endpoint == "chat" else completion_answer("Hello"))
    scripted.post(PATHS[row.endpoint], asked)
    (request,) = upstream.wait_requests(1)
    if row.upstream == "passed on":
        assert request.json[row.name] == asked[row.name]
    else:
        assert row.upstream == "replaced", f"{PAGE.name} has no such word: {row.upstream}"
        expected = {"model": {"gpt-4.1": "gpt-4.1-2025-04-14", "generic-model": "org/generic-model"}[model]}
        assert request.json[row.name] == (expected | {"stream_options": {"include_usage": True}})[row.name]


def test_the_page_says_of_each_profile_what_it_changes_and_no_more() -> None:
    changes: list[Change] = []
    for profile in PROFILES.values():
        if profile.own:
            continue
        for kind, names in profile.refused.items():
            taken = profile.neutral
            changes += [Change(profile.name, kind, name, "refused", tuple(taken.get(name, ()))) for name in names]
        for kind, defaults in profile.defaults.items():
            changes += [Change(profile.name, kind, name, "set", (value,)) for name, value in defaults.items()]
        for role, theirs in profile.roles.items():
            changes.append(Change(profile.name, "chat", "messages", "changed", (role, theirs)))
    stated = changes_by_profiles()
    assert sorted(map(repr, stated)) == sorted(map(repr, changes))
