"""The response object before anything happened: the request's settings as OpenAI's `Response` shows them.

It knows which fields there are and what stands in them where the request says nothing. Both specifications require most
of them, so that none is left out.
"""

from typing import Any

import msgspec

from fundament.errors import RemoteServerFailure, RequestError
from fundament.protocol.responses import ResponsesRequest, TextOptions
from fundament.protocol.usage import Usage
from fundament.responses.tools import shown_tools

Json = dict[str, Any]
ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})


def new_response(request: ResponsesRequest, *, id: str, created_at: int) -> Json:
    """The response to `request` with the status `in_progress` and no output; `created_at` is Unix time in seconds."""
    response: Json = {
        "id": id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "in_progress",
        "background": bool(request.background),
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "model": request.model,
        "output": [],
        "previous_response_id": request.previous_response_id,
        "store": request.stored,
        "usage": None,
        "metadata": request.metadata or {},
    }
    if request.conversation_id is not None:
        response["conversation"] = {"id": request.conversation_id}
    if request.user is not None:
        response["user"] = request.user
    response.update(_generation(request))
    return response


def shown_usage(usage: Usage) -> Json:
    """A chat's usage as OpenAI's `ResponseUsage`."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def shown_error(failure: RequestError) -> Json:
    """A failure by the names of OpenAI's `ResponseErrorCode`."""
    if failure.status == 429:
        code = "rate_limit_exceeded"
    elif failure.status >= 500 or isinstance(failure, RemoteServerFailure):
        code = "server_error"
    else:
        code = "invalid_prompt"
    return {"code": code, "message": failure.message}


def _generation(request: ResponsesRequest) -> Json:
    reasoning = request.reasoning
    summary = None if reasoning is None else reasoning.summary or reasoning.generate_summary
    return {
        "frequency_penalty": _or(request.frequency_penalty, 0.0),
        "parallel_tool_calls": _or(request.parallel_tool_calls, True),
        "presence_penalty": _or(request.presence_penalty, 0.0),
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": None if reasoning is None else reasoning.effort, "summary": summary},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default" if request.service_tier in {None, "auto"} else request.service_tier,
        "temperature": _or(request.temperature, 1.0),
        "text": _text(request.text or TextOptions()),
        "tool_choice": "auto" if request.tool_choice is None else msgspec.to_builtins(request.tool_choice),
        "tools": shown_tools(request.tools or []),
        "top_logprobs": request.top_logprobs or 0,
        "top_p": _or(request.top_p, 1.0),
        "truncation": request.truncation or "disabled",
    }


def _text(text: TextOptions) -> Json:
    format: Json = {"type": "text"} if text.format is None else msgspec.to_builtins(text.format)
    if format["type"] == "json_schema":
        format = {"description": None, **format, "strict": bool(format.get("strict"))}
    return {"format": format, "verbosity": text.verbosity or "medium"}


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
