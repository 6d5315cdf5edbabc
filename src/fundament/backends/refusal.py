"""What a server's error means to our client: the one mapping from an upstream's status and body to the error tree.

It knows OpenAI's error shape and how servers bend it; it does not know which request was made.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from fundament.backends.profiles import Profile
from fundament.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RequestError,
    ServerFailure,
    Unavailable,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamTimeout,
)

_RESTART_S = 2  # about what an engine needs to be back
_OPENAI_TYPE = re.compile(r"[a-z_]+")  # others are names of a server's classes: BadRequestError, "Bad Request", "404"
_FIELD = re.compile(r"[a-z][a-z0-9_]*")  # other steps of a path are names of a server's classes
_UNKNOWN_MODEL = frozenset({"model_not_found", "DeploymentNotFound"})  # OpenAI's and Azure's


ENGINE_BROKE = "The model's engine failed while it answered. It restarts by itself; please retry."


def refusal(  # noqa: PLR0911 - a table of cases
    profile: Profile, status: int, body: bytes, headers: Mapping[bytes, bytes], prompt_field: str
) -> RequestError:
    """The failure that an answer with an error stands for.

    Args:
        status: the answer's HTTP status; 0 for an error frame within a stream.
        prompt_field: the request's field that holds the prompt, for errors that are about it.
    """
    error = _error_object(body)
    message = str(error.get("message") or f"The upstream answered with status {status}.")
    code = error.get("code")
    if status < 400:
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    limit, length = error.get("n_ctx"), error.get("n_prompt_tokens")
    if error.get("type") == "exceed_context_size_error" and isinstance(limit, int) and isinstance(length, int):
        return ContextLengthExceeded(limit, length, prompt_field)
    if (worded := _worded(profile, message, prompt_field)) is not None:
        return worded
    retry_after_s = _seconds(headers.get(b"retry-after"))
    if profile.own:
        if status == 503:
            return Unavailable("The model is starting. Please retry.", code="model_starting", retry_after_s=_RESTART_S)
        if status >= 500:
            return ServerFailure(f"The model's engine failed: {message}", code="engine_error")
    if status in {401, 403}:
        # The caller's key was right; the one that we hold for the upstream was not.
        return UpstreamFailure("The upstream refused the service's own credential.", code="upstream_credential_refused")
    param = _param(error)
    if status == 404 and _is_ours(param, code):
        return UpstreamFailure(
            "The upstream does not know the model, or the address, that the service is configured with.",
            code="upstream_model_not_found",
        )
    if status == 503:
        return Unavailable(message, code="upstream_unavailable", retry_after_s=retry_after_s or _RESTART_S)
    if status in {408, 504}:
        return UpstreamTimeout(message, code="upstream_timeout")
    if status >= 500:
        return UpstreamFailure(f"The upstream failed: {message}", code="upstream_error")
    refused = UpstreamRefused(
        status,
        message,
        type=_type(error),
        param=param,
        code=code if isinstance(code, str) else None,
    )
    refused.retry_after_s = retry_after_s
    return refused


def _worded(profile: Profile, message: str, prompt_field: str) -> InvalidRequest | None:
    """The refusal that a server has words for, and no code."""
    for wording in profile.wordings:
        if (found := wording.pattern.search(message)) is not None:
            groups = found.groupdict()
            if "limit" in groups and "length" in groups:
                return ContextLengthExceeded(int(groups["limit"]), int(groups["length"]), prompt_field)
            return InvalidRequest(message, param=wording.param or prompt_field, code=wording.code)
    return None


def _is_ours(param: str | None, code: object) -> bool:
    """Whether what was not found is the model or the URL: the catalogue names both, not the caller."""
    named = isinstance(code, str) and code != "" and not code.isdigit()
    return param == "model" or (code in _UNKNOWN_MODEL if named else param is None)


def owned(profile: Profile, failure: RequestError) -> RequestError:
    """A request that got no answer, in the words for our own engine where it was that: it is about to be back."""
    if profile.own and isinstance(failure, UpstreamFailure):
        return Unavailable(
            "The model's engine is starting or restarting. Please retry.",
            code="model_starting",
            retry_after_s=_RESTART_S,
        )
    return failure


def _error_object(body: bytes) -> dict[str, Any]:
    """The error in `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}` or plain text.

    FastAPI's `detail` is a list of faults, each with its place; the first is told.
    """
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[:500].decode("utf-8", "replace").strip()
        return {} if re.match(r"\s*<", text) else {"message": text}
    if not isinstance(decoded, dict):
        return {}
    outer = cast("dict[str, Any]", decoded)
    error = outer.get("error", outer)
    if isinstance(error, str):
        return {**outer, "message": error}
    if not isinstance(error, dict):
        return {}
    inner = cast("dict[str, Any]", error)
    detail = inner.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        fault = cast("dict[str, Any]", detail[0])
        detail = fault.get("msg")
        inner = {
            "param": _path(cast("list[Any]", fault["loc"])) if isinstance(fault.get("loc"), list) else None,
            **inner,
        }
    if "message" not in inner and isinstance(detail, str):
        return {**inner, "message": detail}
    return inner


def _type(error: Mapping[str, Any]) -> str:
    name = error.get("type")
    return name if isinstance(name, str) and _OPENAI_TYPE.fullmatch(name) else "invalid_request_error"


def _param(error: Mapping[str, Any]) -> str | None:
    """The field at fault as OpenAI writes it; vLLM writes `body.messages.0.content`."""
    param = error.get("param")
    if param is None:
        return None
    steps = str(param).split(".")
    return _path(steps) if steps[0] == "body" else str(param)


def _path(steps: list[Any]) -> str | None:
    """`messages[0].content` of pydantic's `["body", "messages", 0, "SomeModel", "content"]`."""
    path = ""
    for step in map(str, steps[1:] if steps[:1] == ["body"] else steps):
        if step.isdecimal():
            path += f"[{step}]"
        elif _FIELD.fullmatch(step):
            path += f".{step}"
    return path.removeprefix(".") or None


def _seconds(header: bytes | None) -> int | None:
    return int(header) if header is not None and header.isdigit() else None
