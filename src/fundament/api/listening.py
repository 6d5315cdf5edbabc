"""uvicorn's server with what it does not offer: a TLS context of ours, and time limits on its handshakes.

It knows sockets and TLS; what is spoken on a connection is known by `http.py` and `sockets.py`.
"""

import asyncio
import functools
import socket
import ssl

import uvicorn


class Server(uvicorn.Server):
    """Serves the sockets that `serve` is given.

    Args:
        tls: None for plain HTTP.
        handshake_timeout_s: for TLS to be agreed upon.
        shutdown_timeout_s: for the end of TLS, and what was not yet taken before it.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        tls: ssl.SSLContext | None,
        handshake_timeout_s: float,
        shutdown_timeout_s: float,
    ) -> None:
        super().__init__(config)
        self._tls = tls
        # asyncio takes them only where there is TLS.
        self._handshake_timeout_s = handshake_timeout_s if tls else None
        self._shutdown_timeout_s = shutdown_timeout_s if tls else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, which has no place for these arguments of asyncio's."""
        new_protocol = functools.partial(
            self.config.http_protocol_class, config=self.config, server_state=self.server_state, app_state={}
        )
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                new_protocol,
                sock=listener,
                backlog=self.config.backlog,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_s,
                ssl_shutdown_timeout=self._shutdown_timeout_s,
            )
            for listener in sockets or ()
        ]
        self.started = True
