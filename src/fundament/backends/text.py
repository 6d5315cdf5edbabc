"""Raw completions of our own engine: what it is asked for, and its chunks of one choice as OpenAI has them.

It knows what llama.cpp lacks of the old endpoint: echo, the old shape of log probabilities, the best of several, an
answer of no tokens. Put together, and chosen from, they are by `choices.py` and `translate.py`. It does no I/O.
"""

from collections.abc import Mapping
from typing import Any

from fundament.backends.choices import EngineChoice, TextLogprobs, TokenChoice
from fundament.errors import InvalidRequest
from fundament.protocol.completions import prompts_of


def text_request(body: Mapping[str, Any], middle: tuple[int, int, int] | None) -> dict[str, Any]:
    """The completion request `body` as our engine takes it.

    Args:
        middle: the tokens before a beginning, before an end, and before what is between; None if the model has none.

    Raises:
        InvalidRequest: it asks for what the engine cannot tell, by name.
    """
    sent = dict(body)
    suffix: str | None = sent.pop("suffix", None)
    if suffix and middle is None:
        raise InvalidRequest(
            "Unsupported parameter: 'suffix' is not supported with this model, which cannot fill in the middle.",
            param="suffix",
            code="unsupported_parameter",
        )
    if sent.pop("echo", False) and "logprobs" in sent:
        raise InvalidRequest(
            "Unsupported parameter: 'logprobs' together with 'echo' is not supported with this model, whose engine "
            "does not tell the probabilities of a prompt.",
            param="logprobs",
            code="unsupported_parameter",
        )
    if suffix and middle is not None:
        sent["prompt"] = [_around(prompt, suffix, middle) for prompt in prompts_of(sent["prompt"])]
    best_of: int | None = sent.pop("best_of", None)
    if best_of is not None:
        sent["n"] = best_of
    if "logprobs" in sent or best_of is not None:
        # The engine tells a token's own probability only beside that of the likeliest.
        sent["logprobs"] = sent.get("logprobs") or 1
    if sent.get("max_tokens") == 0:
        sent["max_tokens"] = 1  # the engine makes one all the same; the reader hides it
    return sent


def _around(prompt: str | list[int], suffix: str, middle: tuple[int, int, int]) -> list[str | int]:
    """Texts and tokens mixed, as llama.cpp takes them."""
    beginning = [prompt] if isinstance(prompt, str) else prompt
    return [middle[0], *beginning, middle[1], suffix, middle[2]]


class TextReader:
    """The chunks of one choice of a completion.

    Args:
        echo: the prompt, where it is to come before the answer.
        logprobs: how many of the likeliest tokens are told beside each token; None tells no probabilities.
        silent: no token was asked for.
    """

    def __init__(self, *, echo: str, logprobs: int | None, silent: bool) -> None:
        self._echo = echo
        self._logprobs = logprobs
        self._silent = silent
        self._offset = 0

    def read(self, choice: EngineChoice) -> list[EngineChoice]:
        if self._silent:
            choice.text = ""
            if choice.finish_reason is None:
                return []
            choice.finish_reason = "length"
        elif self._logprobs is not None:
            tokens = (choice.logprobs and choice.logprobs.content) or []
            choice.text_logprobs = self._old_shape(tokens, self._logprobs)
        choice.text = self._echo + choice.text
        self._echo = ""
        return [choice]

    def _old_shape(self, tokens: list[TokenChoice], top: int) -> TextLogprobs:
        shaped = TextLogprobs()
        for token in tokens:
            shaped.tokens.append(token.token)
            shaped.token_logprobs.append(token.logprob)
            likeliest = {other.token: other.logprob for other in token.top_logprobs[:top]}
            shaped.top_logprobs.append({**likeliest, token.token: token.logprob})
            shaped.text_offset.append(self._offset)
            self._offset += len(token.token)
        return shaped
