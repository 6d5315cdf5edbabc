"""In what each family of server deviates from OpenAI, as data.

It knows names and values of parameters; it does not know HTTP. `body.py` makes requests by it, `relay.py` and
`translate.py` put answers right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["chat", "completions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One family of server.

    Attributes:
        prefix: where the API begins below the server's base URL.
        own: our engine: unreachable means "starting" (503), and a broken answer is our fault (500).
        translated: its answers are rebuilt as OpenAI's; others are relayed byte for byte.
        native_tools: the model's chat template knows tools, so the engine is asked for them as the client asked.
        forwards_unknown: parameters that OpenAI does not know are passed on; otherwise they are refused by name.
        honoured: the parameters it honours; None for all.
        harmless: parameters without effect on the answer, taken and not passed on.
        neutral: values with which a parameter outside `honoured` asks for nothing.
        defaults: values for parameters that the request leaves out, where the server's own differ from OpenAI's.
        always: what is sent with every request.
    """

    name: str
    prefix: str = ""
    own: bool = False
    translated: bool = False
    native_tools: bool = False
    forwards_unknown: bool = False
    honoured: Mapping[Kind, frozenset[str]] | None = None
    harmless: frozenset[str] = frozenset()
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    defaults: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict[Kind, Mapping[str, Any]])
    always: Mapping[str, Any] = field(default_factory=dict[str, Any])


_SAMPLING = frozenset(
    {"frequency_penalty", "logit_bias", "max_tokens", "model", "n", "presence_penalty", "seed", "stop", "stream"}
    | {"stream_options", "temperature", "top_p"}
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
        | {"response_format", "tool_choice", "tools", "top_logprobs"},
        "completions": _SAMPLING | {"prompt"},
    },
    harmless=frozenset(
        {"metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"}
        | {"service_tier", "user"}
    ),
    neutral={
        "best_of": (1,),
        "echo": (False,),
        "modalities": (["text"],),
        "store": (False,),
    },
    defaults={"chat": _OPENAI_SAMPLING, "completions": {**_OPENAI_SAMPLING, "max_tokens": 16}},
    # Progress makes the engine write while it reads the prompt: only a write tells it that the client is gone
    # (llama.cpp #24496). Penalties count the whole text, as OpenAI's do, and not its last 64 tokens.
    always={"stream": True, "stream_options": {"include_usage": True}, "return_progress": True, "repeat_last_n": 32768},
)

EMBEDDED_WITH_TOOLS = replace(EMBEDDED, name="embedded-with-tools", native_tools=True)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            EMBEDDED,
            EMBEDDED_WITH_TOOLS,
            Profile(name="openai"),
            Profile(name="vllm", forwards_unknown=True),
            Profile(name="sglang", forwards_unknown=True),
            Profile(name="llama-server", forwards_unknown=True),
            Profile(name="generic", forwards_unknown=True),
        )
    }
)
