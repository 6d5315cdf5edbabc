"""What a client is told of its limits: OpenAI's `x-ratelimit-*` headers, and the same for output tokens.

It follows "Rate limits in headers" of OpenAI's guide to rate limits; `-tokens` are a prompt's, since tokens of answers
have limits and headers of their own here. It knows words and formats only, not who has which limits.
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]
KINDS = (b"requests", b"tokens", b"output-tokens")


def limit_headers(limits: Iterable[tuple[int | None, int]], reset_ms: int) -> list[Header]:
    """The headers of requests, tokens and output tokens: of each its limit (None tells nothing) and what was used.

    Args:
        reset_ms: until all of it is there again.
    """
    reset = duration(reset_ms)
    headers: list[Header] = []
    for kind, (limit, used) in zip(KINDS, limits, strict=True):
        if limit is not None:
            headers += (
                (b"x-ratelimit-limit-" + kind, b"%d" % limit),
                (b"x-ratelimit-remaining-" + kind, b"%d" % max(0, limit - used)),
                (b"x-ratelimit-reset-" + kind, reset),
            )
    return headers


def duration(time_ms: int) -> bytes:
    """A duration as OpenAI's headers have it: `120ms`, `59.95s`, `6m0s`."""
    if time_ms < 1000:
        return b"%dms" % time_ms
    minutes, rest_ms = divmod(time_ms, 60_000)
    seconds = b"%d" % (rest_ms // 1000)
    if rest_ms % 1000:
        seconds += (b".%03d" % (rest_ms % 1000)).rstrip(b"0")
    return (b"%dm" % minutes if minutes else b"") + seconds + b"s"
