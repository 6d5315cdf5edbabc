"""Answers of our own engine (llama.cpp's server), rebuilt as OpenAI's: its chunks in, OpenAI's chunks or one body out.

It knows in what the engine's chunks deviate: `created` moves, ids and names are its own, a usage a choice, progress
events. It does no I/O but to ask for the next chunk; the answer that is not streamed is the fold of the one that is.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from fundament.backends.call import Call
from fundament.backends.choices import EngineChoice, EngineChunk, FoldedChoice, Progress, best
from fundament.backends.client import Response
from fundament.backends.refusal import ENGINE_BROKE
from fundament.errors import RequestError, ServerFailure, UpstreamFailure
from fundament.protocol.usage import CompletionDetails, PromptDetails, Usage

_DONE = b"data: [DONE]\n\n"
_chunk_decoder = msgspec.json.Decoder(EngineChunk)
_encode = msgspec.json.Encoder().encode


class Reader(Protocol):
    """Makes OpenAI's chunks of one choice out of the engine's."""

    def read(self, choice: EngineChoice) -> list[EngineChoice]:
        """What `choice` completes: nothing yet, one chunk or several."""
        ...


class TranslatedAnswer:
    """The answer to `call`, rebuilt from the engine's stream.

    Args:
        fingerprint: names weights and engine; OpenAI's `system_fingerprint`.
        refused: makes the failure out of an error frame, from its bytes.
        on_close: called once, when the answer is done with.
        readers: makes what each choice's chunks go through, one after the other, for the choice with this index.
    """

    def __init__(
        self,
        call: Call,
        response: Response,
        fingerprint: str,
        refused: Callable[[bytes], RequestError],
        on_close: Callable[[], None],
        *,
        readers: Callable[[int], Sequence[Reader]] | None = None,
    ) -> None:
        self.complete = False
        self._call = call
        self._response = response
        self._refused = refused
        self._on_close = on_close
        self._buffer = b""
        # By the choice's index: its prompt, the tokens that it has so far, those that are final, and how it ended.
        self._prompts: dict[int, Progress] = {}
        self._generated: dict[int, int] = {}
        self._counted: set[int] = set()
        self._cut: set[int] = set()  # at a stop sequence, before the engine's own end
        self._last_finished = 0
        self._reasoned: dict[int, int] = {}  # of the tokens so far, those up to the last thought
        self._new_readers = readers
        self._readers: dict[int, Sequence[Reader]] = {}
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
        prompts = {index // self._call.n: progress for index, progress in sorted(self._prompts.items(), reverse=True)}
        prompt_tokens = sum(progress.total for progress in prompts.values())
        cached_tokens = sum(progress.cache for progress in prompts.values())
        completion_tokens = sum(self._generated.values())
        if self._call.body.get("max_tokens") == 0:
            completion_tokens = 0  # the engine makes one all the same
        return Usage(
            prompt_tokens,
            completion_tokens,
            prompt_tokens + completion_tokens,
            PromptDetails(cached_tokens),
            CompletionDetails(sum(self._reasoned.values())),
        )

    async def read(self) -> bytes:
        while not self.complete:
            events: list[bytes] = []
            for chunk in await self._next_chunks():
                if chunk is not None:
                    events += [self._event(choice) for choice in self._choices(chunk)]
                if chunk is None or self._all_cut:
                    self.complete = True
                    events.append(self._ending())
                    break
            if events:
                return b"".join(events)
        return b""

    async def whole(self) -> bytes:
        folded: dict[int, FoldedChoice] = {index: FoldedChoice(index) for index in range(self._call.choices)}
        while not self.complete:
            for chunk in await self._next_chunks():
                for choice in () if chunk is None else self._choices(chunk):
                    folded[choice.index].add(choice)
                if chunk is None or self._all_cut:
                    self.complete = True
                    break
        kind = {"object": "chat.completion"} if self._call.kind == "chat" else {}
        return _encode({**self._head, **kind, "choices": self._shown(folded), "usage": self._usage_object()})

    def _shown(self, folded: dict[int, FoldedChoice]) -> list[dict[str, Any]]:
        call = self._call
        choices = [folded[index] for index in sorted(folded)]
        if call.kind == "chat":
            return [choice.message() for choice in choices]
        if call.kept < call.n:
            choices = best(choices, of=call.n, keep=call.kept)
        return [choice.completion(logprobs=call.body.get("logprobs") is not None) for choice in choices]

    def close(self) -> None:
        self._response.close(wanted_all=self.complete and not self._cut)
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

    @property
    def _all_cut(self) -> bool:
        """No choice is left whose end the engine has still to tell."""
        return bool(self._cut) and len(self._cut | self._counted) == self._call.choices

    def _choices(self, chunk: EngineChunk) -> list[EngineChoice]:
        """What of a chunk the client sees; its tokens and progress are counted."""
        if chunk.prompt_progress is not None:
            for choice in chunk.choices:
                self._prompts[choice.index] = chunk.prompt_progress
            return []
        self._count(chunk)
        for choice in chunk.choices:
            if "role" in choice.delta:
                choice.delta = {"role": "assistant", "content": ""}  # llama.cpp says null, OpenAI says "" for text
        if self._new_readers is None:
            return chunk.choices
        return [read for choice in chunk.choices for read in self._read(choice, self._new_readers)]

    def _count(self, chunk: EngineChunk) -> None:
        """Notes how many tokens a choice has; one that was cut has no more than those before the cut."""
        for choice in chunk.choices:
            if choice.finish_reason is not None:
                self._last_finished = choice.index
        # llama.cpp sends one usage a choice: with the choice where it generates text, just after it where it chats.
        index = chunk.choices[0].index if chunk.choices else self._last_finished
        if index in self._cut:
            return
        if chunk.usage is not None:
            self._generated[index] = chunk.usage.completion_tokens
            self._counted.add(index)
        elif chunk.timings is not None and chunk.choices:
            self._generated[index] = chunk.timings.predicted_n
            if "reasoning_content" in chunk.choices[0].delta:
                self._reasoned[index] = chunk.timings.predicted_n

    def _read(self, choice: EngineChoice, new_readers: Callable[[int], Sequence[Reader]]) -> list[EngineChoice]:
        if choice.index not in self._readers:
            self._readers[choice.index] = new_readers(choice.index)
        pieces = [choice]
        for reader in self._readers[choice.index]:
            pieces = [piece for whole in pieces for piece in reader.read(whole)]
        if choice.finish_reason is None and any(piece.finish_reason for piece in pieces):
            self._cut.add(choice.index)
        return pieces

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
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
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
    return {
        "text": choice.text,
        "index": choice.index,
        "logprobs": choice.text_logprobs,
        "finish_reason": choice.finish_reason,
    }
