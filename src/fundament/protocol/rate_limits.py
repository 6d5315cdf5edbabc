"""What a client is told of its limits: OpenAI's `x-ratelimit-*` headers, and the same for output tokens.

It follows "Rate limits in headers" of OpenAI's guide to rate limits; `-tokens` are a prompt's, since tokens of answers
have limits and headers of their own here. It knows words and formats only, not who has which limits.
"""

from typing import TypeAlias

Told: TypeAlias = tuple[int | None, int]
"""A limit (None: there is none) and what was used of it."""

_REQUESTS, _TOKENS, _OUTPUT_TOKENS = (
    b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (kind, kind, kind)
    for kind in (b"requests", b"tokens", b"output-tokens")
)
_ALL = _REQUESTS + _TOKENS + _OUTPUT_TOKENS


def limit_lines(requests: Told, tokens: Told, output_tokens: Told, reset_ms: int) -> bytes:
    """The header lines of these, each with its end; all is there again after `reset_ms`.

    Made as one text: nine headers apart cost more than all else that there is to a limit.
    """
    reset = duration(reset_ms)
    (most_requests, used_requests), (most_tokens, used_tokens), (most_output, used_output) = (
        requests,
        tokens,
        output_tokens,
    )
    if most_requests is not None and most_tokens is not None and most_output is not None:
        return _ALL % (
            most_requests,
            most_requests - used_requests if used_requests < most_requests else 0,
            reset,
            most_tokens,
            most_tokens - used_tokens if used_tokens < most_tokens else 0,
            reset,
            most_output,
            most_output - used_output if used_output < most_output else 0,
            reset,
        )
    parts = ((_REQUESTS, requests), (_TOKENS, tokens), (_OUTPUT_TOKENS, output_tokens))
    return b"".join(
        [lines % (limit, max(0, limit - used), reset) for lines, (limit, used) in parts if limit is not None]
    )


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
