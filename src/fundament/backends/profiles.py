"""In what each family of server deviates from OpenAI, as data.

It knows names, values and wordings; it does not know HTTP. `body.py` makes requests by it, `refusal.py` reads errors by
it, `relay.py` and `translate.py` put answers right. docs/profiles.md says where each fact is from and how to add one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["chat", "completions", "responses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """An error of a server that is the caller's fault, known by its message only.

    Attributes:
        pattern: is searched for in the message. Groups `limit` and `length` (the context's and the prompt's tokens), if
            it has them, become OpenAI's own sentence; otherwise the server's message is kept.
        code: OpenAI's code for it.
        param: the field at fault; None for the one that holds the prompt.
    """

    pattern: re.Pattern[str]
    code: str = "context_length_exceeded"
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One family of server.

    Attributes:
        prefix: where the API begins below the server's base URL.
        own: our engine: unreachable means "starting" (503), and a broken answer is our fault (500).
        translated: its answers are rebuilt as OpenAI's; others are relayed byte for byte.
        native_tools: the model's chat template knows tools, so the engine is asked for them as the client asked.
        thinks: the model's chat template can be told whether the model shall think first.
        middle: the tokens before a beginning, before an end, and before what is between; None for a model without.
        forwards_unknown: parameters that OpenAI does not know are passed on; otherwise they are refused by name.
        honoured: the parameters it honours; None for all.
        harmless: parameters without effect on the answer, taken and not passed on.
        aliases: the server's own names for parameters.
        neutral: values with which a parameter outside `honoured`, or in `refused`, is taken all the same.
        defaults: values for parameters that the request leaves out, where the server's own differ from OpenAI's.
        always: what is sent with every request.
        refused: parameters that it would ignore in silence, or answer in another shape: refused by name. Of both kinds
            (chats, completions) or of none.
        roles: what a message's role is called there, where it differs.
        media_urls: the URLs of images that a client sends are passed on, for the server to fetch. Not where the server
            stands in the operator's own network, whose every address it could be sent to; `data:` is always passed on.
        thoughts: the key of a model's thoughts in its answers; the client's is `reasoning_content`.
        wordings: its errors that are the caller's fault; the first that is found counts.
        speaks_responses: it has a Responses API of its own, which is asked in place of a chat.
        reasons: is found in the names of models that encrypt their reasoning, so that it can be sent back.
    """

    name: str
    prefix: str = ""
    own: bool = False
    translated: bool = False
    native_tools: bool = False
    thinks: bool = False
    middle: tuple[int, int, int] | None = None
    forwards_unknown: bool = False
    honoured: Mapping[Kind, frozenset[str]] | None = None
    harmless: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    defaults: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict[Kind, Mapping[str, Any]])
    always: Mapping[str, Any] = field(default_factory=dict[str, Any])
    refused: Mapping[Kind, frozenset[str]] = field(default_factory=dict[Kind, frozenset[str]])
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    media_urls: bool = False
    thoughts: str = "reasoning_content"
    wordings: tuple[Wording, ...] = ()
    speaks_responses: bool = False
    reasons: re.Pattern[str] | None = None


# What engines take beside OpenAI's: where to connect to (vLLM, SGLang) and what code to run. For those who run an
# engine, not for those who ask it.
FOR_OPERATORS = frozenset(
    {"bootstrap_host", "bootstrap_port", "bootstrap_room", "custom_logit_processor", "kv_transfer_params"}
    | {"logits_processors"}
)

_SAMPLING = frozenset(
    {"frequency_penalty", "logit_bias", "max_tokens", "model", "n", "presence_penalty", "seed", "stop", "stream"}
    | {"stream_options", "temperature", "top_p"}
    # llama.cpp's and vLLM's, for the `extra_body` of SDKs
    | {"grammar", "min_p", "repeat_penalty", "repetition_penalty", "top_k"}
)
# OpenAI documents 1 and 1; llama.cpp's own are 0.8 and 0.95, with the 40 likeliest tokens only.
_OPENAI_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}

