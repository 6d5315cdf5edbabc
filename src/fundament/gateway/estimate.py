"""How many tokens a prompt may have, before any tokenizer has seen it.

It knows that text has about four bytes of UTF-8 a token, in most languages and in code. It does not know any model's
tokenizer: what was reserved by an estimate is put right by what was used.
"""

from collections.abc import Mapping
from typing import Any

BYTES_A_TOKEN = 4
MEDIUM_TOKENS = 1000
"""An image, a sound or a file counts as so much, whatever its bytes: models scale them to a size of their own."""

SMALL_BYTES = 1024

_MEDIA = frozenset({"image_url", "input_audio", "file", "file_data", "data", "encrypted_content"})


_READ_FIELDS = ("messages", "prompt", "tools", "functions", "input", "instructions")


def estimated_tokens(request: Mapping[str, Any], size_bytes: int | None = None) -> int:
    """Tokens of what a model reads of a request's decoded JSON: messages, tools, prompts as text or as tokens.

    A small request is taken for all of its `size_bytes`, where they are known: it is not worth looking through.
    The names of fields count: in a schema the model reads them, in a message they stand for the chat template's marks.
    """
    if size_bytes is not None and size_bytes <= SMALL_BYTES:
        return -(-size_bytes // BYTES_A_TOKEN)
    size_bytes = 0
    # A list of what is to be seen, not recursion: a body may be nested as deep as its decoder could follow.
    waiting: list[Any] = [request[name] for name in _READ_FIELDS if name in request]
    while waiting:
        value = waiting.pop()
        kind = type(value)  # pyright: ignore[reportUnknownVariableType] - whatever JSON has
        if kind is dict:
            for name, inner in value.items():
                size_bytes += len(name)
                if name in _MEDIA and inner:
                    size_bytes += MEDIUM_TOKENS * BYTES_A_TOKEN
                elif type(inner) is str:  # asked here, too: most are, and to queue them costs twice as much
                    size_bytes += len(inner) if inner.isascii() else _utf8_bytes(inner)
                else:
                    waiting.append(inner)
        elif kind is list:
            waiting += value
        elif kind is str:
            size_bytes += _utf8_bytes(value)
        elif value is not None:
            size_bytes += BYTES_A_TOKEN  # a token given by its number
    return -(-size_bytes // BYTES_A_TOKEN)


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
