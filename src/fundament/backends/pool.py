"""Several servers of one model: which of them is asked, and who is asked next when that one does not begin to answer.

It knows their room and their circuits; what a failure is, each `Upstream` knows.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from fundament.backends.call import Answer, Call
from fundament.backends.upstream import Upstream
from fundament.errors import RequestError


class Pool:
    """A backend of several, at least one; they must have profiles that accept the same.

    Args:
        moved: told the position of an upstream that failed a request which another one was asked then.
    """

    def __init__(self, upstreams: Sequence[Upstream], moved: Callable[[int], None]) -> None:
        self._upstreams = upstreams
        self._moved = moved

    async def open(self, call: Call) -> Answer:
        """Sends the call to the upstream with the most room; to each of the others once, while none begins to answer.

        Raises:
            RequestError: as `Upstream.open`, of the last that was asked; or none may be asked.
        """
        left = [upstream for upstream in self._upstreams if upstream.rest_s <= 0]
        if not left:  # it says when to come back
            left = [min(self._upstreams, key=lambda upstream: upstream.rest_s)]
        while True:
            chosen = left[0] if len(left) == 1 else max(left, key=_room)
            try:
                return await chosen.open(call)
            except RequestError as failure:
                left = [upstream for upstream in left if upstream is not chosen and upstream.rest_s <= 0]
                if not failure.elsewhere or not left:
                    raise
                self._moved(self._upstreams.index(chosen))

    async def count(self, call: Call) -> int:
        """As `Upstream.count`."""
        return await self._upstreams[0].count(call)

    @property
    def speaks_responses(self) -> bool:
        """Whether calls of the kind `responses` may be opened."""
        return self._upstreams[0].speaks_responses

    @property
    def reasons(self) -> bool:
        """Whether the model is known to encrypt its reasoning, wherever it is asked."""
        return all(upstream.reasons for upstream in self._upstreams)

    def close(self) -> None:
        """Cuts every connection."""
        for upstream in self._upstreams:
            upstream.close()


AnyUpstream: TypeAlias = Upstream | Pool
"""What a model's callers hold: a local model, and one with a single upstream, needs no pool."""


def _room(upstream: Upstream) -> float:
    """The free part of its places; below 0, how long the line is for so many places."""
    gate = upstream.gate
    return (gate.free - gate.waiting) / gate.limit
