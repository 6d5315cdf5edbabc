"""An upstream's answer without a socket: its pieces as they would arrive, and a call that it could answer.

`client.py` is tested on sockets; what is made of the bytes depends on the bytes and their cuts alone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

from hypothesis import strategies as st

from fundament.backends.call import Call
from fundament.backends.client import Response
from fundament.errors import RequestError, UpstreamFailure

T = TypeVar("T")
MODEL = "asked"


class Played:
    """Gives `pieces` one after the other, then fails with `ends` or ends."""

    def __init__(self, pieces: Sequence[bytes], ends: RequestError | None = None) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self._ends = ends
        self.closed_with: list[bool] = []

    async def chunk(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._ends is not None:
            raise self._ends
        return b""

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self._rest()])

    async def _rest(self) -> Any:
        while piece := await self.chunk():
            yield piece

    def close(self, *, wanted_all: bool = False) -> None:
        self.closed_with.append(wanted_all)

    @property
    def response(self) -> Response:
        return cast("Response", self)


class Refused(UpstreamFailure):
    """What the tests make of an error frame: it keeps the frame."""


def refused(error: bytes) -> RequestError:
    return Refused(error.decode())


def call(**changes: Any) -> Call:
    fields: dict[str, Any] = {
        "kind": "chat",
        "body": {},
        "model": MODEL,
        "stream": True,
        "include_usage": False,
        "prompts": 1,
        "n": 1,
        "kept": 1,
        "id": "chatcmpl-1",
        "created": 1767225600,
    }
    return Call(**{**fields, **changes})


def cut(data: bytes, offsets: Sequence[int]) -> list[bytes]:
    """`data` in pieces, cut at the offsets that lie inside."""
    inside = sorted({offset % len(data) for offset in offsets} - {0})
    return [data[start:end] for start, end in zip([0, *inside], [*inside, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 10_000), max_size=12) | st.just(range(10_000))  # the last is byte by byte


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """For Hypothesis, which calls synchronous tests."""
    return asyncio.run(work())
