"""The one tree of failures, each with its HTTP status and OpenAI's error fields. It knows nothing of JSON or servers.

Raise these, never return them; `api/` renders them once, at the edge.

    FundamentError
    ├── ConfigError                      the start is refused, the setting named
    ├── WeightsError                     a model file cannot be found, fetched or trusted
    ├── InvalidChange                    what an operator wants of a contract or key cannot be
    ├── UnknownRecord                    no contract or key is called this, or several are
    └── RequestError                     everything a client can be told
        ├── InvalidRequest         400   malformed, wrong type, out of range, unknown or unsupported
        │   └── ContextLengthExceeded
        ├── InvalidKey             401   no key, a wrong, revoked or expired one
        ├── PermissionDenied       403   the plan or the key is without this model, or this scope
        ├── NotFound               404   unknown URL or id
        │   └── ModelNotFound
        ├── MethodNotAllowed       405
        ├── RequestLate            408   its body took too long
        ├── BodyTooLarge           413
        ├── RemoteServerFailure    424   an MCP server of the client's gave no tools
        ├── RateLimited            429   a limit of the contract's plan is reached
        │   └── InsufficientQuota        its budget for the month is spent
        ├── UpstreamRefused        4xx   the upstream's own refusal, passed on
        ├── ServerFailure          500   a fault of ours
        ├── UpstreamFailure        502   the upstream broke its protocol, refused our credential or model
        │   └── UpstreamUnreachable      no connection to it: nothing was sent
        ├── Unavailable            503   engine starting, failed or full; service stopping
        └── UpstreamTimeout        504
            └── UpstreamConnectTimeout   nothing was sent

`retryable` tells whether the same request may succeed later or elsewhere, `elsewhere` whether another server of the
same model may be asked at once.
"""

from collections.abc import Sequence


class FundamentError(Exception):
    """Every failure that Fundament raises on purpose."""


class ConfigError(FundamentError):
    """A setting is unknown or has a bad value; the message names it."""


class WeightsError(FundamentError):
    """A model's weights cannot be found, fetched or trusted; the message says which and why."""


class InvalidChange(FundamentError):
    """What an operator wants of a contract or a key cannot be: a bad name, one in use, an unknown plan."""


class UnknownRecord(FundamentError):
    """No contract or key is called this, or several are; the message says which."""


class RequestError(FundamentError):
    """A failure that a client is told, in OpenAI's shape (`components.schemas.Error` of its OpenAPI document).

    Args:
        message: one or two sentences for the person debugging; never a secret, never a prompt.
        param: the request field at fault with its path (`messages[1].content`), or None.
        code: OpenAI's machine-readable code, or None.
        retry_after_s: when a retry makes sense; becomes the `Retry-After` header.
    """

    status = 500
    type = "server_error"
    retryable = False
    elsewhere = False  # the server that was asked is at fault, and has not begun to answer
    quotes = False  # somebody else's words are in the message: for the client, and for no log

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s


class InvalidRequest(RequestError):
    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the model's context (tokens)."""

    def __init__(self, context_tokens: int, prompt_tokens: int, param: str) -> None:
        super().__init__(
            f"This model's maximum context length is {context_tokens} tokens. However, your {param} resulted in "
            f"{prompt_tokens} tokens. Please reduce the length of the {param}.",
            param=param,
            code="context_length_exceeded",
        )
        self.context_tokens = context_tokens
        self.prompt_tokens = prompt_tokens


class InvalidKey(RequestError):
    status = 401
    type = "invalid_request_error"


class PermissionDenied(RequestError):
    status = 403
    type = "permission_denied"


class NotFound(RequestError):
    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model '{model}' does not exist or you do not have access to it.",
            param="model",
            code="model_not_found",
        )


class MethodNotAllowed(RequestError):
    status = 405
    type = "invalid_request_error"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message, code="method_not_allowed")
        self.allow = allow


class RequestLate(RequestError):
    status = 408
    type = "invalid_request_error"
    retryable = True

    def __init__(self, message: str) -> None:
        super().__init__(message, code="request_timeout")


class BodyTooLarge(RequestError):
    status = 413
    type = "invalid_request_error"


class RemoteServerFailure(RequestError):
    """A server that the client named, not one of ours, did not do its part: as the official API tells it."""

    status = 424
    type = "external_connector_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="tools", code="http_error")


class RateLimited(RequestError):
    """A limit is reached; `type` is what there is too much of: "requests" or "tokens".

    Args:
        retry_after_ms: when the same request passes; None: never, however often it is tried.
        headers: of the answer, beside those that every failure has.
    """

    status = 429

    def __init__(
        self,
        message: str,
        *,
        type: str,
        code: str = "rate_limit_exceeded",
        retry_after_ms: int | None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(
            message, code=code, retry_after_s=None if retry_after_ms is None else -(-retry_after_ms // 1000)
        )
        self.type = type
        self.retryable = retry_after_ms is not None
        self.retry_after_ms = retry_after_ms
        self.headers = headers


class InsufficientQuota(RateLimited):
    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(
            "You exceeded your current quota: what is left of this contract's budget for the month does not cover the "
            "request.",
            type="insufficient_quota",
            code="insufficient_quota",
            retry_after_ms=None,
            headers=headers,
        )


class UpstreamRefused(RequestError):
    """An upstream's own 4xx, its status and fields kept."""

    def __init__(self, status: int, message: str, type: str, param: str | None, code: str | None) -> None:
        super().__init__(message, param=param, code=code)
        self.status = status
        self.type = type


class ServerFailure(RequestError):
    retryable = True


class UpstreamFailure(RequestError):
    status = 502
    retryable = True


class UpstreamUnreachable(UpstreamFailure):
    pass


class Unavailable(RequestError):
    status = 503
    retryable = True


class UpstreamTimeout(RequestError):
    status = 504
    retryable = True


class UpstreamConnectTimeout(UpstreamTimeout):
    pass