EMBEDDED = Profile(
    name="embedded",
    prefix="/v1",
    own=True,
    translated=True,
    honoured={
        "chat": _SAMPLING
        | {"function_call", "functions", "logprobs", "max_completion_tokens", "messages", "parallel_tool_calls"}
        | {"response_format", "tool_choice", "tools", "top_logprobs"}
        | {"chat_template_kwargs", "reasoning_effort"},
        "completions": _SAMPLING | {"best_of", "echo", "logprobs", "prompt", "suffix"},
    },
    harmless=frozenset(
        {"metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"}
        | {"service_tier", "user"}
    ),
    aliases={"max_completion_tokens": "max_tokens", "repetition_penalty": "repeat_penalty"},
    neutral={"modalities": (["text"],), "store": (False,), "verbosity": ("medium",)},
    defaults={"chat": _OPENAI_SAMPLING, "completions": {**_OPENAI_SAMPLING, "max_tokens": 16}},
    # Progress makes the engine write while it reads the prompt: only a write tells it that the client is gone
    # (llama.cpp #24496). Timings tell how many tokens each piece of text took. Penalties count the whole text, as
    # OpenAI's do, and not its last 64 tokens.
    always={
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "timings_per_token": True,
        "repeat_last_n": 32768,
    },
)

OPENAI = Profile(
    name="openai",
    speaks_responses=True,
    reasons=re.compile(r"^(o\d|codex|computer-use|gpt-([5-9]|[12]\d)(?!.*\bchat\b))"),
    media_urls=True,
    wordings=(
        Wording(
            pattern=re.compile(
                r"maximum context length is (?P<limit>\d{1,12}) tokens\. However, "
                r"your messages resulted in (?P<length>\d{1,12}) tokens"
            )
        ),
    ),
)

# What none of the three engines below reads, though it would change what the client gets.
_UNREAD = frozenset(
    {"audio", "function_call", "functions", "modalities", "moderation", "prediction", "store", "verbosity"}
    | {"web_search_options"}
)
_ASKS_FOR_NOTHING = {"best_of": (1,), "function_call": ("none",), "modalities": (["text"],), "store": (False,)}

VLLM = Profile(
    name="vllm",
    forwards_unknown=True,
    refused={"chat": _UNREAD, "completions": frozenset({"best_of"})},
    neutral=_ASKS_FOR_NOTHING,
    thoughts="reasoning",
    wordings=(
        Wording(
            pattern=re.compile(
                r"maximum context length is (?P<limit>\d{1,12}) tokens\. However, "
                r"your prompt contains (?P<length>\d{1,12}) input tokens"
            )
        ),
        Wording(pattern=re.compile(r"model's maximum context length|longer than the maximum model length")),
    ),
)

SGLANG = Profile(
    name="sglang",
    forwards_unknown=True,
    refused={"chat": _UNREAD, "completions": frozenset({"best_of", "suffix"})},
    neutral=_ASKS_FOR_NOTHING,
    roles={"developer": "system"},
    wordings=(
        Wording(
            pattern=re.compile(
                r"input \((?P<length>\d{1,12}) tokens\) is longer than the "
                r"model's context length \((?P<limit>\d{1,12}) tokens\)"
            )
        ),
        Wording(pattern=re.compile(r"model's maximum context length|tokens\) exceeds the maximum allowed length")),
    ),
)

LLAMA_SERVER = Profile(
    name="llama-server",
    forwards_unknown=True,
    refused={
        "chat": _UNREAD | {"tool_choice"},
        "completions": frozenset({"best_of", "echo", "logprobs", "suffix"}),
    },
    neutral={**_ASKS_FOR_NOTHING, "echo": (False,), "tool_choice": ("none", "auto", "required")},
    defaults={"completions": {"max_tokens": 16}},
    wordings=(
        Wording(pattern=re.compile(r"exceeds the available context size")),
        Wording(pattern=re.compile(r"^(image|audio|video) input is not supported"), code="unsupported_value"),
        Wording(pattern=re.compile(r"Unsupported tool type"), code="unsupported_value", param="tools"),
    ),
)

# It may be any of them, behind a proxy of its own; of its parameters and answers nothing is known.
GENERIC = Profile(
    name="generic",
    forwards_unknown=True,
    wordings=VLLM.wordings + SGLANG.wordings + LLAMA_SERVER.wordings,
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {profile.name: profile for profile in (EMBEDDED, OPENAI, VLLM, SGLANG, LLAMA_SERVER, GENERIC)}
)
