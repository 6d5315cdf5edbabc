"""The body that a server gets, made of the client's and of the server's profile: nothing is dropped in silence.

It knows which parameters OpenAI has; what a family of server honours is data of `profiles.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fundament.backends.call import Call
from fundament.backends.profiles import Kind, Profile
from fundament.backends.tools import shaped
from fundament.errors import InvalidRequest
from fundament.protocol.chat import ChatRequest
from fundament.protocol.completions import CompletionRequest
from fundament.protocol.validation import unknown_parameter

KNOWN: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        "chat": frozenset(ChatRequest.__struct_fields__),
        "completions": frozenset(CompletionRequest.__struct_fields__),
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
