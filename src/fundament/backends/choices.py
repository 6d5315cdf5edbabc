"""The choices of our engine's answers: as it sends them, with calls read out of their text, and put together.

It knows llama.cpp's chunks and OpenAI's messages; it does no I/O.
"""

from typing import Any

import msgspec

from fundament.backends.calls import CallReader
from fundament.protocol.usage import Usage


class Progress(msgspec.Struct):
    """How far the engine is with reading the prompt, in tokens; `cache` of them it knew."""

    total: int
    cache: int = 0


class Timings(msgspec.Struct):
    """How many tokens the engine has made for a choice. It sends one character at a time, which may be several."""

    predicted_n: int


class Token(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenChoice(Token):
    top_logprobs: list[Token] = []


class Logprobs(msgspec.Struct):
    content: list[TokenChoice] | None = None
    refusal: list[TokenChoice] | None = None


class TextLogprobs(msgspec.Struct):
    """The old shape, of completions; `text_offset` counts characters of the answer's text."""

    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] = []
    text_offset: list[int] = []

    def extend(self, more: "TextLogprobs") -> None:
        self.tokens += more.tokens
        self.token_logprobs += more.token_logprobs
        self.top_logprobs += more.top_logprobs
        self.text_offset += more.text_offset


class EngineChoice(msgspec.Struct):
    """A chunk of one choice. The engine does not send `text_logprobs`; `text.py` makes it."""

    index: int
    finish_reason: str | None = None
    delta: dict[str, Any] = {}
    text: str = ""
    logprobs: Logprobs | None = None
    text_logprobs: TextLogprobs | None = None


class EngineChunk(msgspec.Struct):
    choices: list[EngineChoice] = []
    usage: Usage | None = None
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    error: Any = None


class ChoiceReader:
    """The chunks of one choice whose text may have calls in it, with the calls as OpenAI has them."""

    def __init__(self, *, legacy: bool, forced: bool) -> None:
        self._calls = CallReader(legacy=legacy, forced=forced)
        self._reason = "function_call" if legacy else "tool_calls"
        self._role_is_due = False
        self._logprobs: list[TokenChoice] = []

    def read(self, choice: EngineChoice) -> list[EngineChoice]:
        """What `choice` completes: nothing yet, one chunk or several."""
        if "role" in choice.delta:
            self._role_is_due = True  # its content is "" or null, which the first piece tells
            return []
        if choice.logprobs is not None:
            self._logprobs += choice.logprobs.content or []
        deltas = self._calls.feed(choice.delta.get("content") or "")
        if choice.finish_reason is not None:
            deltas += self._calls.finish()
        chunks = [self._chunk(choice.index, delta) for delta in deltas]
        if self._role_is_due and (chunks or choice.finish_reason is not None):
            self._role_is_due = False
            content = None if self._calls.calls else ""
            chunks.insert(0, EngineChoice(choice.index, delta={"role": "assistant", "content": content}))
        if choice.finish_reason is not None:
            reason = self._reason if self._calls.calls and choice.finish_reason == "stop" else choice.finish_reason
            chunks.append(EngineChoice(choice.index, finish_reason=reason))
        return chunks

    def _chunk(self, index: int, delta: dict[str, Any]) -> EngineChoice:
        logprobs, self._logprobs = self._logprobs, []
        shown = Logprobs(content=logprobs) if logprobs and "content" in delta else None
        return EngineChoice(index, delta=delta, logprobs=shown)


class FoldedChoice:
    """One choice of a streamed answer, put together."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.tool_calls: list[dict[str, Any]] = []
        self.function_call: dict[str, Any] | None = None
        self.logprobs: Logprobs | None = None
        self.text_logprobs: TextLogprobs | None = None
        self.finish_reason: str | None = None

    def add(self, choice: EngineChoice) -> None:
        if choice.text or choice.delta.get("content"):
            self.text.append(choice.text or choice.delta["content"])
        if choice.delta.get("reasoning_content"):
            self.reasoning.append(choice.delta["reasoning_content"])
        for piece in choice.delta.get("tool_calls") or ():
            self._add_call(piece)
        if piece := choice.delta.get("function_call"):
            self.function_call = self.function_call or {"name": piece["name"], "arguments": ""}
            self.function_call["arguments"] += piece["arguments"]
        if choice.logprobs is not None and choice.logprobs.content:
            self.logprobs = self.logprobs or Logprobs(content=[])
            self.logprobs.content = [*(self.logprobs.content or []), *choice.logprobs.content]
        if choice.text_logprobs is not None:
            self.text_logprobs = self.text_logprobs or TextLogprobs()
            self.text_logprobs.extend(choice.text_logprobs)
        self.finish_reason = choice.finish_reason or self.finish_reason

    def _add_call(self, piece: dict[str, Any]) -> None:
        if piece["index"] == len(self.tool_calls):
            self.tool_calls.append({"id": piece["id"], "type": "function", "function": {**piece["function"]}})
        else:
            self.tool_calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]

    def message(self) -> dict[str, Any]:
        """The choice of a `chat.completion`."""
        called = bool(self.tool_calls or self.function_call)
        content = "".join(self.text)
        message: dict[str, Any] = {"role": "assistant", "content": None if called and not content else content}
        message["refusal"] = None
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        if self.function_call:
            message["function_call"] = self.function_call
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        return {
            "index": self.index,
            "message": message,
            "logprobs": self.logprobs,
            "finish_reason": self.finish_reason,
        }

    @property
    def likelihood(self) -> float:
        """The log probability of the text, per token: what `best_of` compares."""
        known = self.text_logprobs.token_logprobs if self.text_logprobs else []
        return sum(known) / len(known) if known else 0.0

    def completion(self, *, logprobs: bool) -> dict[str, Any]:
        """The choice of a `text_completion`, with its log probabilities if they were asked for."""
        shown = self.text_logprobs if logprobs else None
        return {"text": "".join(self.text), "index": self.index, "logprobs": shown, "finish_reason": self.finish_reason}


def best(choices: list[FoldedChoice], *, of: int, keep: int) -> list[FoldedChoice]:
    """The `keep` likeliest of each prompt's choices, of which there are `of`, in the order of prompts."""
    kept: list[FoldedChoice] = []
    for start in range(0, len(choices), of):
        kept += sorted(choices[start : start + of], key=lambda choice: -choice.likelihood)[:keep]
    for index, choice in enumerate(kept):
        choice.index = index
    return kept
