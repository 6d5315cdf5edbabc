"""The reference is true: its schemas are OpenAI's where docs/parameters.md does not say otherwise, its samples run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from fundament.api.openapi import document
from fundament.api.responses_examples import CONVERSATION_ID, ITEM_ID, RESPONSE_ID
from fundament.api.samples import SAMPLE_ADDRESS
from parameter_table import PAGE, says, stated_differences
from programs import find_program
from schema_differences import Document, differences
from service import Reply, Service, wait_until
from specification import SPECIFICATION, assert_valid, assert_valid_event, read_sse

MODEL = "SmolLM2-135M-Instruct"
REFERENCE = document(MODEL)
METHODS = ("get", "post", "delete")
OPERATIONS = [(path, method) for path, item in REFERENCE["paths"].items() for method in METHODS if method in item]
ENDED = ("completed", "incomplete")
OPENAIS_NAMES = {
    "ChatCompletion": "CreateChatCompletionResponse",
    "ChatCompletionChunk": "CreateChatCompletionStreamResponse",
    "Completion": "CreateCompletionResponse",
    "Model": "Model",
    "ModelList": "ListModelsResponse",
    "ErrorResponse": "ErrorResponse",
    "Response": "Response",
    "CompactedResponse": "CompactResource",
    "InputTokens": "TokenCountsResource",
    "ItemList": "ConversationItemList",
    "KeptItem": "ConversationItem",
    "Conversation": "ConversationResource",
    "DeletedConversation": "DeletedConversationResource",
}


def operation(path: str, method: str) -> dict[str, Any]:
    return REFERENCE["paths"][path][method]


def request_examples() -> list[Any]:
    return [
        pytest.param(path, example["value"], id=f"{path}-{name}")
        for path, method in OPERATIONS
        if method == "post" and "requestBody" in operation(path, method)
        for name, example in operation(path, "post")["requestBody"]["content"]["application/json"]["examples"].items()
    ]


def answer_examples() -> list[Any]:
    responses = [(place, response) for place in OPERATIONS for response in operation(*place)["responses"].items()]
    responses += [(("", "failure"), response) for response in REFERENCE["components"]["responses"].items()]
    return [
        pytest.param(content["schema"], example["value"], id=f"{path}-{method}-{status}-{media}-{name}")
        for (path, method), (status, response) in responses
        for media, content in response.get("content", {}).items()
        for name, example in content["examples"].items()
    ]


def samples(lang: str) -> list[Any]:
    return [
        pytest.param(sample["source"], id=f"{path}-{sample['label']}")
        for path, method in OPERATIONS
        for sample in operation(path, method)["x-codeSamples"]
        if sample["lang"] == lang
    ]


def assert_fits(schema: dict[str, str], value: Any) -> None:
    """The value is valid against a schema of our own document."""
    resource = Resource.from_contents(REFERENCE, default_specification=DRAFT202012)
    registry = Registry().with_resource("ours", resource)
    Draft202012Validator({"$ref": "ours" + schema["$ref"]}, registry=registry).validate(value)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ChatRequest", "CreateChatCompletionRequest"),
        ("CompletionRequest", "CreateCompletionRequest"),
        ("ResponsesRequest", "CreateResponse"),
    ],
)
def test_a_request_differs_from_openais_only_where_the_page_says_so(ours: str, theirs: str) -> None:
    our_document, their_document = Document(REFERENCE), Document(json.loads(SPECIFICATION.read_bytes()))
    found = set(differences(our_document, our_document.schema(ours), their_document, their_document.schema(theirs)))
    stated = stated_differences(ours)
    assert [line for line in found if not any(says(row, line) for row in stated)] == [], f"not listed in {PAGE.name}"
    assert [row for row in stated if not any(says(row, line) for line in found)] == [], f"listed in {PAGE.name}, untrue"


@pytest.fixture
def known(embedded: Service) -> Callable[[str], str]:
    """Puts ids that exist, of a response made in the background and of a conversation, where examples show some."""
    asked = {"model": MODEL, "input": "Hello", "max_output_tokens": 16, "background": True}
    response = embedded.post("/v2/responses", asked).json["id"]
    items = [{"role": "user", "content": "Hello"}]
    conversation = embedded.post("/v2/conversations", {"items": items}).json["id"]
    (item,) = embedded.request("GET", f"/v2/conversations/{conversation}/items").json["data"]
    assert wait_until(lambda: embedded.request("GET", f"/v2/responses/{response}").json["status"] in ENDED, 20, 0.1)

    def put(text: str) -> str:
        shown = {RESPONSE_ID: response, CONVERSATION_ID: conversation, ITEM_ID: item["id"]}
        for stands, id in shown.items():
            text = text.replace(stands, id)
        return text

    return put


def url_of(path: str) -> str:
    """The path with the ids that examples show."""
    id = RESPONSE_ID if path.startswith("/responses") else CONVERSATION_ID if path.startswith("/conv") else MODEL
    base = "" if "servers" in REFERENCE["paths"][path] else "/v2"
    return base + path.replace("{id}", id).replace("{item_id}", ITEM_ID)


def events_of(body: bytes) -> list[str]:
    """The data of the events; those of a response's stream have names, and no `[DONE]` at the end."""
    if body.startswith(b"event: "):
        events = [event.split(b"\ndata: ", 1) for event in body.removesuffix(b"\n\n").split(b"\n\n")]
        assert all(name == b"event: " + json.loads(data)["type"].encode() for name, data in events)
        return [data.decode() for _, data in events]
    *events, done = read_sse(body)
    assert done == "[DONE]"
    return events


