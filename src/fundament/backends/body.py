"""The body that a server gets, made of the client's and of the server's profile: nothing is dropped in silence.

It knows which parameters OpenAI has; what a family of server honours is data of `profiles.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fundament.backends.call import Call
from fundament.backends.grammar import own_grammar
from fundament.backends.profiles import FOR_OPERATORS, Kind, Profile
from fundament.backends.text import text_request
from fundament.backends.tools import shaped
from fundament.errors import InvalidRequest
from fundament.protocol.chat import EXTENSIONS, ChatRequest
from fundament.protocol.completions import CompletionRequest
from fundament.protocol.validation import unknown_parameter

KNOWN: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        "chat": frozenset(ChatRequest.__struct_fields__) - EXTENSIONS,
        "completions": frozenset(CompletionRequest.__struct_fields__) - EXTENSIONS,
    }
)


def request_for(profile: Profile, call: Call, model: str) -> dict[str, Any]:
    """The body to send: the client's, with the upstream's `model` and what the profile wants.

    For our own engine, tools and formats of answers become a prompt and a grammar (`tools.py`).

    Raises:
        InvalidRequest: a parameter that nobody behind this model would read, by name.
    """
    body = call.body
    if call.kind == "responses":  # made for a server that speaks it, by `responses/native.py`
        return {**body, "model": model}
    unknown = body.keys() - KNOWN[call.kind]
    if unknown and not profile.forwards_unknown:
        unknown -= (profile.honoured or {}).get(call.kind, frozenset())
        if unknown:
            raise unknown_parameter(min(unknown))
    if unknown and not FOR_OPERATORS.isdisjoint(unknown):
        raise _unsupported(min(FOR_OPERATORS & unknown))
    if profile.honoured is None:
        sent = _relayed_part(profile, call)
    else:
        sent = dict(profile.defaults.get(call.kind, {})) | _honoured_part(profile, call)
    sent["model"] = model
    if call.stream:
        # The usage is always asked for; the client sees it only if it asked, too.
        sent["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    sent.update(profile.always)
    return sent


def _relayed_part(profile: Profile, call: Call) -> dict[str, Any]:
    part = dict(call.body)
    if None in part.values():  # the same as left out, but some servers refuse it
        part = {name: value for name, value in part.items() if value is not None or name not in KNOWN[call.kind]}
    if profile.refused and not profile.refused[call.kind].isdisjoint(part):
        for name in sorted(profile.refused[call.kind] & part.keys()):
            if part[name] not in profile.neutral.get(name, ()):
                raise _unsupported(name)
    if not profile.media_urls and call.kind == "chat":
        _refuse_urls(call.body["messages"])
    if profile.roles and call.kind == "chat":
        messages: list[dict[str, Any]] = call.body["messages"]
        part["messages"] = [_renamed_role(message, profile.roles) for message in messages]
    if profile.defaults:
        part = {**profile.defaults.get(call.kind, {}), **part}
    return part


def _renamed_role(message: dict[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    return {**message, "role": roles[message["role"]]} if message["role"] in roles else message


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
    for name, other in profile.aliases.items():
        if name in part:
            part[other] = part.pop(name)
    if "grammar" in part:
        part["grammar"] = own_grammar(part["grammar"])
    part.pop("stop", None)  # `stops.py` ends the answer
    if "seed" in part:
        part["seed"] %= 2**32 - 1  # llama.cpp's seeds have 32 bits, and the largest means "random"
    if call.kind == "completions":
        return text_request(part, profile.middle)
    _refuse_what_is_not_text(part["messages"])
    if part.get("logprobs"):
        part["top_logprobs"] = part.get("top_logprobs") or 1  # 0 would tell nothing; `LikeliestReader` cuts the list
    return _thinking(shaped(part, native=profile.native_tools), profile)


def _thinking(part: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """Says to a template that knows it whether the model shall think; under a grammar it cannot."""
    effort = part.pop("reasoning_effort", None)
    if not profile.thinks:
        if effort not in {None, "none"}:
            raise _unsupported("reasoning_effort")
        return part
    settings: dict[str, Any] = {}
    if effort is not None:
        settings = {"enable_thinking": effort != "none", "reasoning_effort": effort}
    settings |= part.get("chat_template_kwargs") or {}
    if "grammar" in part:
        settings["enable_thinking"] = False
        part["reasoning_format"] = "none"  # what a template takes for thoughts is under the grammar, too
    return part | ({"chat_template_kwargs": settings} if settings else {})


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


def _refuse_urls(messages: list[dict[str, Any]]) -> None:
    """Lets no client send a server of the operator's network to an address of its choice."""
    for position, message in enumerate(messages):
        content: str | list[dict[str, Any]] | None = message.get("content")
        for place, piece in enumerate(content if isinstance(content, list) else ()):
            if piece["type"] == "image_url" and not piece["image_url"]["url"].startswith("data:"):
                raise InvalidRequest(
                    "This model takes images as 'data:' URLs; it does not fetch other addresses.",
                    param=f"messages[{position}].content[{place}].image_url.url",
                    code="unsupported_value",
                )
