"""What a server's error becomes for our client: a table, for our own engine and for others."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundament.backends.profiles import EMBEDDED, PROFILES, Profile
from fundament.backends.refusal import owned, refusal
from fundament.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RequestError,
    ServerFailure,
    Unavailable,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

OTHER = PROFILES["openai"]


def refused(
    status: int,
    body: object,
    *,
    own: bool = False,
    headers: dict[bytes, bytes] | None = None,
    profile: Profile = OTHER,
) -> RequestError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal(EMBEDDED if own else profile, status, data, headers or {}, "messages")


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


# As the servers' sources have them. docs/profiles.md has the places.
TOO_LONG = [
    (
        "vllm",
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains 1231 input tokens, which "
            "exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
            "(parameter=input_tokens, value=1231)"
        ),
    ),
    ("sglang", "The input (1231 tokens) is longer than the model's context length (512 tokens)."),
]
# Where the prompt's length is not told, or is not all of it, the server's own sentence is the better one.
SOMEHOW_TOO_LONG = [
    (
        "vllm",
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains at least 513 input "
            "tokens, which exceeds this limit even without any output tokens."
        ),
    ),
    (
        "vllm",
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains 90000 characters (more "
            "than 8192 characters, which is the upper bound for 512 input tokens)."
        ),
    ),
    (
        "vllm",
        (
            "This model's maximum context length is 8192 tokens. However, you requested 8203 tokens (7691 in the "
            "messages, 512 in the completion). Please reduce the length of the messages or completion."
        ),
    ),
    ("vllm", "Input length (1231) exceeds model's maximum context length (512)."),
    ("vllm", "The decoder prompt (length 1231) is longer than the maximum model length of 512. Make sure that"),
    (
        "sglang",
        (
            "Requested token count exceeds the model's maximum context length of 202752 tokens. You requested a total "
            "of 202941 tokens: 170941 tokens from the input messages and 32000 tokens for the completion."
        ),
    ),
    ("sglang", "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens). Use a shorter input"),
    ("llama-server", "the request exceeds the available context size. try increasing the context size"),
    (
        "vllm",
        f"This model's maximum context length is {'9' * 5000} tokens. However, your prompt contains 1 input tokens",
    ),
]


@pytest.mark.parametrize("name", ["itself", "generic"])
@pytest.mark.parametrize("status", [400, 0])
@pytest.mark.parametrize(("family", "message"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_said_in_openais_words(family: str, message: str, status: int, name: str) -> None:
    body = {"object": "error", "message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}
    profile = PROFILES[family if name == "itself" else name]
    for shape in (body, {"error": body}):
        failure = refused(status, shape, profile=profile)
        assert type(failure) is ContextLengthExceeded
        assert failure.message == ContextLengthExceeded(512, 1231, "messages").message
        assert (failure.status, failure.param, failure.code) == (400, "messages", "context_length_exceeded")
    assert type(refused(400, body)) is UpstreamRefused  # OpenAI has a code for it


@pytest.mark.parametrize("name", ["itself", "generic"])
@pytest.mark.parametrize(("family", "message"), SOMEHOW_TOO_LONG)
def test_a_context_that_is_too_short_has_openais_code_and_the_servers_words(
    family: str, message: str, name: str
) -> None:
    body = {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}
    failure = refused(400, body, profile=PROFILES[family if name == "itself" else name])
    assert (type(failure), failure.message) == (InvalidRequest, message)
    assert (failure.param, failure.code) == ("messages", "context_length_exceeded")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "messages"),
        ("audio input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "messages"),
        ('Failed to parse tools: Unsupported tool type: {"type":"custom"}; tools = []', "tools"),
    ],
)
def test_what_llama_server_calls_its_own_failure_is_the_callers_where_it_is(message: str, param: str) -> None:
    body = {"error": {"code": 500, "message": message, "type": "server_error"}}
    failure = refused(500, body, profile=PROFILES["llama-server"])
    assert (failure.status, failure.type) == (400, "invalid_request_error")
    assert (failure.message, failure.param, failure.code) == (message, param, "unsupported_value")
    assert type(refused(500, body)) is UpstreamFailure


@pytest.mark.parametrize(
    "body",
    [
        error(message="The model `org/x` does not exist.", type="NotFoundError", param="model", code=404),  # vLLM
        {"object": "error", "message": "Not Found", "type": "404", "param": None, "code": 404},  # SGLang
        error(message="File Not Found", type="not_found_error", param=None, code=404),  # llama-server
        error(message="The model `x` does not exist", param=None, code="model_not_found"),  # OpenAI
        error(message="Invalid URL (POST /v1/x)", param=None, code=None),  # OpenAI
        error(message="The API deployment does not exist.", param=None, code="DeploymentNotFound"),  # Azure
        error(message="Resource not found", param=None, code="404"),  # Azure
        {"detail": "Not Found"},  # FastAPI
        b"404 page not found",
    ],
)
def test_a_model_or_a_url_that_the_upstream_does_not_know_is_not_the_callers_fault(body: object) -> None:
    failure = refused(404, body)
    assert (type(failure), failure.code) == (UpstreamFailure, "upstream_model_not_found")
    assert "org/x" not in failure.message


def test_what_the_request_names_and_the_upstream_does_not_find_is_the_callers() -> None:
    failure = refused(404, error(message="No such File object: file-x", param="id", code=None))
    assert (type(failure), failure.status, failure.param) == (UpstreamRefused, 404, "id")


@pytest.mark.parametrize("name", ["BadRequestError", "Bad Request", "400", "BadRequest", None, 5, ""])
def test_a_type_that_is_the_name_of_a_servers_class_is_openais(name: object) -> None:
    assert refused(400, error(type=name)).type == "invalid_request_error"


@pytest.mark.parametrize(
    ("place", "param"),
    [
        (["body", "messages", 0, "content"], "messages[0].content"),
        (["body", "messages", 1, "ChatCompletionUserParam", "content", "list[Part]", 0, "text"], None),
        (["body", "n"], "n"),
        (["body"], None),
        (["query", "n"], "query.n"),
        ([], None),
    ],
)
def test_the_place_that_a_validator_names_is_a_path_as_openai_writes_it(place: list[Any], param: str | None) -> None:
    param = param or ("messages[1].content[0].text" if len(place) > 4 else None)
    failure = refused(422, {"detail": [{"type": "missing", "loc": place, "msg": "Field required"}, {"loc": []}]})
    assert (failure.status, failure.message, failure.param) == (422, "Field required", param)
    if place[:1] == ["body"]:
        assert refused(400, error(param=".".join(map(str, place)))).param == param


@pytest.mark.parametrize("param", ["messages.0.content", "tool_choice.function.name", "bodywork"])
def test_a_path_that_is_not_a_validators_is_passed_on(param: str) -> None:
    assert refused(400, error(param=param)).param == param


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
            st.sampled_from(
                ["error", "message", "code", "type", "param", "detail", "loc", "msg", "n_ctx", "n_prompt_tokens"]
            ),
            inner,
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
    failure = refused(status, body, own=own, profile=PROFILES["generic"])
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
