"""Which web pages may read our answers: none, unless the operator names their origins (Fetch Standard, section 3.3).

It knows headers only. Around the edge, so that a page can read its errors as well; a preflight needs no key.
"""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_METHODS = ("GET", "POST", "DELETE")
_READABLE = (
    *("x-request-id", "retry-after"),
    *(f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset") for unit in ("requests", "tokens")),
)
_PREFLIGHT_KEPT_S = 600


def cross_origin(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """The application, for pages of these origins, too. Not with cookies, of which we have none."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=["*"],  # the SDKs send a dozen `x-stainless-…`
        expose_headers=_READABLE,
        max_age=_PREFLIGHT_KEPT_S,
    )