@pytest.mark.parametrize(("path", "body"), request_examples())
def test_a_request_example_is_answered_as_the_reference_says(
    embedded: Service, known: Callable[[str], str], path: str, body: dict[str, Any]
) -> None:
    assert_fits(operation(path, "post")["requestBody"]["content"]["application/json"]["schema"], body)
    reply = embedded.post(known(url_of(path)), json.loads(known(json.dumps(body))))
    assert reply.status == 200, reply.body
    content = operation(path, "post")["responses"]["200"]["content"]
    if body.get("stream"):
        for event in events_of(reply.body):
            assert_fits(content["text/event-stream"]["schema"], json.loads(event))
    else:
        assert_fits(content["application/json"]["schema"], reply.json)


@pytest.mark.parametrize(("schema", "value"), answer_examples())
def test_an_answer_example_is_valid_here_and_against_openais_schema(schema: dict[str, str], value: Any) -> None:
    assert_fits(schema, value)
    if schema["$ref"].endswith("/ResponseEvent"):
        assert_valid_event(value)
    if openais := OPENAIS_NAMES.get(schema["$ref"].rpartition("/")[2]):
        if value.get("object") == "text_completion" and value["choices"][0]["finish_reason"] is None:
            openais = "CreateCompletionStreamResponse"
        assert_valid(openais, value)


@pytest.mark.parametrize(
    ("path", "method"), [place for place in OPERATIONS if "requestBody" not in operation(*place)], ids=lambda part: part
)
def test_what_needs_no_body_is_answered_as_the_reference_says(
    embedded: Service, known: Callable[[str], str], path: str, method: str
) -> None:
    reply: Reply = embedded.request(method.upper(), known(url_of(path)))
    assert reply.status == 200, reply.body
    assert_fits(operation(path, method)["responses"]["200"]["content"]["application/json"]["schema"], reply.json)


def test_events_are_told_again_as_the_reference_says(embedded: Service, known: Callable[[str], str]) -> None:
    content = operation("/responses/{id}", "get")["responses"]["200"]["content"]["text/event-stream"]
    reply = embedded.request("GET", known(f"/v2/responses/{RESPONSE_ID}?stream=true&starting_after=2"))
    events = [json.loads(event) for event in events_of(reply.body)]
    assert [event["sequence_number"] for event in events] == list(range(3, 3 + len(events)))
    assert events[-1]["type"] in {"response.completed", "response.incomplete"}
    for event in events:
        assert_fits(content["schema"], event)


