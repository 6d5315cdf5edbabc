"""What is sent to a server, field by field: honoured, taken without effect, or refused by name. Never just dropped."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from backends.played import call
from fundament.backends.body import KNOWN, request_for
from fundament.backends.profiles import EMBEDDED, FOR_OPERATORS, PROFILES, Profile
from fundament.errors import InvalidRequest
from fundament.protocol import chat, completions

Kind = Literal["chat", "completions"]
MESSAGES = [{"role": "user", "content": "x"}]
# One valid value of each field that asks for something.
CHAT_VALUES: dict[str, Any] = {
    "model": "asked",
    "messages": MESSAGES,
    "audio": {"voice": "x", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "f"},
    "functions": [{"name": "f", "parameters": {"type": "object"}}],
    "logit_bias": {"1": 1},
    "logprobs": True,
    "max_completion_tokens": 5,
    "max_tokens": 5,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "x"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "x",
    "prompt_cache_options": {"a": "b"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "x",
    "seed": 7,
    "service_tier": "flex",
    "stop": ["x"],
    "store": True,
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "tool_choice": "required",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": "x",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}
COMPLETION_VALUES: dict[str, Any] = {
    "model": "asked",
    "prompt": "x",
    "best_of": 2,
    "echo": True,
    "frequency_penalty": 0.5,
    "logit_bias": {"1": 1},
    "logprobs": 2,
    "max_tokens": 5,
    "n": 2,
    "presence_penalty": 0.5,
    "seed": 7,
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "suffix": "x",
    "temperature": 0.5,
    "top_p": 0.5,
    "user": "x",
}
VALUES: dict[str, dict[str, Any]] = {"chat": CHAT_VALUES, "completions": COMPLETION_VALUES}
FIELDS = [(kind, name) for kind in VALUES for name in VALUES[kind]]
BASE: dict[str, dict[str, Any]] = {
    "chat": {"model": "asked", "messages": MESSAGES},
    "completions": {"model": "asked", "prompt": "x"},
}
# Fields that the engine is sent under a name or with a value of its own.
OWN_WAY: dict[str, dict[str, Any]] = {
    "model": {"model": "engine"},
    "max_completion_tokens": {"max_tokens": 5},
    "stream": {"stream": True},
    "stream_options": {"stream_options": {"include_usage": True}},
}

# Fields that become another request for the engine, and those that mean something beside others only.
SHAPED = {"function_call", "functions", "parallel_tool_calls", "response_format", "tool_choice", "tools"}
# Fields whose way has a test of its own, here or in test_text.py.
ELSEWHERE = {"best_of", "echo", "reasoning_effort", "stop", "suffix"}
COMPANIONS = {
    "function_call": {"functions": CHAT_VALUES["functions"]},
    "parallel_tool_calls": {"tools": CHAT_VALUES["tools"]},
    "tool_choice": {"tools": CHAT_VALUES["tools"]},
}
OTHERS = sorted(name for name, profile in PROFILES.items() if not profile.own)


def sent(profile: Profile, kind: str, **fields: Any) -> dict[str, Any]:
    body = BASE[kind] | fields
    return request_for(profile, call(kind=kind, body=body, stream=bool(body.get("stream"))), "engine")


def test_the_tables_of_this_test_have_every_field_of_both_requests() -> None:
    assert set(CHAT_VALUES) == set(chat.ChatRequest.__struct_fields__) - chat.EXTENSIONS == KNOWN["chat"]
    fields = set(completions.CompletionRequest.__struct_fields__) - chat.EXTENSIONS
    assert set(COMPLETION_VALUES) == fields == KNOWN["completions"]
    chat.validate({name: CHAT_VALUES[name] for name in CHAT_VALUES if name != "max_tokens"})
    completions.validate(COMPLETION_VALUES)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_our_engine_honours_a_field_or_it_is_harmless_or_refused_by_name(kind: Kind, name: str) -> None:
    value, others = VALUES[kind][name], COMPANIONS.get(name, {})
    assert EMBEDDED.honoured is not None
    if name in ELSEWHERE:
        return
    if name in SHAPED and name in EMBEDDED.honoured[kind]:
        assert sent(EMBEDDED, kind, **others, **{name: value}) != sent(EMBEDDED, kind, **others)
    elif name in EMBEDDED.honoured[kind]:
        expected = OWN_WAY.get(name, {name: value})
        body = sent(EMBEDDED, kind, **{name: value})
        assert {key: body[key] for key in expected} == expected
    elif name in EMBEDDED.harmless:
        assert sent(EMBEDDED, kind, **{name: value}) == sent(EMBEDDED, kind)
    else:
        with pytest.raises(InvalidRequest) as caught:
            sent(EMBEDDED, kind, **others, **{name: value})
        assert caught.value.param in {name, *others}
        param = caught.value.param
        assert caught.value.message == f"Unsupported parameter: '{param}' is not supported with this model."
        assert caught.value.code == "unsupported_parameter"


# The same as a list, so that nothing moves from "refused" to "dropped" unnoticed.
def test_what_our_engine_takes_without_effect_is_known_to_have_none() -> None:
    assert EMBEDDED.harmless == {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("completions", "echo", False),
        ("completions", "suffix", ""),
        ("chat", "reasoning_effort", "none"),
        ("chat", "verbosity", "medium"),
        ("chat", "modalities", ["text"]),
        ("chat", "parallel_tool_calls", True),
        ("chat", "store", False),
        ("chat", "tool_choice", "none"),
        ("chat", "tools", []),
        ("chat", "reasoning_effort", None),
        ("completions", "suffix", None),
        ("chat", "temperature", None),
    ],
)
def test_a_value_that_asks_for_nothing_changes_nothing(kind: Kind, name: str, value: object) -> None:
    assert sent(EMBEDDED, kind, **{name: value}) == sent(EMBEDDED, kind)


def test_our_engine_is_asked_as_openai_documents_its_defaults() -> None:
    common = {
        "model": "engine",
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "timings_per_token": True,
        "repeat_last_n": 32768,
    }
    assert sent(EMBEDDED, "chat") == common | {"messages": MESSAGES}
    assert sent(EMBEDDED, "completions") == common | {"prompt": "x", "max_tokens": 16}
    assert sent(EMBEDDED, "completions", max_tokens=5, temperature=0)["max_tokens"] == 5
    assert sent(EMBEDDED, "completions", temperature=0)["temperature"] == 0


@pytest.mark.parametrize("name", ["mirostat", "repeat_last_n", "return_progress", "cache_prompt", "n_predict", "foo"])
def test_what_openai_does_not_know_is_refused_where_nobody_may_read_it(name: str) -> None:
    for profile in (EMBEDDED, PROFILES["openai"]):
        with pytest.raises(InvalidRequest) as caught:
            sent(profile, "chat", **{name: None})
        assert caught.value.message == f"Unrecognized request argument supplied: {name}"
        assert (caught.value.param, caught.value.code) == (name, "unknown_parameter")


EXTENSIONS: dict[str, Any] = {
    "grammar": 'root ::= "yes" | "no"',
    "min_p": 0.1,
    "repeat_penalty": 1.1,
    "repetition_penalty": 1.2,
    "top_k": 5,
}


@pytest.mark.parametrize("kind", ["chat", "completions"])
@pytest.mark.parametrize("name", EXTENSIONS)
def test_our_engine_takes_what_llama_cpp_and_vllm_take_besides(kind: Kind, name: str) -> None:
    own = {"grammar": '%llguidance {}\n\nstart: "yes"\n     | "no"\n\n', "repetition_penalty": 1.2}
    engines = {"repetition_penalty": "repeat_penalty"}.get(name, name)
    assert sent(EMBEDDED, kind, **{name: EXTENSIONS[name]})[engines] == own.get(name, EXTENSIONS[name])
    with pytest.raises(InvalidRequest) as caught:
        sent(PROFILES["openai"], kind, **{name: EXTENSIONS[name]})
    assert (caught.value.param, caught.value.code) == (name, "unknown_parameter")


THINKER = replace(EMBEDDED, thinks=True)


@pytest.mark.parametrize(("effort", "thinks"), [("none", False), ("low", True), ("high", True)])
def test_a_template_that_can_be_told_is_told_whether_to_think(effort: str, thinks: bool) -> None:
    told = sent(THINKER, "chat", reasoning_effort=effort)["chat_template_kwargs"]
    assert told == {"enable_thinking": thinks, "reasoning_effort": effort}
    own = sent(THINKER, "chat", reasoning_effort=effort, chat_template_kwargs={"enable_thinking": True, "a": 1})
    assert own["chat_template_kwargs"] == told | {"enable_thinking": True, "a": 1}
    assert "reasoning_effort" not in own
    assert "chat_template_kwargs" not in sent(THINKER, "chat")


def test_under_a_grammar_nothing_is_thought_and_nothing_taken_for_thoughts() -> None:
    body = sent(THINKER, "chat", reasoning_effort="high", response_format={"type": "json_object"})
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    assert body["reasoning_format"] == "none"


@pytest.mark.parametrize("name", ["tools", "functions", "response_format"])
def test_a_grammar_and_another_form_exclude_each_other(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(EMBEDDED, "chat", grammar='root ::= "x"', **{name: CHAT_VALUES[name]})
    assert (caught.value.param, caught.value.code) == ("grammar", "invalid_parameter_combination")


def test_our_engine_is_not_told_where_to_stop() -> None:
    # It keeps back for ever what only began like a stop sequence at its limit, and cuts calls: `stops.py` does it.
    for kind in ("chat", "completions"):
        assert "stop" not in sent(EMBEDDED, kind, stop=["x"])


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "openai"])
def test_what_openai_does_not_know_reaches_servers_that_may(name: str) -> None:
    assert sent(PROFILES[name], "chat", top_k=5)["top_k"] == 5


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_other_servers_are_sent_all_that_the_client_said_and_they_read(name: str, kind: Kind) -> None:
    profile = PROFILES[name]
    said = {field: VALUES[kind][field] for field in VALUES[kind].keys() - profile.refused.get(kind, set())}
    assert sent(profile, kind, **said) == said | {"model": "engine"}


# The same as a list, so that nothing becomes silence, or a refusal, unnoticed. Sources: docs/profiles.md.
UNREAD = {"audio", "function_call", "functions", "modalities", "moderation", "prediction", "store", "verbosity"} | {
    "web_search_options"
}
REFUSED: dict[str, dict[str, set[str]]] = {
    "openai": {},
    "vllm": {"chat": UNREAD, "completions": {"best_of"}},
    "sglang": {"chat": UNREAD, "completions": {"best_of", "suffix"}},
    "llama-server": {
        "chat": UNREAD | {"tool_choice"},
        "completions": {"best_of", "echo", "logprobs", "suffix"},
    },
    "generic": {},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_what_a_server_would_ignore_in_silence_is_refused_by_name(name: str, kind: Kind, field: str) -> None:
    value = {"type": "function", "function": {"name": "f"}} if field == "tool_choice" else VALUES[kind][field]
    if field not in REFUSED[name].get(kind, set()):
        assert field in sent(PROFILES[name], kind, **{field: value})
        return
    with pytest.raises(InvalidRequest) as caught:
        sent(PROFILES[name], kind, **{field: value})
    assert (caught.value.param, caught.value.code) == (field, "unsupported_parameter")


@pytest.mark.parametrize(
    ("name", "kind", "field", "value"),
    [
        *((name, "completions", "best_of", 1) for name in ("vllm", "sglang", "llama-server")),
        *((name, "chat", "store", False) for name in ("vllm", "sglang", "llama-server")),
        *((name, "chat", "modalities", ["text"]) for name in ("vllm", "sglang", "llama-server")),
        *((name, "chat", "function_call", "none") for name in ("vllm", "sglang", "llama-server")),
        *(("llama-server", "chat", "tool_choice", value) for value in ("none", "auto", "required")),
        ("llama-server", "completions", "echo", False),
    ],
)
def test_a_value_that_asks_a_server_for_nothing_is_taken(name: str, kind: Kind, field: str, value: object) -> None:
    assert sent(PROFILES[name], kind, **{field: value})[field] == value


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("kind", "field"), [field for field in FIELDS if field[1] not in {"model", "messages", "prompt"}]
)
def test_a_server_never_sees_a_null_of_openais_parameters(name: str, kind: Kind, field: str) -> None:
    assert sent(PROFILES[name], kind, **{field: None}) == sent(PROFILES[name], kind)


def test_a_null_that_openai_does_not_know_is_the_servers_to_read() -> None:
    assert sent(PROFILES["vllm"], "chat", top_k=None, n=None)["top_k"] is None


@pytest.mark.parametrize("name", OTHERS)
def test_the_developer_is_the_system_where_a_server_would_lose_the_message(name: str) -> None:
    messages = [{"role": "developer", "content": "x", "name": "y"}, *MESSAGES, {"role": "system", "content": "z"}]
    renamed = [{"role": "system", "content": "x", "name": "y"}, *messages[1:]]
    assert sent(PROFILES[name], "chat", messages=messages)["messages"] == (renamed if name == "sglang" else messages)
    assert messages[0]["role"] == "developer"


@pytest.mark.parametrize("name", OTHERS)
def test_a_completion_without_a_limit_has_openais_where_the_servers_own_is_none(name: str) -> None:
    assert sent(PROFILES[name], "completions").get("max_tokens") == (16 if name == "llama-server" else None)
    assert sent(PROFILES[name], "completions", max_tokens=5)["max_tokens"] == 5
    assert "max_tokens" not in sent(PROFILES[name], "chat")


def test_the_usage_of_a_stream_is_always_asked_for_and_the_clients_body_stays_its_own() -> None:
    body = {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}}
    assert sent(PROFILES["openai"], "chat", **body)["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }
    assert body["stream_options"] == {"include_usage": False, "include_obfuscation": False}
    assert "stream_options" not in sent(PROFILES["openai"], "chat")
    assert sent(PROFILES["openai"], "chat", stream=True)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(("seed", "expected"), [(0, 0), (2**32 - 2, 2**32 - 2), (2**32 - 1, 0), (-1, 2**32 - 2)])
def test_a_seed_of_any_size_is_one_of_the_engines_and_never_the_one_for_random(seed: int, expected: int) -> None:
    assert sent(EMBEDDED, "chat", seed=seed)["seed"] == expected
    assert 0 <= sent(EMBEDDED, "chat", seed=2**70 + seed)["seed"] < 2**32 - 1


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_content_that_the_engine_cannot_take_is_refused_with_its_place(kind: str) -> None:
    messages = [*MESSAGES, {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind}]}]
    with pytest.raises(InvalidRequest) as caught:
        sent(EMBEDDED, "chat", messages=messages)
    assert caught.value.param == "messages[1].content[1].type"
    assert caught.value.code == "unsupported_value"
    assert sent(PROFILES["openai"], "chat", messages=messages)["messages"] == messages


def seeing(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "openai"])
def test_a_server_of_the_operators_network_is_sent_to_no_address_of_a_clients_choice(name: str) -> None:
    for url in ("http://169.254.169.254/latest", "https://x.example/y.png", "file:///etc/passwd", "DATA:x", ""):
        with pytest.raises(InvalidRequest) as caught:
            sent(PROFILES[name], "chat", messages=[*MESSAGES, *seeing(url)])
        assert caught.value.param == "messages[1].content[0].image_url.url"
        for other in (PROFILES["openai"], replace(PROFILES[name], media_urls=True)):
            assert sent(other, "chat", messages=seeing(url))["messages"] == seeing(url)
    shown = seeing("data:image/png;base64,AAAA")
    assert sent(PROFILES[name], "chat", messages=shown)["messages"] == shown


@pytest.mark.parametrize("field", sorted(FOR_OPERATORS))
def test_what_only_an_operator_may_say_to_an_engine_is_refused_by_name(field: str) -> None:
    for name, kind in ((name, kind) for name in OTHERS for kind in VALUES):
        with pytest.raises(InvalidRequest) as caught:
            sent(PROFILES[name], kind, top_k=1, **{field: "x"})
        assert caught.value.param in {field, "top_k"}
        assert caught.value.param == field or name == "openai"
