"""The admin process: the admin API on its own listener, off every client's way. It joins the parts of `api/admin.py`.

Run as `python -m fundament.admin` by the supervisor, with its instructions on stdin and a listening socket inherited.
The admin key is in the variable that the configuration names.
"""

import math
import os
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn
import uvloop
from msgspec import Struct

from fundament.api.admin import AdminDesk, build_admin
from fundament.api.admin_reports import PROBE_TIMEOUT_S, Probe
from fundament.api.http import http_protocol, limits_of
from fundament.backends.client import Client
from fundament.lifeline import receive_instructions
from fundament.outbox import Outbox
from fundament.settings import Config, ModelConfig
from fundament.storage.database import open_database
from fundament.telemetry.logs import configure_logging


class EngineAddress(Struct, frozen=True, kw_only=True):
    """Where a local model's engine listens on loopback."""

    port: int
    api_key: str


class AdminInstructions(Struct, kw_only=True):
    config: Config
    listener_fd: int
    engines: dict[str, EngineAddress]


async def serve(instructions: AdminInstructions, key: str) -> None:
    """Serves until SIGTERM, then lets what was begun end within the grace period."""
    config = instructions.config
    database = open_database(config.database_url)
    outbox = Outbox(first=_nothing)
    probes = [probe for model in config.models for probe in _probes(model, instructions.engines.get(model.id), outbox)]
    server = uvicorn.Server(
        uvicorn.Config(
            build_admin(AdminDesk(config=config, database=database, key=key, probes=probes)),
            http=http_protocol(outbox, limits_of(config.server)),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(config.server.grace_period_s),
        )
    )
    # uvicorn raises the signal again when it is done; then we still have connections to close.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _remain)
    try:
        await server.serve(sockets=[socket.socket(fileno=instructions.listener_fd)])
    finally:
        for probe in probes:
            probe.client.close()
        await database.dispose()


def _probes(model: ModelConfig, engine: EngineAddress | None, outbox: Outbox) -> Iterator[Probe]:
    """One for each server that a model has."""
    if engine is not None:
        client = _client(f"http://127.0.0.1:{engine.port}", engine.api_key, outbox)
        yield Probe(model=model.id, client=client, base_url=None)
    for remote in model.upstreams:
        key = os.environ[remote.api_key_env] if remote.api_key_env else None
        yield Probe(model=model.id, client=_client(remote.base_url, key, outbox), base_url=remote.base_url)


def _client(base_url: str, key: str | None, outbox: Outbox) -> Client:
    return Client(
        base_url,
        headers={"authorization": f"Bearer {key}"} if key else {},
        connect_timeout_s=PROBE_TIMEOUT_S,
        first_byte_timeout_s=PROBE_TIMEOUT_S,
        idle_timeout_s=PROBE_TIMEOUT_S,
        outbox=outbox,
    )


def _nothing() -> None:
    """What is written before answers: no usage here."""


def _remain(number: int, frame: FrameType | None) -> None:
    """A signal handler that lets the process go on."""


def main() -> None:
    instructions = receive_instructions(AdminInstructions)
    configure_logging(instructions.config.server.log_level)
    uvloop.run(serve(instructions, os.environ[instructions.config.admin.key_env]))


if __name__ == "__main__":
    main()
