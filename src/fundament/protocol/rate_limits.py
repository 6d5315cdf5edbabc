"""What a client is told of its limits: OpenAI's `x-ratelimit-*` headers, and the same for output tokens.

It follows "Rate limits in headers" of OpenAI's guide to rate limits; `-tokens` are a prompt's, since tokens of answers
have limits and headers of their own here. It knows words and formats only, not who has which limits.
"""

from collections.abc import Iterable

_LINES = tuple(
    b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (kind, kind, kind)
    for kind in (b"requests", b"tokens", b"output-tokens")
)


def limit_lines(limits: Iterable[tuple[int | None, int]], reset_ms: int) -> bytes:
    """The header lines of requests, tokens and output tokens, each with its end.

    Made as one text: nine headers apart cost more than all else that there is to a limit.

    Args:
        limits: of each its limit (None tells nothing) and what was used.
        reset_ms: until all of it is there again.
    """
    reset = duration(reset_ms)
    told = b""
    for lines, (limit, used) in zip(_LINES, limits, strict=True):
        if limit is not None:
            told += lines % (limit, limit - used if used < limit else 0, reset)
    return told


def limit_headers(lines: bytes) -> list[tuple[bytes, bytes]]:
    """The same, as names and values."""
    headers: list[tuple[bytes, bytes]] = []
    for line in lines.splitlines():
        name, _, value = line.partition(b": ")
        headers.append((name, value))
    return headers


def duration(time_ms: int) -> bytes:
    """A duration as OpenAI's headers have it: `120ms`, `59.95s`, `6m0s`."""
    if time_ms < 1000:
        return b"%dms" % time_ms
    if time_ms < 60_000:
        return b"%gs" % (time_ms / 1000)
    minutes, rest_ms = divmod(time_ms, 60_000)
    return b"%dm%gs" % (minutes, rest_ms / 1000)
