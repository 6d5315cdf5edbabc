"""What our own engine needs beside a body: grammars compiled, prompts to echo, and readers that put its chunks right.

It joins `body.py`, `grammar.py` and the readers of `text.py` and `choices.py`. It does no I/O.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from llguidance import LLMatcher

from fundament.backends.body import request_for
from fundament.backends.call import Call
from fundament.backends.choices import ChoiceReader, EngineChoice
from fundament.backends.grammar import Held, compiled
from fundament.backends.profiles import Profile
from fundament.backends.stops import StopReader, text_of
from fundament.backends.text import TextReader
from fundament.backends.tools import is_forced, written_calls
from fundament.backends.translate import Reader
from fundament.errors import InvalidRequest

_MAY_COMPILE = ("tools", "functions", "response_format", "grammar")


async def engine_request(profile: Profile, call: Call, model: str) -> tuple[dict[str, Any], LLMatcher | None]:
    """The body for the engine, and the grammar in it, compiled: in a thread, for that can take a second.

    Raises:
        InvalidRequest: the request asks for what the engine cannot do, by name.
    """
    if any(call.body.get(name) is not None for name in _MAY_COMPILE):
        return await asyncio.to_thread(_request_and_grammar, profile, call, model)
    return request_for(profile, call, model), None


def _request_and_grammar(profile: Profile, call: Call, model: str) -> tuple[dict[str, Any], LLMatcher | None]:
    body = request_for(profile, call, model)
    return body, compiled(body["grammar"]) if "grammar" in body else None


def readers_of(
    profile: Profile, call: Call, grammar: LLMatcher | None, echo: Sequence[str]
) -> Callable[[int], Sequence[Reader]] | None:
    """What the chunks of a choice go through, by the choice's index; None if they need nothing.

    Args:
        echo: the prompts that come before their answers, if any do.
    """
    body = call.body
    stop: str | list[str] = body.get("stop") or []
    stops = [text for text in ([stop] if isinstance(stop, str) else stop) if text]
    logprobs: int | None = body.get("logprobs") if call.kind == "completions" else None
    if call.kept < call.n and logprobs is None:
        logprobs = 0  # what the best of several are chosen by
    silent = body.get("max_tokens") == 0
    calls = written_calls(body, native=profile.native_tools) if call.kind == "chat" else None

    def of_choice(index: int) -> list[Reader]:
        chain: list[Reader] = []
        if grammar is not None:
            chain.append(HeldReader(Held(grammar), _form(call)))
        if call.kind == "chat" and body.get("logprobs"):
            chain.append(LikeliestReader(body.get("top_logprobs") or 0))
        if calls is not None:
            chain.append(ChoiceReader(legacy=calls == "functions", forced=is_forced(body)))
        if stops:
            chain.append(StopReader(stops))
        if echo or silent or logprobs is not None:
            text = echo[index // call.n] if echo else ""
            chain.append(TextReader(echo=text, logprobs=logprobs, silent=silent))
        return chain

    return of_choice if of_choice(0) else None


def _form(call: Call) -> str:
    """The parameter that a grammar comes from."""
    return next(name for name in ("grammar", "tools", "functions", "response_format") if call.body.get(name))


class HeldReader:
    """Ends an answer that strays from its grammar: the engine drops one that grows too complex, and goes on.

    One that the model has no tokens for ends before it is complete; some lack bytes of characters not yet assigned.

    Args:
        param: the request's parameter that the grammar was made of.
    """

    def __init__(self, held: Held, param: str) -> None:
        self._held = held
        self._param = param

    def read(self, choice: EngineChoice) -> list[EngineChoice]:
        text = text_of(choice)
        strayed = bool(text) and not self._held.follow(text)
        if strayed or (choice.finish_reason == "stop" and not self._held.may_end):
            raise InvalidRequest(
                f"The form that '{self._param}' asks for became too complex for the model's engine, or has a character "
                "for which the model has no tokens: the answer could not be held to it. Shorter repetitions in "
                "patterns and fewer optional properties help.",
                param=self._param,
                code="form_too_complex",
            )
        return [choice]


class LikeliestReader:
    """Cuts the likeliest tokens beside each token to as many as were asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def read(self, choice: EngineChoice) -> list[EngineChoice]:
        for token in (choice.logprobs and choice.logprobs.content) or ():
            token.top_logprobs = token.top_logprobs[: self._count]
        return [choice]
