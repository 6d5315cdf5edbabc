"""What becomes of each parameter of `POST /responses` on its way through a chat, as data.

It knows names and reasons; `translation.py` acts by it, and what the model's own server honours of the chat is known by
`backends/profiles.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of one parameter.

    Attributes:
        word: `passed` to the chat as it is; `translated` into the chat's parameters; `served` by the Responses API
            itself; `no effect`, because nothing that the client can see depends on it; `refused` by name.
        chat: the chat's name for it, if it is passed.
        why: the reason, where the word does not say it.
        taken: values of a refused one that ask for nothing.
        native: what a server that speaks Responses itself gets of it: it is `passed`; `served` here, as for a chat;
            or has `no effect`.
    """

    word: Literal["passed", "translated", "served", "no effect", "refused"]
    chat: str = ""
    why: str = ""
    taken: tuple[Any, ...] = ()
    native: Literal["passed", "served", "no effect"] = "passed"


_TRANSLATED = Treatment("translated")
_SERVED = Treatment("served", native="served")

TREATMENTS: Mapping[str, Treatment] = MappingProxyType(
    {
        "background": _SERVED,
        "client_metadata": Treatment(
            "no effect", why="what OpenAI's own agents tell about themselves", native="no effect"
        ),
        "context_management": Treatment("refused", why="a conversation is compacted by `POST /responses/compact`"),
        "conversation": _SERVED,
        "frequency_penalty": Treatment("passed", "frequency_penalty"),
        "include": _TRANSLATED,
        "input": _TRANSLATED,
        "instructions": _TRANSLATED,
        "max_output_tokens": Treatment("passed", "max_completion_tokens"),
        "max_tool_calls": Treatment("served"),
        "metadata": _SERVED,
        "model": Treatment("passed", "model"),
        "moderation": Treatment("refused", why="there is no moderation"),
        "parallel_tool_calls": Treatment("translated", why="passed with tools; without them it says nothing"),
        "presence_penalty": Treatment("passed", "presence_penalty"),
        "previous_response_id": _SERVED,
        "prompt": Treatment("refused", why="there are no stored prompts"),
        "prompt_cache_key": Treatment("passed", "prompt_cache_key"),
        "prompt_cache_options": Treatment("passed", "prompt_cache_options"),
        "prompt_cache_retention": Treatment("passed", "prompt_cache_retention"),
        "reasoning": _TRANSLATED,
        "reasoning.context": Treatment(
            "refused", why="all reasoning that was sent is given", taken=("auto", "all_turns")
        ),
        "reasoning.effort": Treatment("passed", "reasoning_effort"),
        "reasoning.generate_summary": Treatment("no effect", why="reasoning is shown whole"),
        "reasoning.mode": Treatment("refused", why="a chat has no modes", taken=("standard",)),
        "reasoning.summary": Treatment("no effect", why="reasoning is shown whole"),
        "safety_identifier": Treatment("passed", "safety_identifier"),
        "service_tier": Treatment("passed", "service_tier"),
        "store": _SERVED,
        "stream": _SERVED,
        "stream_options": _SERVED,
        "temperature": Treatment("passed", "temperature"),
        "text": _TRANSLATED,
        "text.format": _TRANSLATED,
        "text.verbosity": Treatment("passed", "verbosity"),
        "tool_choice": _TRANSLATED,
        "tools": _TRANSLATED,
        "top_logprobs": _TRANSLATED,
        "top_p": Treatment("passed", "top_p"),
        "truncation": Treatment("served"),
        "user": Treatment("passed", "user"),
    }
)
