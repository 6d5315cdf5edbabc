"""What must be there before the service's processes start, and the programs that follow from it.

It knows the data directory, the database, the weights, the sockets. It does not know how processes are kept running
(`supervisor.py`) nor what happens in them (`server.py`, `engine/worker.py`).
"""

import asyncio
import fcntl
import hashlib
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import msgspec

from fundament import __version__
from fundament.admin import AdminInstructions, EngineAddress
from fundament.certificates import Certificates
from fundament.engine.gguf import read_metadata
from fundament.engine.weights import locate
from fundament.engine.worker import EngineInstructions
from fundament.errors import ConfigError, Unavailable
from fundament.server import LocalModel, WorkerInstructions
from fundament.settings import DEFAULT_CONTEXT_TOKENS, Config, ModelConfig
from fundament.storage.contracts import ContractRepository
from fundament.storage.database import open_database, require_tables, upgrade
from fundament.supervisor import Program
from fundament.telemetry.cells import regions, shared_memory
from fundament.telemetry.processes import SUPERVISOR, ProcessBoard
from fundament.telemetry.worker import layouts

LISTEN_BACKLOG = 2048
SHORTEST_ADMIN_KEY = 16  # characters: nobody guesses as many that were drawn by chance
_SENDABLE = re.compile(r"[!-~]+")  # a line end would begin another header


class Service:
    """A prepared service: its programs, the sockets that they listen on, and where their metrics are.

    The sockets are held here, too, so that what a dead worker had not yet accepted waits for the next one.
    """

    def __init__(
        self, programs: list[Program], sockets: list[socket.socket], processes: ProcessBoard, lock: TextIO
    ) -> None:
        self.programs = programs
        self.processes = processes
        self.port: int = sockets[0].getsockname()[1]
        self._sockets = sockets
        self._lock = lock  # held as long as this object lives

    def stop_listening(self) -> None:
        for listener in self._sockets:
            listener.close()


def prepare(config: Config, environ: Mapping[str, str] = os.environ, *, migrate: bool = False) -> Service:
    """Makes everything ready: data directory, database, weights (fetched with progress on stderr), sockets.

    Args:
        migrate: brings tables of an older version up to date, too.

    Raises:
        ConfigError: a setting cannot be had on this machine, by name; or the database needs an upgrade.
        WeightsError: a model's file cannot be found, fetched or trusted.
    """
    _require_upstream_keys(config, environ)
    _require_admin_key(config, environ)
    if config.server.tls_certificate is not None and config.server.tls_key is not None:
        # Each worker has its own; this one is a check.
        Certificates(config.server.tls_certificate, config.server.tls_key)
    lock = _take_data_dir(config.data_dir)
    (upgrade if migrate else require_tables)(config.database_url)
    asyncio.run(_require_plans(config))
    local_models: dict[str, LocalModel] = {}
    engines: list[Program] = []
    ports = iter(_free_ports(sum(model.source is not None for model in config.models)))
    for model in config.models:
        if model.source is None:
            continue
        path = locate(model.source, config.data_dir, sha256=model.sha256, terminal=sys.stderr)
        template = _chat_template(model)
        local_models[model.id] = _local_model(path, next(ports), template)
        engines.append(_engine(config, model, path, local_models[model.id], template))
    _write_engines(config.data_dir / "run" / "engines.json", local_models)
    sockets = _listen(config)
    names = [program.name for program in engines] + [f"worker-{position}" for position in range(1, len(sockets) + 1)]
    names += ["ledger", *(["admin"] if config.admin.port else [])]
    regions_wanted = layouts(config, names)
    metrics_fd = shared_memory(regions_wanted)
    workers = [
        Program(
            name=names[len(engines) + position],
            module="fundament.server",
            instructions=msgspec.json.encode(
                WorkerInstructions(
                    config=config,
                    listener_fd=listener.fileno(),
                    metrics_fd=metrics_fd,
                    position=position,
                    processes=names,
                    started_at=int(time.time()),
                    local_models=local_models,
                )
            ),
            fds=(listener.fileno(), metrics_fd),
            drains=True,
        )
        for position, listener in enumerate(sockets)
    ]
    ledger = Program(name="ledger", module="fundament.ledger", instructions=msgspec.json.encode(config), drains=True)
    programs = [*engines, *workers, ledger]
    if config.admin.port:
        sockets.append(_listen_admin(config))
        programs.append(_admin(config, sockets[-1], local_models))
    processes = ProcessBoard(names, regions(metrics_fd, regions_wanted)[0])
    processes.started(SUPERVISOR, os.getpid())
    return Service(programs, sockets, processes, lock)


def _require_upstream_keys(config: Config, environ: Mapping[str, str]) -> None:
    for position, model in enumerate(config.models):
        for place, upstream in enumerate(model.upstreams):
            if upstream.api_key_env is None:
                continue
            variable = (
                f"models[{position}].upstreams[{place}].api_key_env: the environment variable {upstream.api_key_env}"
            )
            key = environ.get(upstream.api_key_env)
            if not key:
                raise ConfigError(f"{variable} is not set")
            if not _SENDABLE.fullmatch(key):
                raise ConfigError(f"{variable} holds a space, a line end or something else that no key has")


