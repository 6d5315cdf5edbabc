"""How the reference says what an operation takes and answers, and the failures that all of them share.

It knows the form of an OpenAPI document and no operation by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fundament.api.samples import Samples

Json = dict[str, Any]

FAILURES: Mapping[str, tuple[str, str, Json]] = {
    "400": (
        "BadRequest",
        "Malformed, of a wrong type, out of range, unknown or unsupported. `param` names the field.",
        {
            "message": "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "decimal_above_max_value",
        },
    ),
    "401": (
        "Unauthorized",
        "No key, or one that is wrong, revoked or expired.",
        {
            "message": "Incorrect API key provided: ********. It is unknown to this service, or was revoked.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        },
    ),
    "403": (
        "Forbidden",
        "The key, or the plan of its contract, is without this model; or the key is good for something else.",
        {
            "message": "The plan 'team' of this API key's contract does not include the model 'gpt-99'.",
            "type": "permission_denied",
            "param": "model",
            "code": "permission_denied",
        },
    ),
    "404": (
        "NotFound",
        "There is no such model, response, conversation or item.",
        {
            "message": "The model 'gpt-99' does not exist or you do not have access to it.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        },
    ),
    "408": (
        "RequestLate",
        "The body did not arrive in the time that the service gives it. The connection is closed.",
        {
            "message": "The body of your request did not arrive in 120 s.",
            "type": "invalid_request_error",
            "param": None,
            "code": "request_timeout",
        },
    ),
    "413": (
        "TooLarge",
        "The body is larger than the service takes.",
        {
            "message": "The body of your request is larger than 33554432 bytes, which is the limit.",
            "type": "invalid_request_error",
            "param": None,
            "code": "request_too_large",
        },
    ),
    "424": (
        "RemoteServerFailed",
        "An MCP server that the request names gave no tools.",
        {
            "message": "Error retrieving tool list from MCP server: 'box': it answered 401 (Unauthorized).",
            "type": "external_connector_error",
            "param": "tools",
            "code": "http_error",
        },
    ),
    "429": (
        "TooManyRequests",
        "The model's vendor refuses more requests for now. `Retry-After` says how long.",
        {"message": "Rate limit reached.", "type": "requests", "param": None, "code": "rate_limit_exceeded"},
    ),
    "5XX": (
        "ServerError",
        (
            "500: the service or the model's engine failed. 502, 504: the model's vendor could not be reached, "
            "answered wrongly or not in time. 503: the model is starting or full; `Retry-After` says when to try again."
        ),
        {
            "message": "The server had an error while processing your request. Please retry.",
            "type": "server_error",
            "param": None,
            "code": None,
        },
    ),
}
GENERATING = ("400", "401", "403", "404", "408", "413", "429", "5XX")


def operation(tag: str, name: str, summary: str, description: str) -> Json:
    return {"tags": [tag], "operationId": name, "summary": summary, "description": description}


def request(schema: str, examples: Json) -> Json:
    content = {"application/json": {"schema": reference(schema), "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def responses(success: Json, failures: Sequence[str]) -> Json:
    refused = {status: {"$ref": f"#/components/responses/{FAILURES[status][0]}"} for status in sorted(failures)}
    return {"responses": {"200": success} | refused}


def generated(whole: Json, event: str, event_examples: Json, failures: Sequence[str] = GENERATING) -> Json:
    events = {"text/event-stream": {"schema": reference(event), "examples": event_examples}}
    success = {"description": "The answer; with `stream`, its events.", "content": whole["content"] | events}
    return responses(success, failures)


def answered(schema: str, examples: Json) -> Json:
    content = {"application/json": {"schema": reference(schema), "examples": examples}}
    return {"description": "The answer.", "content": content}


def failure(description: str, error: Json) -> Json:
    example = {"failure": {"value": {"error": error}}}
    return answered("ErrorResponse", example) | {"description": description}


def sampled(samples: Samples) -> Json:
    return {"x-codeSamples": samples}


def query_parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def path_parameter(name: str, description: str, example: str) -> Json:
    schema = {"type": "string", "minLength": 1}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def reference(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}
