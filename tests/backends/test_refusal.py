"""What a server's error becomes for our client: a table, for our own engine and for others."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundament.backends.profiles import EMBEDDED, PROFILES
from fundament.backends.refusal import owned, refusal
from fundament.errors import (
    ContextLengthExceeded,
    RequestError,
    ServerFailure,
    Unavailable,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

OTHER = PROFILES["openai"]


def refused(status: int, body: object, *, own: bool = False, headers: dict[bytes, bytes] | None = None) -> RequestError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal(EMBEDDED if own else OTHER, status, data, headers or {}, "messages")


def error(**fields: Any) -> dict[str, Any]:
    return {"error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "bad"} | fields}


TABLE: list[tuple[int, type[RequestError], int, str | None]] = [
    (400, UpstreamRefused, 400, "bad"),
    (404, UpstreamRefused, 404, "bad"),
    (409, UpstreamRefused, 409, "bad"),
    (422, UpstreamRefused, 422, "bad"),
    (429, UpstreamRefused, 429, "bad"),
    (401, UpstreamFailure, 502, "upstream_credential_refused"),
    (403, UpstreamFailure, 502, "upstream_credential_refused"),
    (408, UpstreamTimeout, 504, "upstream_timeout"),
    (504, UpstreamTimeout, 504, "upstream_timeout"),
    (503, Unavailable, 503, "upstream_unavailable"),
    (500, UpstreamFailure, 502, "upstream_error"),
    (502, UpstreamFailure, 502, "upstream_error"),
    (529, UpstreamFailure, 502, "upstream_error"),
    (204, UpstreamFailure, 502, "upstream_error"),
    (302, UpstreamFailure, 502, "upstream_error"),
]


@pytest.mark.parametrize(("status", "kind", "ours", "code"), TABLE)
def test_a_status_of_an_upstream_becomes_ours(
    status: int, kind: type[RequestError], ours: int, code: str | None
) -> None:
    failure = refused(status, error())
    assert (type(failure), failure.status, failure.code) == (kind, ours, code)


OWN_TABLE: list[tuple[int, type[RequestError], int, str | None]] = [
    (400, UpstreamRefused, 400, "bad"),
    (503, Unavailable, 503, "model_starting"),
    (500, ServerFailure, 500, "engine_error"),
    (501, ServerFailure, 500, "engine_error"),
    (401, UpstreamFailure, 502, "upstream_credential_refused"),
]


@pytest.mark.parametrize(("status", "kind", "ours", "code"), OWN_TABLE)
def test_a_status_of_our_own_engine_is_our_own_affair(
    status: int, kind: type[RequestError], ours: int, code: str | None
) -> None:
    failure = refused(status, error(), own=True)
    assert (type(failure), failure.status, failure.code) == (kind, ours, code)


def test_a_refusal_keeps_the_upstreams_own_fields() -> None:
    failure = refused(429, error(type="tokens", code="rate_limit_exceeded"), headers={b"retry-after": b"7"})
    fields = (failure.message, failure.type, failure.param, failure.code, failure.retry_after_s)
    assert fields == ("no", "tokens", "n", "rate_limit_exceeded", 7)


@pytest.mark.parametrize(("header", "expected"), [(b"7", 7), (b"", None), (b"Wed, 21 Oct 2026", None), (b"-1", None)])
def test_only_a_number_of_seconds_is_passed_on(header: bytes, expected: int | None) -> None:
    assert refused(429, error(), headers={b"retry-after": header}).retry_after_s == expected


def test_an_upstream_that_is_unavailable_says_when_to_come_again_or_we_do() -> None:
    assert refused(503, error(), headers={b"retry-after": b"30"}).retry_after_s == 30
    assert refused(503, error()).retry_after_s == 2
    assert refused(503, error(), own=True).retry_after_s == 2


@pytest.mark.parametrize(
    ("code", "kind"), [(400, UpstreamRefused), (429, UpstreamRefused), (503, Unavailable), (500, UpstreamFailure)]
)
def test_an_error_within_a_stream_has_its_status_in_its_code(code: int, kind: type[RequestError]) -> None:
    assert type(refused(0, error(code=code))) is kind


@pytest.mark.parametrize("code", [None, "boom", 200, 600, True])
def test_an_error_within_a_stream_without_a_status_is_the_upstreams_failure(code: object) -> None:
    assert type(refused(0, error(code=code))) is UpstreamFailure
    assert type(refused(200, error(code=code))) is UpstreamFailure


@pytest.mark.parametrize("own", [True, False])
def test_a_prompt_that_is_too_long_for_llama_cpp_is_said_in_openais_words(own: bool) -> None:
    body = error(code=400, type="exceed_context_size_error", n_prompt_tokens=1231, n_ctx=512)
    for status in (400, 0):
        failure = refused(status, body, own=own)
        assert type(failure) is ContextLengthExceeded
        assert failure.message == (
            "This model's maximum context length is 512 tokens. However, your messages resulted in 1231 tokens. "
            "Please reduce the length of the messages."
        )
        assert (failure.status, failure.param, failure.code) == (400, "messages", "context_length_exceeded")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"error": "no", "message": "other"}, "no"),
        ({"message": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ({"object": "error", "message": "no", "code": 400}, "no"),
        (b"no", "no"),
        (b"  no\n", "no"),
        (b"<html>no</html>", "The upstream answered with status 400."),
        (b"", "The upstream answered with status 400."),
        (b"[]", "The upstream answered with status 400."),
        (b"null", "The upstream answered with status 400."),
        ({"error": None}, "The upstream answered with status 400."),
        ({"error": {"message": None}}, "The upstream answered with status 400."),
        ({"detail": [{"loc": ["body"]}]}, "The upstream answered with status 400."),
    ],
)
def test_the_message_is_found_however_the_server_bends_the_shape(body: object, message: str) -> None:
    failure = refused(400, body)
    assert failure.message == message
    assert failure.type == "invalid_request_error"


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "param", "detail", "n_ctx", "n_prompt_tokens"]), inner
        )
    ),
)


@given(
    st.binary(max_size=40)
    | BODIES.map(lambda body: json.dumps(body).encode())
    | st.sampled_from(
        [
            b'{"message": "\xff"}',
            b"[" * 100_000,
            b'{"error":{"type":"exceed_context_size_error","n_ctx":"many"}}',
            b'{"error":{"type":"exceed_context_size_error","n_ctx":null,"n_prompt_tokens":{}}}',
        ]
    ),
    st.sampled_from([0, 200, 400, 401, 404, 429, 500, 503]),
    st.booleans(),
)
def test_any_body_is_some_failure(body: bytes, status: int, own: bool) -> None:
    failure = refused(status, body, own=own)
    assert isinstance(failure, RequestError)
    assert 400 <= failure.status < 600
    assert isinstance(failure.message, str)
    assert isinstance(failure.param, str | None)
    assert isinstance(failure.code, str | None)


def test_a_broken_connection_to_our_own_engine_is_said_in_our_own_words() -> None:
    starting = owned(EMBEDDED, UpstreamUnreachable("refused"))
    assert (type(starting), starting.code, starting.retry_after_s) == (Unavailable, "model_starting", 2)
    broke = owned(EMBEDDED, UpstreamFailure("cut"))
    assert (type(broke), broke.code, broke.retry_after_s) == (Unavailable, "model_starting", 2)
    late = UpstreamTimeout("late")
    assert owned(EMBEDDED, late) is late
    for failure in (UpstreamUnreachable("refused"), UpstreamFailure("cut"), late):
        assert owned(OTHER, failure) is failure
