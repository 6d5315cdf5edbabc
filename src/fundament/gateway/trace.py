"""Where a request stands in a distributed trace: the `traceparent` header of W3C Trace Context, read and written.

It knows ids and the one flag; it knows neither spans nor who collects them.
"""

import random
import re
from collections.abc import Iterable

from msgspec import Struct

# Section 3.2: version 00 is exactly this; a later version may append to it, and ff is none.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_FIRST_VERSION = b"00"
_SAMPLED = 1
# Unique, not secret, as the ids of requests are.
_random_bits = random.Random().getrandbits  # noqa: S311 - names spans, guards nothing


class Trace(Struct, frozen=True, kw_only=True):
    """One span's place: lower-case hexadecimal ids of 32 and 16 digits; `parent_id` is the client's span."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header for those who are asked on behalf of this span."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def continued(headers: Iterable[tuple[bytes, bytes]]) -> Trace:
    """A new span of the trace that a request's headers name; of a new trace where they name none, or badly.

    W3C Trace Context, section 4: whether it is sampled is the client's decision; a new trace is sampled.
    """
    values = [value for name, value in headers if name == b"traceparent"]
    found = _TRACEPARENT.fullmatch(values[0].strip()) if len(values) == 1 else None
    span_id = _id(64)
    if found is None or (found[1] == _FIRST_VERSION and found[5]) or not int(found[2], 16) or not int(found[3], 16):
        return Trace(trace_id=_id(128), span_id=span_id)
    sampled = bool(int(found[4], 16) & _SAMPLED)
    return Trace(trace_id=found[2].decode(), span_id=span_id, parent_id=found[3].decode(), sampled=sampled)


def _id(bits: int) -> str:
    return f"{_random_bits(bits) or 1:0{bits // 4}x}"
