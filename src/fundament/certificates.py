"""The certificate that the service shows, read again when its files change, so that a renewal needs no restart.

It knows files and TLS; it does not know who connects, nor that HTTP follows.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import structlog

from fundament.errors import ConfigError

LOOK_INTERVAL_S = 1.0


class Certificates:
    """A context for listening sockets, whose new connections see the newest certificate.

    Args:
        certificate: path of a PEM file, the certificate first, then those that it was signed with.
        key: path of the PEM file of its private key, not encrypted.

    Raises:
        ConfigError: they cannot be read, or do not belong together.
    """

    def __init__(self, certificate: str, key: str) -> None:
        self._paths = (certificate, key)
        self._log: Any = structlog.get_logger(__name__)
        self._seen = self._state()
        self._current = self._load()
        self.context = self._load()
        # Loading into a context that is in use would keep the old certificate beside a new one of another kind.
        self.context.sni_callback = self._show_current

    async def run(self) -> None:
        """Follows the files until cancelled. What cannot be loaded changes nothing; one log line says so."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            state = self._state()
            if state == self._seen:
                continue
            self._seen = state
            try:
                self._current = self._load()
            except ConfigError as error:
                self._log.error("certificate_not_loaded", error=str(error))
            else:
                self._log.info("certificate_loaded", path=self._paths[0])

    def _show_current(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG002 - the module ssl's signature
        connection.context = self._current

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_identity(Path(path)) for path in self._paths]

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and newer
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._paths
        try:
            context.load_cert_chain(certificate, key, password=_refuse_encrypted)
        except OSError as error:  # ssl.SSLError is one
            # Not the text of an SSL error: it names lines of OpenSSL.
            reason = "they are no certificate and its key in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(f"server.tls_certificate, server.tls_key: cannot be used: {reason}") from None
        return context


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _refuse_encrypted() -> str:
    """In place of OpenSSL, which would ask for a password on the terminal."""
    raise ConfigError("server.tls_key: is encrypted; the service takes keys without a password")
