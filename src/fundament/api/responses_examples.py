"""The examples of the Responses and Conversations APIs in the reference: requests that tests send, answers as they are.

It knows bodies as JSON. The ids in them stand for those that a reader has got.
"""

from typing import Any

from fundament.api.examples import CITY_SCHEMA, CREATED, WEATHER

Json = dict[str, Any]

RESPONSE_ID = "resp_7d0c51e8"
CONVERSATION_ID = "conv_7d0c51e8"
ITEM_ID = "msg_7d0c51e8"
_QUESTION = "What is the capital of Switzerland?"
_ANSWER = "The capital of Switzerland is Bern."

_USAGE: Json = {
    "input_tokens": 31,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 8,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 39,
}


def response_requests(model: str) -> Json:
    """Bodies of `POST /responses`; `simple` is the first that a user tries."""
    instructions = "You are a helpful assistant."
    simple = {
        "model": model,
        "instructions": instructions,
        "input": _QUESTION,
        "temperature": 0.1,
        "max_output_tokens": 32,
    }
    format = {"type": "json_schema", "name": "city", "schema": CITY_SCHEMA, "strict": True}
    weather = {"type": "function", **WEATHER["function"]}
    follow_up = {"model": model, "input": "And of Austria?", "max_output_tokens": 32}
    return {
        "simple": {"summary": "A question", "value": simple},
        "streamed": {"summary": "Streamed", "value": {**simple, "stream": True}},
        "continued": {
            "summary": "After an earlier response",
            "value": {**follow_up, "previous_response_id": RESPONSE_ID},
        },
        "conversation": {"summary": "In a conversation", "value": {**follow_up, "conversation": CONVERSATION_ID}},
        "background": {"summary": "In the background", "value": {**simple, "background": True}},
        "json": {
            "summary": "An answer that fits a JSON Schema",
            "value": {"model": model, "input": _QUESTION, "text": {"format": format}, "temperature": 0.1},
        },
        "tools": {
            "summary": "A function that must be called",
            "value": {
                "model": model,
                "input": "What is the weather in Bern?",
                "tools": [weather],
                "tool_choice": "required",
                "temperature": 0,
                "max_output_tokens": 64,
            },
        },
    }


def input_tokens_requests(model: str) -> Json:
    """Bodies of `POST /responses/input_tokens`."""
    return {"simple": {"summary": "A question", "value": {"model": model, "input": _QUESTION}}}


def response_answers(model: str) -> Json:
    """Responses: ended, and waiting in the background."""
    queued = _response(model, "queued", []) | {"background": True}
    return {
        "simple": {"summary": "A question", "value": _response(model, "completed", [_message("completed", _ANSWER)])},
        "background": {"summary": "In the background", "value": queued},
    }


def cancelled_answer(model: str) -> Json:
    """A response that was cancelled in the middle."""
    broken_off = [_message("incomplete", "The capital of")]
    return {"cancelled": {"value": _response(model, "cancelled", broken_off) | {"background": True}}}


def response_events(model: str) -> Json:
    """Events of a stream."""
    place = {"item_id": ITEM_ID, "output_index": 0, "content_index": 0}
    delta: Json = {**place, "delta": "The capital", "logprobs": [], "obfuscation": "kZ3fA"}
    whole = _response(model, "completed", [_message("completed", _ANSWER)])
    return {
        "created": {
            "summary": "The first",
            "value": {
                "type": "response.created",
                "sequence_number": 0,
                "response": _response(model, "in_progress", []),
            },
        },
        "delta": {
            "summary": "A piece of text",
            "value": {"type": "response.output_text.delta", "sequence_number": 4, **delta},
        },
        "completed": {
            "summary": "The last",
            "value": {"type": "response.completed", "sequence_number": 11, "response": whole},
        },
    }


def conversation_requests() -> Json:
    """Bodies of `POST /conversations`."""
    items = [{"role": "user", "content": _QUESTION}]
    return {"simple": {"summary": "With a first item", "value": {"items": items, "metadata": {"topic": "capitals"}}}}


def conversation_changes() -> Json:
    """Bodies of `POST /conversations/{id}`."""
    return {"simple": {"summary": "New metadata", "value": {"metadata": {"topic": "geography"}}}}


def items_to_add() -> Json:
    """Bodies of `POST /conversations/{id}/items`."""
    return {"simple": {"summary": "A message", "value": {"items": [{"role": "user", "content": "And of Austria?"}]}}}


def conversation_answer(topic: str = "capitals") -> Json:
    conversation = {"id": CONVERSATION_ID, "object": "conversation", "created_at": CREATED}
    return {"simple": {"value": {**conversation, "metadata": {"topic": topic}}}}


def item_answer() -> Json:
    return {"simple": {"value": _kept_message(_QUESTION)}}


def list_answer(text: str = _QUESTION) -> Json:
    ends = {"first_id": ITEM_ID, "last_id": ITEM_ID, "has_more": False}
    return {"simple": {"value": {"object": "list", "data": [_kept_message(text)], **ends}}}


def deleted_answer(id: str, object: str) -> Json:
    return {"simple": {"value": {"id": id, "object": object, "deleted": True}}}


def input_tokens_answer() -> Json:
    return {"simple": {"value": {"object": "response.input_tokens", "input_tokens": 16}}}


def compact_requests(model: str) -> Json:
    """Bodies of `POST /responses/compact`."""
    return {"simple": {"summary": "A question", "value": {"model": model, "input": _QUESTION}}}


def compacted_answer() -> Json:
    output = [_kept_message(_QUESTION), {"id": "cmp_1", "type": "compaction", "encrypted_content": "ZnVuZGFtZW50…"}]
    head = {"id": RESPONSE_ID, "object": "response.compaction", "created_at": CREATED}
    return {"simple": {"value": {**head, "output": output, "usage": _USAGE}}}


def _kept_message(text: str) -> Json:
    content = [{"type": "input_text", "text": text}]
    return {"id": ITEM_ID, "type": "message", "status": "completed", "role": "user", "content": content}


def _message(status: str, text: str) -> Json:
    content: list[Json] = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": ITEM_ID, "type": "message", "status": status, "role": "assistant", "content": content}


def _response(model: str, status: str, output: list[Json]) -> Json:
    ended = status == "completed"
    return {
        "id": RESPONSE_ID,
        "object": "response",
        "created_at": CREATED,
        "completed_at": CREATED + 1 if ended else None,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "You are a helpful assistant.",
        "max_output_tokens": 32,
        "max_tool_calls": None,
        "model": model,
        "output": output,
        "previous_response_id": None,
        "store": True,
        "usage": _USAGE if ended else None,
        "metadata": {},
        "frequency_penalty": 0.0,
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "temperature": 0.1,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
    }
