"""`GET /openapi.json`: valid, complete, cheap."""

import ast
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fundament.api import app
from fundament.api.descriptions import DESCRIPTIONS
from fundament.api.openapi import document, openapi
from fundament.errors import RequestError
from fundament.gateway.catalogue import CatalogueModel
from fundament.protocol.chat import ChatRequest
from fundament.protocol.completions import CompletionRequest
from fundament.protocol.conversations import ConversationChange, ItemsToAdd, NewConversation
from fundament.protocol.responses import CompactRequest, ResponsesRequest
from service import Service

REFERENCE = document("a-model")
METHODS = {"get", "post", "delete"}
SCHEMAS: dict[str, Any] = REFERENCE["components"]["schemas"]
OPENAPI_3_1 = Path(__file__).parent.parent / "spec" / "openapi-3.1.json"


def test_it_is_a_valid_openapi_document() -> None:
    Draft202012Validator(json.loads(OPENAPI_3_1.read_bytes())).validate(REFERENCE)
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_an_invalid_document_would_be_noticed() -> None:
    validator = Draft202012Validator(json.loads(OPENAPI_3_1.read_bytes()))
    assert not validator.is_valid(REFERENCE | {"paths": {"no-slash": {}}})
    assert not validator.is_valid({name: value for name, value in REFERENCE.items() if name != "info"})


def test_each_reference_within_it_leads_somewhere() -> None:
    text = json.dumps(REFERENCE)
    for target in set(re.findall(r'"(#/[^"]+)"', text)):
        part: Any = REFERENCE
        for step in target.removeprefix("#/").split("/"):
            part = part[step]


REQUESTS = [
    ChatRequest,
    CompletionRequest,
    ResponsesRequest,
    CompactRequest,
    NewConversation,
    ConversationChange,
    ItemsToAdd,
]


@pytest.mark.parametrize("type", REQUESTS)
def test_each_parameter_that_is_validated_is_described(type: Any) -> None:
    properties = SCHEMAS[type.__name__]["properties"]
    assert list(properties) == list(type.__struct_fields__)
    assert [name for name, schema in properties.items() if not schema.get("description")] == []


def test_two_types_of_one_name_are_told_apart() -> None:
    assert "parameters" in SCHEMAS["ResponsesFunctionTool"]["properties"]
    assert "function" in SCHEMAS["FunctionTool"]["properties"]
    assert [name for name, schema in SCHEMAS.items() if "." in name or schema.get("title", name) != name] == []


def test_each_parameter_of_a_path_or_query_is_described() -> None:
    for path, item in REFERENCE["paths"].items():
        parameters = [*item.get("parameters", ())]
        for method in METHODS & item.keys():
            parameters += item[method].get("parameters", ())
        assert all(parameter["description"] for parameter in parameters)
        named = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_whatever_takes_a_body_tells_of_one_that_is_late_or_too_large() -> None:
    for path, item in REFERENCE["paths"].items():
        for method in METHODS & item.keys():
            told = {"408", "413"} & item[method]["responses"].keys()
            assert told == ({"408", "413"} if "requestBody" in item[method] else set()), (method, path)


def test_each_status_of_a_failure_is_told_somewhere() -> None:
    def statuses(failure: type[RequestError]) -> set[int]:
        return {failure.status}.union(*map(statuses, failure.__subclasses__()))

    operations = [item[method] for item in REFERENCE["paths"].values() for method in METHODS & item.keys()]
    told = {status for operation in operations for status in operation["responses"]}
    other_methods = 405  # what is written here has no other methods
    assert {"5XX" if status >= 500 else str(status) for status in statuses(RequestError) - {other_methods}} <= told


def test_each_description_is_of_something() -> None:
    used = {name for title, schema in SCHEMAS.items() for field in schema.get("properties", {}) for name in
            ({f"{title}.{field}"} & DESCRIPTIONS.keys() or {field})}  # fmt: skip
    assert DESCRIPTIONS.keys() - used == set()


def test_the_examples_name_the_first_model_that_can_complete_texts() -> None:
    bought = CatalogueModel(id="bought", created=0, owned_by="a", open_weights=False)
    opened = CatalogueModel(id="opened", created=0, owned_by="a")
    second = CatalogueModel(id="second", created=0, owned_by="a")
    for models, named in [((bought, opened, second), "opened"), ((bought,), "bought"), ((), "MODEL")]:
        assert openapi(models).body == openapi([CatalogueModel(id=named, created=0, owned_by="a")]).body


def test_it_is_made_in_no_time() -> None:
    def took_s() -> float:
        began_at = time.process_time()
        document("a-model")
        return time.process_time() - began_at

    assert min(took_s() for _ in range(5)) < 0.03


def test_it_is_served_without_a_key_and_not_twice(scripted: Service) -> None:
    first = scripted.request("GET", "/openapi.json", key=None)
    assert (first.status, first.headers["content-type"]) == (200, "application/json")
    assert first.json == document("open-model")
    again = scripted.request("GET", "/openapi.json", key=None, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert scripted.request("GET", "/openapi.json", headers={"If-None-Match": '"another"'}).status == 200
    assert scripted.request("HEAD", "/openapi.json", key=None).body == b""
    assert scripted.request("POST", "/openapi.json", {}, key=None).status == 405


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize("path", REFERENCE["paths"])
def test_the_paths_and_methods_are_those_of_the_service(scripted: Service, path: str, base: str) -> None:
    item = REFERENCE["paths"][path]
    url = re.sub(r"{\w+}", "open-model", path if "servers" in item else base + path)
    refused = scripted.request("PATCH", url, {})
    assert (refused.status, refused.error["code"]) == (405, "method_not_allowed"), (url, refused.body)
    allowed = {method.lower() for method in refused.headers["allow"].split(", ")} - {"head"}
    assert allowed == METHODS & item.keys()


def test_every_path_of_the_service_is_in_it() -> None:
    written = {node.value for node in ast.walk(ast.parse(Path(app.__file__).read_bytes()))
               if isinstance(node, ast.Constant) and str(node.value).startswith("/")}  # fmt: skip
    paths = {path.replace(":path}", "}") for path in written} - {*app.BASES, "/openapi.json", "/metrics"}
    assert paths == set(REFERENCE["paths"])
