"""One HTTP request that ended, as whoever keeps count of requests is told of it."""

from msgspec import Struct


class Exchange(Struct, frozen=True, kw_only=True):
    """A request and how it was answered.

    `status` is 499 where the client left before it was answered.
    """

    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
