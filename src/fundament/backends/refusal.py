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
    RequestError,
    ServerFailure,
    Unavailable,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamTimeout,
)

_RESTART_S = 2  # about what an engine needs to be back


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
    retry_after_s = _seconds(headers.get(b"retry-after"))
    if profile.own:
        if status == 503:
            return Unavailable("The model is starting. Please retry.", code="model_starting", retry_after_s=_RESTART_S)
        if status >= 500:
            return ServerFailure(f"The model's engine failed: {message}", code="engine_error")
    if status in {401, 403}:
        # The caller's key was right; the one that we hold for the upstream was not.
        return UpstreamFailure("The upstream refused the service's own credential.", code="upstream_credential_refused")
    if status == 503:
        return Unavailable(message, code="upstream_unavailable", retry_after_s=retry_after_s or _RESTART_S)
    if status in {408, 504}:
        return UpstreamTimeout(message, code="upstream_timeout")
    if status >= 500:
        return UpstreamFailure(f"The upstream failed: {message}", code="upstream_error")
    refused = UpstreamRefused(
        status,
        message,
        type=str(error.get("type") or "invalid_request_error"),
        param=str(error["param"]) if error.get("param") is not None else None,
        code=code if isinstance(code, str) else None,
    )
    refused.retry_after_s = retry_after_s
    return refused


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
    """The error in `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}` or plain text."""
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
    if "message" not in inner and isinstance(inner.get("detail"), str):
        return {**inner, "message": inner["detail"]}
    return inner


def _seconds(header: bytes | None) -> int | None:
    return int(header) if header is not None and header.isdigit() else None
