"""Ends an answer at a stop sequence, as OpenAI does: the sequence is not shown, and nothing before it is lost.

llama.cpp could stop by itself, but keeps back for ever what only began like a stop sequence when its limit came, and
would cut calls of functions, which are text to it. It does no I/O.
"""

from collections.abc import Sequence

from fundament.backends.choices import EngineChoice, Logprobs, TokenChoice


class StopReader:
    """The chunks of one choice, up to the first of `stops` in its text.

    A chunk that may be the beginning of a stop sequence is held until that is known, whole: its log probabilities stay
    with their text.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.ended = False
        self._stops = stops
        self._held: list[EngineChoice] = []
        self._text = ""  # of what is held

    def read(self, choice: EngineChoice) -> list[EngineChoice]:
        if self.ended:
            return []
        text = text_of(choice)
        if text:
            return self._read_text(choice, text)
        if choice.finish_reason is None and not choice.delta:
            return [choice]
        return [*self._release(), choice]

    def _read_text(self, choice: EngineChoice, text: str) -> list[EngineChoice]:
        self._held.append(choice)
        self._text += text
        found = [at for stop in self._stops if (at := self._text.find(stop)) >= 0]
        if found:
            self.ended = True
            return [*self._release(min(found)), EngineChoice(choice.index, finish_reason="stop")]
        begun = max(_overlap(self._text, stop) for stop in self._stops)
        return self._release(len(self._text) - begun, whole_only=True)

    def _release(self, length: int | None = None, *, whole_only: bool = False) -> list[EngineChoice]:
        """What is held, up to `length` characters; the chunk in which they end is cut, or stays with `whole_only`."""
        left = len(self._text) if length is None else length
        released: list[EngineChoice] = []
        while self._held and left > 0:
            text = text_of(self._held[0])
            if len(text) > left and whole_only:
                break
            choice = self._held.pop(0)
            if len(text) > left:
                _cut(choice, left)
            released.append(choice)
            left -= len(text)
        self._text = "".join(map(text_of, self._held))
        return released


def text_of(choice: EngineChoice) -> str:
    """The text of a chunk, of either kind of answer."""
    return choice.text or choice.delta.get("content") or ""


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


def _cut(choice: EngineChoice, length: int) -> None:
    """Shortens a chunk, and the tokens of its log probabilities with it."""
    if choice.text:
        choice.text = choice.text[:length]
    else:
        choice.delta = {**choice.delta, "content": choice.delta["content"][:length]}
    tokens = (choice.logprobs and choice.logprobs.content) or []
    kept: list[TokenChoice] = []
    for token in tokens:
        if length <= 0:
            break
        if len(token.token) > length:
            token.token = token.token[:length]
            token.bytes = list(token.token.encode())
        kept.append(token)
        length -= len(token.token)
    if choice.logprobs is not None:
        choice.logprobs = Logprobs(content=kept)
