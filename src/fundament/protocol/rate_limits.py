"""What a client is told of its limits: OpenAI's `x-ratelimit-*` headers, and the same for output tokens.

It follows "Rate limits in headers" of OpenAI's guide to rate limits; `-tokens` are a prompt's, since tokens of answers
have limits and headers of their own here. It knows words and formats only, not who has which limits.
"""

from functools import lru_cache

_LINES = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n"
_KINDS = (b"requests", b"tokens", b"output-tokens")


class LimitLines:
    """The header lines of three limits, each line with its end; None is no limit, of which nothing is told.

    Made as one text, of which only what is left changes: nine headers apart cost more than all else that limits cost.
    """

    __slots__ = ("_limits", "_lines")

    def __init__(self, requests: int | None, tokens: int | None, output_tokens: int | None) -> None:
        self._limits = (requests, tokens, output_tokens)
        rows = zip(_KINDS, self._limits, strict=True)
        self._lines = b"".join([_LINES % (kind, limit, kind, kind) for kind, limit in rows if limit is not None])

    def after(self, requests: int, tokens: int, output_tokens: int, reset_ms: int) -> bytes:
        """The lines when so much is used; all is there again after `reset_ms`."""
        reset = duration(reset_ms)
        most_requests, most_tokens, most_output = self._limits
        if most_requests is not None and most_tokens is not None and most_output is not None:
            return self._lines % (
                most_requests - requests if requests < most_requests else 0,
                reset,
                most_tokens - tokens if tokens < most_tokens else 0,
                reset,
                most_output - output_tokens if output_tokens < most_output else 0,
                reset,
            )
        values: list[int | bytes] = []
        for limit, used in zip(self._limits, (requests, tokens, output_tokens), strict=True):
            if limit is not None:
                values += (max(0, limit - used), reset)
        return self._lines % tuple(values)


def limit_headers(lines: bytes) -> list[tuple[bytes, bytes]]:
    """The same, as names and values."""
    headers: list[tuple[bytes, bytes]] = []
    for line in lines.splitlines():
        name, _, value = line.partition(b": ")
        headers.append((name, value))
    return headers


@lru_cache(256)  # many requests are told the same
def duration(time_ms: int) -> bytes:
    """A duration as OpenAI's headers have it: `120ms`, `59.95s`, `6m0s`."""
    if time_ms < 1000:
        return b"%dms" % time_ms
    if time_ms < 60_000:
        return b"%gs" % (time_ms / 1000)
    minutes, rest_ms = divmod(time_ms, 60_000)
    return b"%dm%gs" % (minutes, rest_ms / 1000)
