"""What is wrong with a request is said in OpenAI's words, by name; none of it reaches a model, none kills anything."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from scripted_upstream import ScriptedUpstream
from service import Reply, Service
from specification import assert_valid

MESSAGES = [{"role": "user", "content": "x"}]
ROLES = "'developer', 'system', 'user', 'assistant', 'tool', and 'function'"
NOT_OBJECT = "The JSON body of your request must be an object, but it is"
NOT_JSON = "We could not parse the JSON body of your request."


@dataclass(frozen=True)
class Refused:
    """One bad chat request and the exact error for it; `message` may be the beginning only, with a … at its end."""

    what: str
    message: str
    param: str | None
    code: str | None
    fields: dict[str, Any] | None = None  # changes to a good request; None as a value takes the field away
    raw: bytes | None = None  # or a whole body


TABLE = [
    Refused("no JSON", f"{NOT_JSON} …", None, None, raw=b"{'model': 1}"),
    Refused("no body", f"{NOT_JSON} …", None, None, raw=b""),
    Refused("half a body", f"{NOT_JSON} …", None, None, raw=b'{"model": "gpt'),
    Refused("two bodies", f"{NOT_JSON} …", None, None, raw=b"{}{}"),
    Refused("no UTF-8", f"{NOT_JSON} …", None, None, raw=b'{"model": "\xff"}'),
    Refused("deep nesting", f"{NOT_JSON} …", None, None, raw=b"[" * 100_000),
    Refused("an array", f"{NOT_OBJECT} an array.", None, None, raw=b"[1]"),
    Refused("a text", f"{NOT_OBJECT} a string.", None, None, raw=b'"text"'),
    Refused("null", f"{NOT_OBJECT} null.", None, None, raw=b"null"),
    Refused(
        "no model",
        "Missing required parameter: 'model'.",
        "model",
        "missing_required_parameter",
        {"model": None},
    ),
    Refused(
        "no messages",
        "Missing required parameter: 'messages'.",
        "messages",
        "missing_required_parameter",
        {"messages": None},
    ),
    Refused(
        "empty messages",
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        "messages",
        "empty_array",
        {"messages": []},
    ),
    Refused(
        "messages that are a text",
        "Invalid type for 'messages': expected an array of objects, but got a string instead.",
        "messages",
        "invalid_type",
        {"messages": "x"},
    ),
    Refused(
        "a wrong role",
        f"Invalid value: 'wizard'. Supported values are: {ROLES}.",
        "messages[0].role",
        "invalid_value",
        {"messages": [{"role": "wizard", "content": "x"}]},
    ),
    Refused(
        "a message without role",
        "Missing required parameter: 'messages[1].role'.",
        "messages[1].role",
        "missing_required_parameter",
        {"messages": [*MESSAGES, {"content": "x"}]},
    ),
    Refused(
        "a message without content",
        "Missing required parameter: 'messages[0].content'.",
        "messages[0].content",
        "missing_required_parameter",
        {"messages": [{"role": "user"}]},
    ),
    Refused(
        "content that is a number",
        "Invalid type for 'messages[0].content': expected one of a string or array of objects, but got an integer "
        "instead.",
        "messages[0].content",
        "invalid_type",
        {"messages": [{"role": "user", "content": 5}]},
    ),
    Refused(
        "an unknown field of a message",
        "Unrecognized request argument supplied: messages[0].mood",
        "messages[0].mood",
        "unknown_parameter",
        {"messages": [{"role": "user", "content": "x", "mood": "good"}]},
    ),
    Refused(
        "an unknown field",
        "Unrecognized request argument supplied: foo",
        "foo",
        "unknown_parameter",
        {"foo": 1},
    ),
    Refused(
        "temperature 3",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        "temperature",
        "decimal_above_max_value",
        {"temperature": 3},
    ),
    Refused(
        "temperature -1",
        "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -1 instead.",
        "temperature",
        "decimal_below_min_value",
        {"temperature": -1},
    ),
    Refused(
        "temperature that is a text",
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
        "temperature",
        "invalid_type",
        {"temperature": "hot"},
    ),
    Refused(
        "top_p 1.5",
        "Invalid 'top_p': decimal above maximum value. Expected a value <= 1, but got 1.5 instead.",
        "top_p",
        "decimal_above_max_value",
        {"top_p": 1.5},
    ),
    Refused(
        "max_tokens 0",
        "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        "max_tokens",
        "integer_below_min_value",
        {"max_tokens": 0},
    ),
    Refused(
        "max_tokens that is no whole number",
        "Invalid type for 'max_tokens': expected an integer, but got a decimal instead.",
        "max_tokens",
        "invalid_type",
        {"max_tokens": 1.5},
    ),
    Refused(
        "n 0",
        "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        "n",
        "integer_below_min_value",
        {"n": 0},
    ),
    Refused(
        "stream that is a text",
        "Invalid type for 'stream': expected a boolean, but got a string instead.",
        "stream",
        "invalid_type",
        {"stream": "yes"},
    ),
    Refused(
        "stream_options without stream",
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        "stream_options",
        None,
        {"stream_options": {"include_usage": True}},
    ),
    Refused(
        "a model that is a number",
        "Invalid type for 'model': expected a string, but got an integer instead.",
        "model",
        "invalid_type",
        {"model": 5},
    ),
]


def good_request(model: str) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "max_tokens": 1}


def body_of(case: Refused, model: str) -> bytes:
    if case.raw is not None:
        return case.raw
    changed = good_request(model) | (case.fields or {})
    return json.dumps({name: value for name, value in changed.items() if value is not None}).encode()


def error_of(reply: Reply, status: int) -> dict[str, Any]:
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    return assert_valid("ErrorResponse", reply.json)["error"]


def assert_refused(reply: Reply, case: Refused) -> None:
    error = error_of(reply, 400)
    beginning, ellipsis, _ = case.message.partition("…")
    assert error["message"].startswith(beginning) if ellipsis else error["message"] == beginning
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", case.param, case.code)


@pytest.fixture(autouse=True, scope="module")
def nothing_dies(scripted_service: Service, embedded: Service) -> Iterator[None]:
    services = (scripted_service, embedded)
    before = [service.processes() for service in services]
    yield
    assert [service.processes() for service in services] == before
    assert embedded.post("/v2/chat/completions", good_request("smollm2")).status == 200


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.what)
def test_a_bad_request_is_refused_by_name_before_the_upstream(
    scripted: Service, upstream: ScriptedUpstream, case: Refused
) -> None:
    assert_refused(scripted.post("/v1/chat/completions", body_of(case, "gpt-4.1")), case)
    assert upstream.requests == []


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.what)
def test_a_bad_request_is_refused_by_name_before_the_engine(embedded: Service, case: Refused) -> None:
    assert_refused(embedded.post("/v2/chat/completions", body_of(case, "smollm2")), case)


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        (None, "You didn't provide an API key. You need to provide your API key in an Authorization header"),
        ("Bearer wrong", "Incorrect API key provided: "),
        ("Bearer sk-fundament-" + "x" * 43, "Incorrect API key provided: sk-fund********xxxx."),
        ("Bearer ", "The Authorization header must have the form"),
        ("Basic dXNlcjpwYXNz", "The Authorization header must have the form"),
        ("Bearer \xfc\xfc", "Incorrect API key provided: "),
    ],
)
def test_no_key_and_a_wrong_key_are_a_401(
    scripted: Service, upstream: ScriptedUpstream, authorization: str | None, message: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path, body in [
        ("POST", "/v2/chat/completions", good_request("gpt-4.1")),
        ("POST", "/v1/completions", b"no JSON"),
        ("GET", "/v2/models", None),
    ]:
        reply = scripted.request(method, path, body, key=None, headers=headers)
        error = error_of(reply, 401)
        assert error["message"].startswith(message)
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "invalid_api_key")
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v2/completions"])
def test_an_unknown_model_is_a_404(scripted: Service, upstream: ScriptedUpstream, path: str) -> None:
    body = {"model": "gpt-99", "prompt": "x"} if "chat" not in path else good_request("gpt-99")
    assert error_of(scripted.post(path, body), 404) == {
        "message": "The model 'gpt-99' does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert upstream.requests == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_a_413(scripted: Service, upstream: ScriptedUpstream, chunked: bool) -> None:
    body = b'{"model": "' + b"x" * 1_000_000 + b'"}'
    connection = http.client.HTTPConnection("127.0.0.1", scripted.port, timeout=10)
    connection.request(
        "POST",
        "/v2/chat/completions",
        iter([body[:600_000], body[600_000:]]) if chunked else body,
        {"Authorization": f"Bearer {scripted.key}"},
        encode_chunked=chunked,
    )
    response = connection.getresponse()
    reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    connection.close()
    error = error_of(reply, 413)
    assert error["type"] == "invalid_request_error"
    assert "1000000 bytes" in error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", {"POST"}),
        ("GET", "/v2/completions", {"POST"}),
        ("PUT", "/v2/chat/completions", {"POST"}),
        ("POST", "/v2/models", {"GET", "HEAD"}),
        ("DELETE", "/v1/models/gpt-4.1", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(
    scripted: Service, method: str, path: str, allow: set[str]
) -> None:
    reply = scripted.request(method, path)
    error = error_of(reply, 405)
    assert {name.strip() for name in reply.headers["allow"].split(",")} == allow
    assert (error["type"], error["code"]) == ("invalid_request_error", "method_not_allowed")


@pytest.mark.parametrize("path", ["/v1/nope", "/v2/", "/v3/chat/completions", "/nope", "/v2/chat/completions/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_url_is_a_404_that_names_it(scripted: Service, method: str, path: str) -> None:
    error = error_of(scripted.request(method, path), 404)
    assert error == {
        "message": f"Invalid URL ({method} {path})",
        "type": "invalid_request_error",
        "param": None,
        "code": "unknown_url",
    }


def test_completions_are_checked_as_well(scripted: Service, embedded: Service, upstream: ScriptedUpstream) -> None:
    for service, model in ((scripted, "open-model"), (embedded, "smollm2")):
        for fields, param, code in [
            ({}, "prompt", "missing_required_parameter"),
            ({"prompt": 5}, "prompt", "invalid_type"),
            ({"prompt": "x", "temperature": 2.5}, "temperature", "decimal_above_max_value"),
            ({"prompt": "x", "max_tokens": -1}, "max_tokens", "integer_below_min_value"),
            ({"prompt": "x", "logprobs": 6}, "logprobs", "integer_above_max_value"),
        ]:
            error = error_of(service.post("/v2/completions", {"model": model, **fields}), 400)
            assert (error["param"], error["code"]) == (param, code)
    assert upstream.requests == []


def test_more_output_than_the_model_may_give_is_refused(scripted: Service, upstream: ScriptedUpstream) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        body = {"model": "open-model", "messages": MESSAGES, field: 1025}
        error = error_of(scripted.post("/v2/chat/completions", body), 400)
        assert error["param"] == field
        assert "1024" in error["message"]
    assert upstream.requests == []
