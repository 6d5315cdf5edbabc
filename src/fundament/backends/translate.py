"""Answers of our own engine (llama.cpp's server), rebuilt as OpenAI's: its chunks in, OpenAI's chunks or one body out.

It knows in what the engine's chunks deviate: `created` moves, ids and names are its own, a usage a choice, progress
events. It does no I/O but to ask for the next chunk; the answer that is not streamed is the fold of the one that is.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from fundament.backends.call import Call
from fundament.backends.choices import ChoiceReader, EngineChoice, EngineChunk, FoldedChoice
from fundament.backends.client import Response
from fundament.backends.refusal import ENGINE_BROKE
from fundament.errors import RequestError, ServerFailure, UpstreamFailure
from fundament.protocol.usage import Usage

_DONE = b"data: [DONE]\n\n"
_chunk_decoder = msgspec.json.Decoder(EngineChunk)
_encode = msgspec.json.Encoder().encode


class TranslatedAnswer:
    """The answer to `call`, rebuilt from the engine's stream.

    Args:
        fingerprint: names weights and engine; OpenAI's `system_fingerprint`.
        refused: makes the failure out of an error frame, from its bytes.
        on_close: called once, when the answer is done with.
        written_calls: the text may have calls of functions in it, which are shown in this field.
    """

    def __init__(
        self,
        call: Call,
        response: Response,
        fingerprint: str,
        refused: Callable[[bytes], RequestError],
        on_close: Callable[[], None],
        *,
        written_calls: Literal["tools", "functions"] | None = None,
    ) -> None:
        self.complete = False
        self._call = call
        self._response = response
        self._refused = refused
        self._on_close = on_close
        self._buffer = b""
        self._prompts: dict[int, int] = {}  # tokens of the prompt, a choice
        self._generated = 0  # tokens so far: the engine sends about one a chunk
        self._usages: dict[int, Usage] = {}
        self._readers: dict[int, ChoiceReader] = {}
        self._written_calls: Literal["tools", "functions"] | None = written_calls
        self._head: dict[str, Any] = {
            "id": call.id,
            "object": "chat.completion.chunk" if call.kind == "chat" else "text_completion",
            "created": call.created,
            "model": call.model,
            "system_fingerprint": fingerprint,
        }

    @property
    def usage(self) -> Usage:
        """The usage of all choices together, so far; the `n` choices of a prompt read it once."""
        usages = list(self._usages.values())
        read = [usage.prompt_tokens for usage in usages] or list(self._prompts.values())
        prompt_tokens = sum(read) // min(self._call.n, max(len(read), 1))
        completion_tokens = sum(usage.completion_tokens for usage in usages) if self.complete else self._generated
        details = usages[0].prompt_tokens_details if usages else None
        return Usage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens, details)

    async def read(self) -> bytes:
        while not self.complete:
            events: list[bytes] = []
            for chunk in await self._next_chunks():
                if chunk is None:
                    self.complete = True
                    events.append(self._ending())
                else:
                    events += [self._event(choice) for choice in self._choices(chunk)]
            if events:
                return b"".join(events)
        return b""

    async def whole(self) -> bytes:
        folded: dict[int, FoldedChoice] = {index: FoldedChoice(index) for index in range(self._call.choices)}
        while not self.complete:
            for chunk in await self._next_chunks():
                if chunk is None:
                    self.complete = True
                    continue
                for choice in self._choices(chunk):
                    folded.setdefault(choice.index, FoldedChoice(choice.index)).add(choice)
        chat = self._call.kind == "chat"
        choices = [folded[index].message() if chat else folded[index].completion() for index in sorted(folded)]
        kind = {"object": "chat.completion"} if chat else {}
        return _encode({**self._head, **kind, "choices": choices, "usage": self._usage_object()})

    def close(self) -> None:
        self._response.close(wanted_all=self.complete)
        self._on_close()

    async def _next_chunks(self) -> list[EngineChunk | None]:
        """The chunks that have arrived; None stands for the end of the stream."""
        try:
            data = await self._response.chunk()
        except UpstreamFailure:
            data = b""
        if not data:
            raise ServerFailure(ENGINE_BROKE, code="engine_error")
        *events, self._buffer = (self._buffer + data).split(b"\n\n")
        chunks: list[EngineChunk | None] = []
        for event in events:
            if event.startswith(b"data: [DONE]"):
                chunks.append(None)
            elif event.startswith(b"data: "):
                try:
                    chunk = _chunk_decoder.decode(event[6:])
                except (msgspec.DecodeError, UnicodeDecodeError):
                    raise ServerFailure(ENGINE_BROKE, code="engine_error") from None
                if chunk.error is not None:
                    raise self._refused(event[6:])
                chunks.append(chunk)
            elif event.startswith(b"error: "):
                raise self._refused(event[7:])
        return chunks

    def _choices(self, chunk: EngineChunk) -> list[EngineChoice]:
        """What of a chunk the client sees; its usage and progress are noted."""
        if chunk.usage is not None:
            # llama.cpp sends one usage a choice: with the choice where it generates text, alone where it chats.
            position = chunk.choices[0].index if chunk.choices else len(self._usages)
            self._usages[position] = chunk.usage
        if chunk.prompt_progress is not None:
            for choice in chunk.choices:
                self._prompts[choice.index] = chunk.prompt_progress.total
            return []
        self._generated += sum(choice.finish_reason is None and "role" not in choice.delta for choice in chunk.choices)
        for choice in chunk.choices:
            if "role" in choice.delta:
                choice.delta = {"role": "assistant", "content": ""}  # llama.cpp says null, OpenAI says "" for text
        if self._written_calls is None:
            return chunk.choices
        return [read for choice in chunk.choices for read in self._reader(choice.index).read(choice)]

    def _reader(self, index: int) -> ChoiceReader:
        if index not in self._readers:
            self._readers[index] = ChoiceReader(legacy=self._written_calls == "functions")
        return self._readers[index]

    def _event(self, choice: EngineChoice) -> bytes:
        shaped = _chat_delta(choice) if self._call.kind == "chat" else _text_delta(choice)
        chunk = {**self._head, "choices": [shaped]}
        if self._call.include_usage:
            chunk["usage"] = None
        return b"data: %b\n\n" % _encode(chunk)

    def _ending(self) -> bytes:
        if not self._call.include_usage:
            return _DONE
        return b"data: %b\n\n%b" % (_encode({**self._head, "choices": [], "usage": self._usage_object()}), _DONE)

    def _usage_object(self) -> dict[str, Any]:
        usage = self.usage
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        }


def _chat_delta(choice: EngineChoice) -> dict[str, Any]:
    delta = choice.delta
    if "role" in delta:
        delta = {**delta, "refusal": None}
    return {
        "index": choice.index,
        "delta": delta,
        "logprobs": choice.logprobs,
        "finish_reason": choice.finish_reason,
    }


def _text_delta(choice: EngineChoice) -> dict[str, Any]:
    return {"text": choice.text, "index": choice.index, "logprobs": None, "finish_reason": choice.finish_reason}
