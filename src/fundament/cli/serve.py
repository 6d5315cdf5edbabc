"""`fundament serve`: starts the service, tells when it is ready and how to use it, ends it on SIGTERM and Ctrl-C.

It knows the command's flags and what it prints; `service.py` prepares and `supervisor.py` runs.
"""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Annotated

import typer

from fundament.cli.config import ConfigOption, DataDirOption
from fundament.cli.database import os_user
from fundament.config import load
from fundament.errors import FundamentError
from fundament.gateway.contracts import DEFAULT_CONTRACT
from fundament.gateway.keys import KeyRing
from fundament.service import Service, prepare
from fundament.settings import Config
from fundament.storage.database import open_database
from fundament.storage.keys import KeyRepository
from fundament.supervisor import Supervisor
from fundament.telemetry.logs import configure_logging

READY_POLL_S = 0.1
LAST_WORDS_S = 3.0  # beyond the grace period, for error frames and the journal
QUICKSTART_KEY = "quickstart"


def serve(  # noqa: PLR0917 - each is a flag; typer passes them by name
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway processes.")] = None,
    data_dir: DataDirOption = None,
    quickstart: Annotated[
        bool,
        typer.Option(
            "--quickstart",
            help="Print a key and a curl, too; upgrade an older database. The key is kept in DATA_DIR/quickstart.key.",
        ),
    ] = False,
) -> None:
    """Serve the configured models over the OpenAI API."""
    flags = {
        "server.host": host,
        "server.port": port,
        "server.workers": workers,
        "server.data_dir": None if data_dir is None else str(data_dir),
    }
    try:
        settings = load(config, flags=flags).config
        configure_logging(settings.server.log_level)
        service = prepare(settings, migrate=quickstart)
    except FundamentError as error:
        typer.echo(f"fundament: {error}", err=True)
        raise typer.Exit(1) from None
    asyncio.run(_run(settings, service, quickstart=quickstart))


async def _run(config: Config, service: Service, *, quickstart: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if sys.stderr.isatty():
        loop.add_signal_handler(signal.SIGHUP, stop.set)  # the terminal is gone
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # whoever wants a reload; certificates are followed without
    supervisor = Supervisor(service.programs, service.processes)
    supervisor.start()
    announcement = asyncio.create_task(_announce(config, service.port, quickstart=quickstart))
    await stop.wait()
    announcement.cancel()
    service.stop_listening()
    await supervisor.stop(config.server.grace_period_s + LAST_WORDS_S)


async def _announce(config: Config, port: int, *, quickstart: bool) -> None:
    """Waits until every local model answers, then says so."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.server.host, config.server.host)  # noqa: S104 - compared only
    tls = config.server.tls_certificate is not None
    while not await _ready(host, port, tls=tls):  # noqa: ASYNC110 - another process gets ready; there is no event to wait for
        await asyncio.sleep(READY_POLL_S)
    base_url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/v2"
    lines = ["Fundament is ready.", "", f"  Base URL  {base_url}"]
    if quickstart:
        try:
            lines += _quickstart(config, base_url, await _quickstart_key(config))
        except FundamentError as error:
            lines += ["", f"No key could be made: {error}"]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _quickstart(config: Config, base_url: str, key: str) -> list[str]:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    body = {"model": config.models[0].id, "messages": messages, "temperature": 0.1, "max_tokens": 256}
    return [
        f"  API key   {key}",
        f"  Models    {', '.join(model.id for model in config.models)}",
        "",
        f"curl {base_url}/chat/completions \\",
        f"  -H 'Authorization: Bearer {key}' \\",
        "  -H 'Content-Type: application/json' \\",
        f"  -d '{json.dumps(body)}'",
    ]


async def _ready(host: str, port: int, *, tls: bool) -> bool:
    context = ssl.create_default_context() if tls else None
    if context is not None:  # it is ourselves that we ask, by an address that no certificate is for
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError:
        return False
    with contextlib.closing(writer):
        writer.write(b"GET /health/ready HTTP/1.1\r\nhost: fundament\r\nconnection: close\r\n\r\n")
        return (await reader.readline()).startswith(b"HTTP/1.1 200")


async def _quickstart_key(config: Config) -> str:
    """The key of the file that only the owner can read; made anew when it is missing, or was revoked or rotated."""
    path = config.data_dir / "quickstart.key"
    kept = await asyncio.to_thread(_read_key, path)
    database = open_database(config.database_url)
    try:
        keys = KeyRepository(database, os_user())
        records = await keys.list()
        found = KeyRing(records).find(kept)
        if found is not None and found.expires_at is None:
            return kept
        for record in records:
            if (record.name, record.contract.name, record.revoked_at) == (QUICKSTART_KEY, DEFAULT_CONTRACT, None):
                await keys.revoke(record.id)
        _, plaintext = await keys.create(QUICKSTART_KEY, scopes=("inference", "usage"))
    finally:
        await database.dispose()
    await asyncio.to_thread(_write_key, path, plaintext)
    return plaintext


def _read_key(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _write_key(path: Path, key: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key + "\n")
