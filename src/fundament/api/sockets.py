"""WebSockets as uvicorn speaks them, with what we want otherwise: a stopping service lets an answer finish.

It knows uvicorn's protocol class; it knows no endpoint and nothing of what is said.
"""

from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request


class SocketProtocol(WebSocketsSansIOProtocol):
    """One client's WebSocket; `scope["connection"]` of its endpoint, which says when it works on an answer."""

    _working = False
    _stopping = False

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # else it was refused
            cast("dict[str, Any]", self.scope)["connection"] = self

    def shutdown(self) -> None:
        """The service stops: the connection closes as soon as nothing is being answered."""
        self._stopping = True
        if not self._working:
            super().shutdown()

    def work(self) -> None:
        self._working = True

    def rest(self) -> None:
        self._working = False
        if self._stopping and not self.close_sent:
            super().shutdown()
