"""What is asked of a backend, and what every kind of answer offers. It knows neither HTTP nor any server's quirks."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct

from fundament.protocol.usage import Usage


class Call(Struct, frozen=True, kw_only=True):
    """One validated request.

    `model` is the name that the client used and must read in the answer; `prompts` is how many are asked at once, `n`
    how many answers are made to each, and `kept` how many of those are shown; `include_usage` tells whether the client
    wants the usage chunk of its stream; `traceparent` is the header of W3C Trace Context, where requests are traced.
    """

    kind: Literal["chat", "completions", "responses"]
    body: Mapping[str, Any]
    model: str
    stream: bool
    include_usage: bool
    prompts: int
    n: int
    kept: int
    id: str
    created: int
    traceparent: str | None = None

    @property
    def choices(self) -> int:
        return self.prompts * self.n

    @property
    def path(self) -> str:
        return "/chat/completions" if self.kind == "chat" else f"/{self.kind}"


class Answer(Protocol):
    """An answer that is under way. `usage` is final once the answer is; before, it is what is known so far.

    Of a call of the kind `responses`, the events come as they are: who reads them takes the usage from them and says
    when the last one is there (`complete`).
    """

    complete: bool

    @property
    def usage(self) -> Usage | None: ...

    async def whole(self) -> bytes:
        """The body of an answer that is not streamed.

        Raises:
            RequestError: the backend failed.
        """
        ...

    async def read(self) -> bytes:
        """The next server-sent events, whole ones only; b"" when the answer is complete, as after `data: [DONE]`.

        Raises:
            RequestError: the backend failed, before or after the first event.
        """
        ...

    def close(self) -> None:
        """Frees what the answer holds; one that is not complete is cancelled at the backend."""
        ...


class Backend(Protocol):
    """Whoever answers calls."""

    async def open(self, call: Call) -> Answer:
        """Sends the call; returns when the answer has begun.

        Raises:
            RequestError: the request asks for what the backend cannot do, or it refused, failed or is full.
        """
        ...

    async def count(self, call: Call) -> int:
        """How many tokens the prompt of a chat has.

        Raises:
            RequestError: it cannot tell.
        """
        ...
