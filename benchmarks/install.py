"""Gets the programs that the benchmarks compare with and load with into `.bench/`; a second call installs nothing.

nginx and wrk are taken from PATH, or from Debian packages unpacked below `.bench/root` with a package list of its own;
LiteLLM from the versions in `litellm.lock` into an environment of its own. The system is not touched.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import UnmeasurableError

PROJECT = Path(__file__).resolve().parent.parent
BENCH = PROJECT / ".bench"
LITELLM_LOCK = Path(__file__).with_name("litellm.lock")
# The programs and those of their libraries that a Debian image with Python does not already have.
DEBIAN_PACKAGES = ("nginx", "nginx-common", "wrk", "libluajit-5.1-2", "libluajit-5.1-common", "libpcre2-8-0")


@dataclass(frozen=True)
class Program:
    """A program that can be started: where it is, what it says its version is, and where its own libraries are."""

    path: Path
    version: str
    library_path: Path | None = None

    def environment(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.library_path)} if self.library_path else {}


def nginx() -> Program:
    return _native("nginx", "sbin", ["-v"])


def wrk() -> Program:
    return _native("wrk", "bin", ["-v"])


def litellm() -> Program:
    environment = BENCH / "litellm"
    stamp = environment / "installed"
    wanted = hashlib.sha256(LITELLM_LOCK.read_bytes()).hexdigest() + sys.version
    if not stamp.exists() or stamp.read_text() != wanted:
        print("installing LiteLLM into .bench/litellm (about 750 MB, a minute)", flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        _run("create LiteLLM's environment", [sys.executable, "-m", "venv", str(environment)])
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # The lock has all: what a package asks for besides, pip may find in a newer version that no hash is of.
        _run("install LiteLLM", [*pip, "--require-hashes", "--no-deps", "-r", str(LITELLM_LOCK)])
        stamp.write_text(wanted)
    return Program(environment / "bin" / "litellm", _locked_version("litellm"))


def _native(name: str, directory: str, version_arguments: Sequence[str]) -> Program:
    on_path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if on_path:
        return Program(Path(on_path), _version([on_path, *version_arguments], {}))
    root = BENCH / "root"
    _unpack_debian_packages(root)
    program = root / "usr" / directory / name
    libraries = next(iter(sorted((root / "usr" / "lib").glob("*-linux-gnu*"))), root / "usr" / "lib")
    version = _version([str(program), *version_arguments], {"LD_LIBRARY_PATH": str(libraries)})
    return Program(program, version, libraries)


def _unpack_debian_packages(root: Path) -> None:
    stamp = root / "installed"
    wanted = "\n".join(DEBIAN_PACKAGES)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise UnmeasurableError(
            "nginx and wrk are neither on PATH nor can they be fetched: this is no Debian; install both"
        )
    print("unpacking nginx and wrk into .bench/root", flush=True)
    state, cache, packages = BENCH / "apt" / "state", BENCH / "apt" / "cache", BENCH / "apt" / "packages"
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(packages, ignore_errors=True)
    for folder in (state / "lists" / "partial", cache / "archives" / "partial", packages, root):
        folder.mkdir(parents=True, exist_ok=True)
    # A list of our own: the machine's may be empty, and to refresh it would need root and change the system.
    options = [f"Dir::State={state}", "Dir::State::status=/var/lib/dpkg/status", f"Dir::Cache={cache}"]
    # Downloads as apt's own user would need the folders to be that user's.
    options.append("APT::Sandbox::User=root")
    apt = ["apt-get", "--quiet", "--quiet", *_each("-o", options)]
    _run("read Debian's package list", [*apt, "update"])
    _run("download nginx and wrk", [*apt, "download", *DEBIAN_PACKAGES], directory=packages)
    for package in sorted(packages.glob("*.deb")):
        _run(f"unpack {package.name}", ["dpkg", "-x", str(package), str(root)])
    stamp.write_text(wanted)


def _each(flag: str, values: Iterable[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


def _version(command: Sequence[str], environment: dict[str, str]) -> str:
    """The first line that the program says about itself; wrk says it and exits with 1, so the exit code is no sign."""
    said = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).strip().splitlines()
    if said.returncode == 127 or not lines or "error while loading" in lines[0]:
        raise UnmeasurableError(f"{command[0]} does not start: {' '.join(lines)}")
    return lines[0].removeprefix("nginx version: ").split(" [")[0]


def _locked_version(package: str) -> str:
    for line in LITELLM_LOCK.read_text().splitlines():
        name, _, version = line.partition("==")
        if name.partition("[")[0] == package:
            return version.split()[0]
    raise UnmeasurableError(f"{LITELLM_LOCK.name} does not name {package}")


def _run(purpose: str, command: Sequence[str], directory: Path | None = None) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnmeasurableError(f"cannot {purpose}:\n{(done.stderr or done.stdout).strip()[-2000:]}")
