"""Servers that tests start: on loopback, with a log, and at an end when the tests are, however those end.

It knows processes; which server it is, and when it answers, it is told.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# The server ends when stdin does: with `stop`, or with a killed pytest.
_UNTIL_STDIN_ENDS = '"$@" & server=$!; cat >/dev/null; kill -{signal} $server; wait $server'


class ServerProcess:
    """A server that is ended by `signal`, such as `KILL`."""

    def __init__(self, signal: str, *, timeout_s: float) -> None:
        self._script = _UNTIL_STDIN_ENDS.format(signal=signal)
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], answers: Callable[[], bool], log: Path, **identity: Any) -> None:
        """Start the server; returns when it answers.

        Args:
            log: what the server writes goes on in this file.
            identity: as whom and where it runs, by the names of `subprocess.Popen`.

        Raises:
            RuntimeError: it does not answer in time; the message is its log.
        """
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", self._script, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                **identity,
            )
        deadline = time.monotonic() + self._timeout_s
        while not answers():
            if time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace"))
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server, if it was started."""
        process, self._process = self._process, None
        if process and process.stdin:
            process.stdin.close()
            process.wait(timeout=self._timeout_s)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