@pytest.mark.parametrize("after", ["x", "1_0", "9" * 23, "9" * 5000, "%20"])
def test_a_place_that_is_none_is_refused(embedded: Service, known: Callable[[str], str], after: str) -> None:
    reply = embedded.request("GET", known(f"/v2/responses/{RESPONSE_ID}?stream=true&starting_after={after}"))
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "starting_after", "invalid_value")


@pytest.mark.parametrize("limit", [0, 101, "x"])
def test_a_page_is_as_long_as_the_reference_says(
    embedded: Service, known: Callable[[str], str], limit: int | str
) -> None:
    for path in ("/responses/{id}/input_items", "/conversations/{id}/items"):
        (schema,) = [part["schema"] for part in operation(path, "get")["parameters"] if part["name"] == "limit"]
        assert not Draft202012Validator(schema).is_valid(limit)
        assert embedded.request("GET", known(f"{url_of(path)}?limit={limit}")).error["param"] == "limit"
        for bound in (schema["minimum"], schema["maximum"]):
            assert embedded.request("GET", known(f"{url_of(path)}?limit={bound}")).status == 200


@pytest.mark.parametrize(
    ("status", "key", "change"),
    [("400", "its own", {"temperature": 3}), ("401", "sk-wrong", {}), ("404", "its own", {"model": "gpt-99"})],
)
def test_a_failure_is_worded_as_the_reference_says(
    embedded: Service, status: str, key: str, change: dict[str, Any]
) -> None:
    example = operation("/chat/completions", "post")["requestBody"]["content"]["application/json"]["examples"]["simple"]
    reply = embedded.post("/v2/chat/completions", example["value"] | change, key=key)
    name = operation("/chat/completions", "post")["responses"][status]["$ref"].rpartition("/")[2]
    response = REFERENCE["components"]["responses"][name]["content"]["application/json"]
    assert reply.status == int(status)
    assert reply.json == response["examples"]["failure"]["value"]
    assert_fits(response["schema"], reply.json)


def run(command: list[str], source: str, service: Service, directory: Path) -> str:
    """What a pasted sample prints."""
    file = directory / "sample"
    if command[-1] == "node":
        file = directory / "sample.mjs"
    file.write_text(source.replace(SAMPLE_ADDRESS, f"http://127.0.0.1:{service.port}"))
    done = subprocess.run(
        [*command, file],
        cwd=directory,
        env=os.environ | {"OPENAI_API_KEY": service.key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("source", samples("shell"))
def test_a_curl_sample_works_when_pasted(
    embedded: Service,
    known: Callable[[str], str],
    tmp_path: Path,
    lacking: Callable[[str], NoReturn],
    source: str,
) -> None:
    if find_program("curl", package="curl") is None:
        lacking("curl")
    printed = run(
        ["bash"], known(source).replace("curl ", "curl --silent --show-error --fail-with-body ", 1), embedded, tmp_path
    )
    events = events_of(printed.encode()) if printed.startswith(("data: ", "event: ")) else [printed]
    assert all(json.loads(event).get("error") is None for event in events)


@pytest.mark.parametrize("source", samples("python"))
def test_a_python_sample_works_when_pasted(
    embedded: Service, known: Callable[[str], str], tmp_path: Path, source: str
) -> None:
    assert run([sys.executable], known(source), embedded, tmp_path).strip()


@pytest.fixture(scope="module")
def node_directory(tmp_path_factory: pytest.TempPathFactory, lacking: Callable[[str], NoReturn]) -> Path:
    """A directory in which Node finds the official `openai` package."""
    directory = tmp_path_factory.mktemp("node")
    if find_program("node", package="nodejs") is None:
        lacking("Node.js")
    npm = find_program("npm", package="npm")
    if npm is None:
        lacking("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "openai@6"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode != 0:
        lacking(f"the npm package openai ({done.stderr.strip()[-300:]})")
    return directory


@pytest.mark.parametrize("source", samples("javascript"))
def test_a_javascript_sample_works_when_pasted(
    embedded: Service, known: Callable[[str], str], node_directory: Path, source: str
) -> None:
    assert run(["node"], known(source), embedded, node_directory).strip()
