"""Connections that stay with one worker of many, so that a test can choose whom it asks.

It knows /proc and HTTP. It knows nothing of what is asked.
"""

import contextlib
import http.client
import json
from pathlib import Path
from typing import Self

from service import Exchange, Process, Reply, Service, wait_until


class Line:
    """A connection to one of the service's workers, which is kept open. `worker` is who accepted it."""

    def __init__(self, service: Service) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"}
        self._exchanges: list[Exchange] = []
        self._connection.connect()
        own_port: int = self._connection.sock.getsockname()[1]
        found: list[Process] = []

        def accepted() -> bool:
            inode = _inode_of(service.port, own_port)
            found[:] = [worker for worker in service.workers() if inode and _holds(worker.pid, inode)]
            return bool(found)

        assert wait_until(accepted, 5), "no worker accepted the connection"
        self.worker = found[0]

    def send(self, method: str, path: str, body: object = None) -> Exchange:
        """Ask; the answer must be read to its end before the next question."""
        self._connection.request(method, path, None if body is None else json.dumps(body).encode(), self._headers)
        self._exchanges.append(Exchange(self._connection))
        return self._exchanges[-1]

    def request(self, method: str, path: str, body: object = None) -> Reply:
        exchange = self.send(method, path, body)
        return Reply(exchange.status, exchange.headers, exchange.read())

    def close(self) -> None:
        self._connection.close()
        for exchange in self._exchanges:
            exchange.leave()


class Lines:
    """Lines to a service's workers, all of which are closed when it is left."""

    def __init__(self) -> None:
        self._made: list[Line] = []

    def to(self, service: Service) -> Line:
        self._made.append(Line(service))
        return self._made[-1]

    def to_each(self, service: Service, count: int = 2) -> list[Line]:
        """A line to each of the service's `count` workers."""
        lines: dict[int, Line] = {}
        for _ in range(100):
            line = self.to(service)
            lines.setdefault(line.worker.pid, line)
            if len(lines) == count:
                return [*lines.values()]
        raise AssertionError(f"100 connections reached {len(lines)} of {count} workers")

    def to_other(self, service: Service, line: Line) -> Line:
        """A new line to another worker than that of `line`."""
        return next(made for made in iter(lambda: self.to(service), None) if made.worker != line.worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._made:
            line.close()


def _inode_of(port: int, peer_port: int) -> str | None:
    """The socket of the server's end of a local connection."""
    wanted = [f"0100007F:{port:04X}", f"0100007F:{peer_port:04X}"]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return next((row[9] for row in rows if row[1:3] == wanted and row[9] != "0"), None)


def _holds(pid: int, inode: str) -> bool:
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError):  # one that was closed meanwhile, or the whole process
        names.extend(descriptor.readlink().name for descriptor in Path(f"/proc/{pid}/fd").iterdir())
    return f"socket:[{inode}]" in names