def _require_admin_key(config: Config, environ: Mapping[str, str]) -> None:
    if not config.admin.port:
        return
    variable = config.admin.key_env
    key = environ.get(variable)
    if not key:
        raise ConfigError(f"admin.key_env: the environment variable {variable} is not set")
    if len(key) < SHORTEST_ADMIN_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"admin.key_env: the key in the environment variable {variable} must have at least {SHORTEST_ADMIN_KEY} "
            "visible ASCII characters"
        )


async def _require_plans(config: Config) -> None:
    database = open_database(config.database_url)
    try:
        contracts = await ContractRepository(database, config.plans).list()
    except Unavailable as error:
        raise ConfigError(f"storage.database: {error.message}") from error
    finally:
        await database.dispose()
    for contract in contracts:
        if contract.closed_at is None and contract.plan not in config.plans:
            raise ConfigError(
                f"plans.{contract.plan}: is not there, but the contract '{contract.name}' is on it; write the plan, or "
                f"run: fundament contracts set '{contract.name}' --plan PLAN"
            )


def _take_data_dir(data_dir: Path) -> TextIO:
    """Makes the data directory this service's own until the lock that is returned is closed."""
    run = data_dir / "run"
    try:
        # One after the other: `parents` makes directories that everybody can read.
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        run.mkdir(exist_ok=True, mode=0o700)
        lock = (run / "lock").open("a")
    except OSError as error:
        raise ConfigError(f"server.data_dir: {data_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(f"server.data_dir: another service is running on {data_dir}") from None
    return lock


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now, all different."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _chat_template(model: ModelConfig) -> str | None:
    """The template that the configuration puts in place of the one in the model's file."""
    if model.chat_template is None:
        return None
    try:
        return Path(model.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"chat_template of {model.id}: {model.chat_template} cannot be read: {error}") from error


def _local_model(path: Path, port: int, template: str | None) -> LocalModel:
    metadata = read_metadata(path)
    status = path.stat()
    identity = f"{path.name} {status.st_size} {status.st_mtime_ns} {__version__}"
    return LocalModel(
        port=port,
        api_key=secrets.token_urlsafe(32),
        fingerprint=f"fp_{hashlib.sha256(identity.encode()).hexdigest()[:12]}",
        hidden_size=metadata.hidden_size,
        trained_context_tokens=metadata.context_length,
        quantisation=metadata.quantisation,
        native_tools=metadata.template_knows_tools if template is None else "tools" in template,
        thinks=metadata.template_thinks if template is None else "enable_thinking" in template,
        middle_tokens=metadata.middle_tokens,
    )


def _engine(config: Config, model: ModelConfig, path: Path, local: LocalModel, template: str | None) -> Program:
    instructions = EngineInstructions(
        model_path=str(path),
        port=local.port,
        api_key=local.api_key,
        context_tokens=model.context or DEFAULT_CONTEXT_TOKENS,
        slots=model.slots,
        batch_tokens=model.batch_tokens,
        threads=model.threads,
        chat_template=template,
        gateway_workers=config.server.workers,
        log_level=config.server.log_level,
    )
    return Program(
        name=f"engine {model.id}", module="fundament.engine.worker", instructions=msgspec.json.encode(instructions)
    )


def _write_engines(path: Path, local_models: Mapping[str, LocalModel]) -> None:
    """Tells the machine's owner, and nobody else, how to ask an engine directly."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        addresses = {id: {"port": model.port, "api_key": model.api_key} for id, model in local_models.items()}
        file.write(msgspec.json.encode(addresses))


def _listen(config: Config) -> list[socket.socket]:
    """One listening socket a worker, all on one port: the kernel spreads connections over them (SO_REUSEPORT)."""
    host, port = config.server.host, config.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Without SO_REUSEPORT first: with it, a second service could quietly take half of the first one's connections.
        with socket.create_server((host, port), family=family) as probe:
            port = probe.getsockname()[1]
        return [
            socket.create_server(
                (host, port), family=family, backlog=LISTEN_BACKLOG, reuse_port=config.server.workers > 1
            )
            for _ in range(config.server.workers)
        ]
    except OSError as error:
        raise ConfigError(f"server.port: cannot listen on {host}:{port}: {error.strerror}") from error


def _listen_admin(config: Config) -> socket.socket:
    host, port = config.admin.host, config.admin.port
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"admin.port: cannot listen on {host}:{port}: {error.strerror}") from error


def _admin(config: Config, listener: socket.socket, local_models: Mapping[str, LocalModel]) -> Program:
    engines = {id: EngineAddress(port=model.port, api_key=model.api_key) for id, model in local_models.items()}
    instructions = AdminInstructions(config=config, listener_fd=listener.fileno(), engines=engines)
    return Program(
        name="admin",
        module="fundament.admin",
        instructions=msgspec.json.encode(instructions),
        fds=(listener.fileno(),),
        drains=True,
    )
