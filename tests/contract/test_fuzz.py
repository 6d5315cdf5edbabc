"""Anything that the OpenAPI document allows, and what it does not: never a 5xx, never a hang, never a lost process.

FUZZ_REQUESTS in the environment says how many requests are made, all endpoints together; a few hundred without it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET

from fundament.api.openapi import document
from scripted_answers import Answer, chat_answer, chat_stream, completion_answer, completion_stream
from scripted_upstream import Request, ScriptedUpstream
from service import Service
from specification import assert_valid

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "400"))
HANG_S = 20
REFERENCE = schemathesis.openapi.from_dict(document("open-model"))
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
GENERATING = ("/chat/completions", "/completions", "/responses")
READING = ("/models", "/models/{id}", "/health/live", "/health/ready")
STATE = [
    (method, path)
    for path, item in document("open-model")["paths"].items()
    for method in ("GET", "POST", "DELETE")
    if path.startswith(("/responses/", "/conversations")) and method.lower() in item
]


def answering(request: Request) -> Answer:
    """What the upstream says, whatever it is asked."""
    chat, stream = request.path.endswith("/chat/completions"), request.json.get("stream")
    if chat:
        return chat_stream(["Hel", "lo"], usage=True) if stream else chat_answer("Hello")
    return completion_stream(["Hel", "lo"], usage=True) if stream else completion_answer("Hello")


def ask(service: Service, method: str, path: str, body: Any = None) -> None:
    """One request; it must be answered in time, well or with an error that says what is wrong."""
    missing = body is None or body is NOT_SET
    data = body if isinstance(body, bytes) else None if missing else json.dumps(body).encode(errors="surrogatepass")
    reply = service.request(method, path, data, timeout_s=HANG_S)
    assert reply.status < 500, (path, body, reply.body)
    if reply.status >= 400:
        assert reply.error["message"]
        assert_valid("ErrorResponse", reply.json)


def url_of(case: Any, ids: Mapping[str, str]) -> str:
    """The case's address, with `ids` in place of generated ones."""
    parameters = {name: ids.get(name, value) for name, value in case.path_parameters.items()}
    path = case.operation.path.format(**{name: quote(str(value), safe="") for name, value in parameters.items()})
    query = urlencode(case.query or {}, doseq=True, errors="surrogatepass")
    return f"/v2{path}?{query}"


@pytest.fixture
def kept(answered: Service) -> Mapping[str, str]:
    """Ids of a response made in the background, of a conversation and of its first item."""
    asked = {"model": "open-model", "input": "Hello", "background": True}
    conversation = answered.post("/v2/conversations", {"items": [{"role": "user", "content": "Hello"}]}).json["id"]
    (item,) = answered.request("GET", f"/v2/conversations/{conversation}/items").json["data"]
    response = answered.post("/v2/responses", asked).json["id"]
    return {"/responses": response, "/conversations": conversation, "item_id": item["id"]}


def with_names(body: Any, model: str | None, kept: Mapping[str, str]) -> Any:
    """The body with names that exist, where it has strings for them."""
    if not isinstance(body, dict):
        return body
    names = {"model": model, "previous_response_id": kept.get("/responses"), "conversation": kept.get("/conversations")}
    return body | {name: id for name, id in names.items() if id is not None and isinstance(body.get(name), str)}


def fuzz(test: Any, share: float) -> None:
    """Run a Hypothesis test for its share of the requests."""
    checked = settings(
        max_examples=max(1, int(REQUESTS * share)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    checked(test)()


@pytest.fixture
def answered(scripted: Service, upstream: ScriptedUpstream) -> Service:
    """The service with an upstream that always answers; afterwards it must run as before."""
    upstream.default(answering)
    return scripted


@pytest.fixture(autouse=True)
def no_process_is_lost(answered: Service) -> Iterator[None]:
    before = [process.pid for process in answered.processes()]
    yield
    assert [process.pid for process in answered.processes()] == before
    assert answered.request("GET", "/health/ready", key=None).status == 200


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", GENERATING)
def test_generated_bodies_are_answered_or_refused(
    answered: Service, kept: Mapping[str, str], path: str, mode: GenerationMode
) -> None:
    bodies = REFERENCE[path]["POST"].as_strategy(generation_mode=mode)

    @given(bodies, st.sampled_from(["open-model", "open-model", "open-alias", None]), st.booleans())
    def check(case: Any, model: str | None, continued: bool) -> None:
        body = with_names(case.body, model, kept if continued else {})
        ask(answered, "POST", f"/v2{path}", body)

    fuzz(check, 0.15)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), STATE)
def test_generated_requests_for_what_is_kept_are_answered_or_refused(
    answered: Service, kept: Mapping[str, str], method: str, path: str, mode: GenerationMode
) -> None:
    known = {"id": kept["/" + path.split("/")[1]], "item_id": kept["item_id"]}

    @given(REFERENCE[path][method].as_strategy(generation_mode=mode), st.integers(0, 3))
    def check(case: Any, luck: int) -> None:
        body = with_names(case.body, "open-model" if luck else None, kept)
        ask(answered, method, url_of(case, known if luck else {}), body)

    fuzz(check, 0.01)


@pytest.mark.parametrize("path", READING)
def test_generated_paths_are_answered_or_refused(answered: Service, path: str) -> None:
    @given(REFERENCE[path]["GET"].as_strategy())
    def check(case: Any) -> None:
        base = "" if path.startswith("/health") else "/v2"
        ask(answered, "GET", base + case.formatted_path)

    fuzz(check, 0.03)


def test_a_valid_body_is_valid_for_the_service_too(answered: Service) -> None:
    """Else the fuzz above would only ever see the validation."""
    schema = document("open-model")
    validator = Draft202012Validator({"$ref": "#/components/schemas/CompletionRequest", **schema})
    seen: set[int] = set()

    @given(REFERENCE["/completions"]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def check(case: Any) -> None:
        validator.validate(case.body)
        seen.add(answered.post("/v2/completions", case.body | {"model": "open-model"}).status)

    fuzz(check, 0.1)
    assert 200 in seen
