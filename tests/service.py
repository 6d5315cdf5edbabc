"""The real service as a process of its own, and what a test does with it: asks, looks at its processes, ends it.

It knows the command line, HTTP and /proc. It knows nothing of the service's inside but the names of its processes and
`<data-dir>/run/engines.json`, which tells an operator how to ask an engine directly.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import openai

EXECUTABLE = Path(sys.executable).with_name("fundament")
MARK = "TEST_SERVICE"  # an environment variable by which all processes of one service are found, orphans too


@dataclass(frozen=True)
class Process:
    pid: int
    command: str

    @property
    def alive(self) -> bool:
        return state_of(self.pid) not in {None, "Z"}

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def state_of(pid: int) -> str | None:
    """The letter of /proc/PID/stat, None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def processes_with(mark: str) -> list[Process]:
    """Every living process that inherited `MARK=mark`, whoever its parent is by now."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    found.append(Process(int(entry.name), command))
    return [process for process in sorted(found, key=lambda process: process.pid) if process.alive]


def connections_of(pid: int, port: int) -> int:
    """How many established connections to this local port the process holds."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(descriptor.readlink().name)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = f"0100007F:{port:04X}"
    return sum(row[1] == wanted and row[3] == "01" and f"socket:[{row[9]}]" in held for row in rows)


@dataclass(frozen=True)
class Reply:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


class Exchange:
    """A request that was sent. Its answer is waited for when it is first looked at, and can be left at any moment."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._socket = connection.sock
        self._known_response: http.client.HTTPResponse | None = None

    @property
    def _response(self) -> http.client.HTTPResponse:
        # No cached_property: before Python 3.12 it has one lock for all instances, and exchanges would take turns.
        if self._known_response is None:
            self._known_response = self._connection.getresponse()
        return self._known_response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self._response.getheaders()}

    def events(self) -> Iterator[bytes]:
        """Each event with its empty line, as soon as it is there; what follows the last one at the end, if anything."""
        event = b""
        for line in self._response:
            event += line
            if line == b"\n":
                yield event
                event = b""
        if event:
            yield event

    def read(self) -> bytes:
        return self._response.read()

    def leave(self, *, reset: bool = False) -> float:
        """Close the connection at once, in order or with a reset; returns the `time.monotonic()` of it."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left_at = time.monotonic()
        if self._known_response is not None:
            self._known_response.close()
        self._connection.close()
        return left_at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Service:
    """`fundament serve` with a configuration, in a directory of its own.

    Args:
        directory: where the configuration, the data directory and the log are.
        config: the text of `fundament.toml`.
        weights_cache: where fetched weights are kept between runs.
        flags: of `serve`, beside those for the above.
        environment: variables beside those of the tests.
    """

    def __init__(
        self,
        directory: Path,
        config: str,
        *,
        weights_cache: Path | None = None,
        workers: int = 1,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir(parents=True)
        if weights_cache is not None:
            (self.data / "weights").symlink_to(weights_cache / "weights", target_is_directory=True)
        self.config = directory / "fundament.toml"
        self.config.write_text(config)
        self.log = directory / "stderr.log"
        self.output = directory / "stdout.log"
        self._flags = ("--workers", str(workers), *flags)
        self.port = free_port()
        self.mark = uuid.uuid4().hex
        own = {name: value for name, value in os.environ.items() if not name.startswith(("FUNDAMENT_", "OPENAI_"))}
        self.environment = own | {MARK: self.mark} | (environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    # Its life

    def start(self) -> Self:
        """Start it without waiting."""
        arguments = ["--config", self.config, "--data-dir", self.data, "--port", str(self.port)]
        with self.log.open("ab") as log, self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [EXECUTABLE, "serve", *arguments, *self._flags],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
            )
        return self

    def wait_ready(self, timeout_s: float = 60) -> Self:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log_text()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/health/ready", key=None).status == 200:
                    return self
            time.sleep(0.05)
        raise AssertionError(f"the service was not ready within {timeout_s} s:\n{self.log_text()}")

    def stop(self, timeout_s: float = 45) -> None:
        """End it in order; it must exit with 0 and leave no process behind."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.log_text()}"
        assert self.processes() == [], f"left running after an orderly end:\n{self.log_text()}"

    def refused_start(self) -> str:
        """What it says on its way out, when it must not start."""
        self.start()
        assert self.process is not None
        try:
            assert self.process.wait(30) == 1, "it started"
        finally:
            self.destroy()
        return self.log_text()

    def destroy(self) -> None:
        """End whatever of it still runs, however the test left it."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if self.process is not None:
            self.process.wait(10)

    def __enter__(self) -> Self:
        try:
            return self.start().wait_ready()
        except BaseException:
            self.destroy()
            raise

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            if failure is None and self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            self.destroy()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else "(no log)"

    # Its processes

    def processes(self) -> list[Process]:
        return processes_with(self.mark)

    def workers(self) -> list[Process]:
        return [process for process in self.processes() if "fundament.server" in process.command]

    def engines(self) -> list[Process]:
        return [process for process in self.processes() if "fundament.engine.worker" in process.command]

    def wait_gone(self, timeout_s: float) -> list[Process]:
        """The processes that still live after so long: none, if all is well."""
        wait_until(lambda: not self.processes(), timeout_s)
        return self.processes()

    def busy_slots(self, model: str) -> int:
        """How many of the model's slots are decoding, asked directly of its engine."""
        return sum(slot["is_processing"] for slot in self.ask_engine(model, "/slots"))

    def ask_engine(self, model: str, path: str, body: object = None) -> Any:
        """What the model's engine itself answers: to a GET, or to a POST of `body`."""
        engine = json.loads((self.data / "run" / "engines.json").read_bytes())[model]
        connection = http.client.HTTPConnection("127.0.0.1", engine["port"], timeout=10)
        headers = {"Authorization": f"Bearer {engine['api_key']}", "Content-Type": "application/json"}
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, data, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status == 200, answer
        return json.loads(answer)

    # Asking it

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `fundament …` on this service's data directory."""
        return subprocess.run(
            [EXECUTABLE, *arguments, "--data-dir", self.data],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def create_key(self, name: str, *options: str) -> str:
        done = self.command("keys", "create", "--name", name, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.removesuffix("\n")

    def create_contract(self, name: str, plan: str = "unlimited") -> None:
        done = self.command("contracts", "create", "--name", name, "--plan", plan)
        assert done.returncode == 0, done.stderr

    @cached_property
    def key(self) -> str:
        return self.create_key("test", "--scope", "inference", "--scope", "usage")

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            **{"base_url": self.base_url, "api_key": self.key, "max_retries": 0, "timeout": 60} | options
        )

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            **{"base_url": self.base_url, "api_key": self.key, "max_retries": 0, "timeout": 60} | options
        )

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = "its own",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> Exchange:
        """Send a request without waiting for the answer. A body of bytes is sent as it is."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        if key is not None:
            sent["Authorization"] = f"Bearer {self.key if key == 'its own' else key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, data, sent | dict(headers or {}))
        except OSError:  # the service is gone
            connection.close()
            raise
        return Exchange(connection)

    def request(self, method: str, path: str, body: object = None, **options: Any) -> Reply:
        with self.send(method, path, body, **options) as exchange:
            return Reply(exchange.status, exchange.headers, exchange.read())

    def post(self, path: str, body: object, **options: Any) -> Reply:
        return self.request("POST", path, body, **options)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until(condition: Any, timeout_s: float, every_s: float = 0.01) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
