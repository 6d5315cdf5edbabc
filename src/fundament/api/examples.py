"""The examples of the API reference: requests that tests send to a running service, and answers as it gives them.

It knows bodies as JSON; the document that they stand in is `openapi.py`'s.
"""

from typing import Any

Json = dict[str, Any]

CREATED = 1764000000
_FINGERPRINT = "fp_5f2c09a1b3"
WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place, now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CITY_SCHEMA: Json = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
    "required": ["name", "country"],
    "additionalProperties": False,
}


def chat_requests(model: str) -> Json:
    """Bodies of `POST /chat/completions`; `simple` is the first that a user tries."""
    system = {"role": "system", "content": "You are a helpful assistant."}
    messages = [system, {"role": "user", "content": "What is the capital of Switzerland?"}]
    simple = {"model": model, "messages": messages, "temperature": 0.1, "max_tokens": 32}
    schema = {"name": "city", "schema": CITY_SCHEMA, "strict": True}
    weather = [{"role": "user", "content": "What is the weather in Bern?"}]
    return {
        "simple": {"summary": "A question", "value": simple},
        "streamed": {
            "summary": "Streamed",
            "value": {**simple, "stream": True, "stream_options": {"include_usage": True}},
        },
        "json": {
            "summary": "An answer that fits a JSON Schema",
            "value": {**simple, "response_format": {"type": "json_schema", "json_schema": schema}},
        },
        "tools": {
            "summary": "A function that must be called",
            "value": {
                "model": model,
                "messages": weather,
                "tools": [WEATHER],
                "tool_choice": "required",
                "parallel_tool_calls": False,
                "temperature": 0,
                "max_tokens": 64,
            },
        },
    }


def chat_answers(model: str) -> Json:
    """Answers to them."""
    call = {
        "id": "call_2b6f0e",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'},
    }
    return {
        "simple": {
            "summary": "A question",
            "value": _chat(model, {"content": "The capital of Switzerland is Bern."}, "stop", (31, 8)),
        },
        "json": {
            "summary": "An answer that fits a JSON Schema",
            "value": _chat(model, {"content": '{"name": "Bern", "country": "Switzerland"}'}, "stop", (31, 14)),
        },
        "tools": {
            "summary": "A function that must be called",
            "value": _chat(model, {"content": None, "tool_calls": [call]}, "tool_calls", (126, 18)),
        },
    }


def chat_chunk(model: str) -> Json:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": " Bern"}, "logprobs": None, "finish_reason": None}
    head = _head("chatcmpl-7d0c51", "chat.completion.chunk", model)
    return {"chunk": {"value": {**head, "choices": [choice], "usage": None}}}


def completion_requests(model: str) -> Json:
    """Bodies of `POST /completions`; `simple` is the first that a user tries."""
    simple = {"model": model, "prompt": "The capital of Switzerland is", "max_tokens": 16, "temperature": 0.2}
    return {
        "simple": {"summary": "A text to continue", "value": simple},
        "streamed": {"summary": "Streamed", "value": {**simple, "stream": True}},
        "several": {
            "summary": "Several texts at once",
            "value": {**simple, "prompt": ["The capital of Switzerland is", "The capital of Austria is"]},
        },
    }


def completion_answers(model: str) -> Json:
    """An answer to the first of them."""
    choice = {"index": 0, "text": " Bern.", "logprobs": None, "finish_reason": "stop"}
    head = _head("cmpl-7d0c51", "text_completion", model)
    return {"simple": {"value": {**head, "choices": [choice], "usage": _usage(5, 3)}}}


def completion_chunk(model: str) -> Json:
    """One event of a stream."""
    choice = {"index": 0, "text": " Bern", "logprobs": None, "finish_reason": None}
    return {"chunk": {"value": {**_head("cmpl-7d0c51", "text_completion", model), "choices": [choice]}}}


def shown_model(model: str) -> Json:
    """What `GET /models/{id}` tells of a model."""
    return {
        "id": model,
        "object": "model",
        "created": CREATED,
        "owned_by": "fundament",
        "meta_data": {
            "max_sequence_length": 8192,
            "hidden_size": 576,
            "max_output_length": 8192,
            "quantisation": "Q4_1",
            "open_weights": True,
            "hosted_by": "self",
            "region": None,
            "license": "apache-2.0",
            "aliases": [],
        },
    }


def _chat(model: str, message: Json, finish_reason: str, tokens: tuple[int, int]) -> Json:
    whole = {"role": "assistant", "refusal": None, **message}
    choice = {"index": 0, "message": whole, "logprobs": None, "finish_reason": finish_reason}
    return {**_head("chatcmpl-7d0c51", "chat.completion", model), "choices": [choice], "usage": _usage(*tokens)}


def _head(id: str, kind: str, model: str) -> Json:
    return {"id": id, "object": kind, "created": CREATED, "model": model, "system_fingerprint": _FINGERPRINT}


def _usage(prompt_tokens: int, completion_tokens: int) -> Json:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
