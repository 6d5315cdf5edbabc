"""The headers that tell a client its limits, in OpenAI's formats."""

import pytest

from fundament.protocol.rate_limits import LimitLines, duration, limit_headers


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, b"0ms"),
        (120, b"120ms"),
        (1000, b"1s"),
        (8640, b"8.64s"),
        (59_951, b"59.951s"),
        (60_000, b"1m0s"),
        (360_000, b"6m0s"),
        (61_005, b"1m1.005s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(time_ms: int, text: bytes) -> None:
    assert duration(time_ms) == text


def test_each_limit_is_told_with_what_is_left_and_when_it_is_whole_again() -> None:
    assert limit_headers(LimitLines(300, 300_000, 150_000).after(1, 42, 150_100, 59_951)) == [
        (b"x-ratelimit-limit-requests", b"300"),
        (b"x-ratelimit-remaining-requests", b"299"),
        (b"x-ratelimit-reset-requests", b"59.951s"),
        (b"x-ratelimit-limit-tokens", b"300000"),
        (b"x-ratelimit-remaining-tokens", b"299958"),
        (b"x-ratelimit-reset-tokens", b"59.951s"),
        (b"x-ratelimit-limit-output-tokens", b"150000"),
        (b"x-ratelimit-remaining-output-tokens", b"0"),
        (b"x-ratelimit-reset-output-tokens", b"59.951s"),
    ]


def test_what_has_no_limit_is_not_told() -> None:
    headers = limit_headers(LimitLines(None, 10, None).after(5, 11, 5, 1000))
    assert headers == [
        (b"x-ratelimit-limit-tokens", b"10"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"1s"),
    ]
