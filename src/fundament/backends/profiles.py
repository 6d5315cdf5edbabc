"""In what each family of server deviates from OpenAI, as data, and the request that follows from it.

It knows names and values of parameters; it does not know HTTP. Answers are put right by `relay.py` and `translate.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from fundament.backends.call import Call
from fundament.backends.tools import shaped
from fundament.errors import InvalidRequest
from fundament.protocol.chat import ChatRequest
from fundament.protocol.completions import CompletionRequest
from fundament.protocol.validation import unknown_parameter

Kind = Literal["chat", "completions"]
KNOWN: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        "chat": frozenset(ChatRequest.__struct_fields__),
        "completions": frozenset(CompletionRequest.__struct_fields__),
    }
)


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


def request_for(profile: Profile, call: Call, model: str) -> dict[str, Any]:
    """The body to send: the client's, with the upstream's `model` and what the profile wants.

    For our own engine, tools and formats of answers become a prompt and a grammar (`tools.py`).

    Raises:
        InvalidRequest: a parameter that nobody behind this model would read, by name.
    """
    body = call.body
    unknown = body.keys() - KNOWN[call.kind]
    if unknown and not profile.forwards_unknown:
        raise unknown_parameter(min(unknown))
    if profile.honoured is None:
        sent = dict(body)
    else:
        sent = dict(profile.defaults.get(call.kind, {})) | _honoured_part(profile, call)
    sent["model"] = model
    if call.stream:
        # The usage is always asked for; the client sees it only if it asked, too.
        sent["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    sent.update(profile.always)
    return sent


def _honoured_part(profile: Profile, call: Call) -> dict[str, Any]:
    honoured = (profile.honoured or {})[call.kind]
    part: dict[str, Any] = {}
    for name, value in call.body.items():
        if value is None or name in profile.harmless:
            continue
        if name in honoured:
            part[name] = value
        elif value not in profile.neutral.get(name, ()):
            raise _unsupported(name)
    options: dict[str, Any] = part.get("stream_options") or {}
    if options.get("include_obfuscation"):
        raise _unsupported("stream_options.include_obfuscation")
    if "max_completion_tokens" in part:
        part["max_tokens"] = part.pop("max_completion_tokens")
    if "seed" in part:
        part["seed"] %= 2**32 - 1  # llama.cpp's seeds have 32 bits, and the largest means "random"
    if "messages" in part:
        _refuse_what_is_not_text(part["messages"])
        part = shaped(part, native=profile.native_tools)
    return part


def _unsupported(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unsupported parameter: '{param}' is not supported with this model.", param=param, code="unsupported_parameter"
    )


def _refuse_what_is_not_text(messages: list[dict[str, Any]]) -> None:
    for position, message in enumerate(messages):
        content: str | list[dict[str, Any]] | None = message.get("content")
        for place, piece in enumerate(content if isinstance(content, list) else ()):
            if piece["type"] not in {"text", "refusal"}:
                raise InvalidRequest(
                    f"Invalid content type '{piece['type']}': this model takes text only.",
                    param=f"messages[{position}].content[{place}].type",
                    code="unsupported_value",
                )
