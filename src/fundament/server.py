"""The gateway worker: the composition root, the only place that knows every part of the request path.

Run as `python -m fundament.server` by the supervisor, with its instructions on stdin and a listening socket inherited.
"""

import asyncio
import gc
import math
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
import uvicorn
import uvloop
from msgspec import Struct

from fundament.api.app import build_app
from fundament.api.desk import Desk
from fundament.api.http import http_protocol, limits_of
from fundament.api.listening import Server
from fundament.api.sockets import SocketProtocol
from fundament.backends.circuit import Circuit
from fundament.backends.client import Client
from fundament.backends.gate import Gate
from fundament.backends.pool import AnyUpstream, Pool
from fundament.backends.profiles import EMBEDDED, PROFILES
from fundament.backends.upstream import Upstream
from fundament.certificates import Certificates
from fundament.gateway.admission import Admission
from fundament.gateway.catalogue import Catalogue, CatalogueModel
from fundament.gateway.keys import KeyRefresher, KeyRing
from fundament.gateway.last_used import LastUsed
from fundament.gateway.limits import Limiter
from fundament.gateway.meter import Meter
from fundament.gateway.prices import Price
from fundament.gateway.retention import Retention
from fundament.lifeline import receive_instructions
from fundament.outbox import Outbox
from fundament.responses.background import Background
from fundament.settings import Config, ModelConfig, PriceConfig, ServerConfig
from fundament.storage.counters import CountersInUse, MemoryCounters, UnsharedCounters
from fundament.storage.database import open_database
from fundament.storage.journal import UsageJournal
from fundament.storage.keys import KeyRepository
from fundament.storage.mover import moved_until
from fundament.storage.spending import Spending
from fundament.storage.state import StateRepository
from fundament.storage.usage import UsageRepository
from fundament.telemetry.logs import configure_logging
from fundament.telemetry.metrics import Metrics
from fundament.telemetry.worker import WorkerTelemetry

KEEP_ALIVE_S = 75
COLLECT_AFTER_OBJECTS = 5000
LAST_WORDS_S = 1.0  # for error frames to streams that outlive the grace period
DESCRIPTORS_A_CLIENT = 2  # its connection, and one to an upstream
OTHER_DESCRIPTORS = 256
ENGINE_CONNECT_TIMEOUT_S = 2.0
ENGINE_SILENCE_S = 600.0  # a long prompt on a slow machine; a dead engine is noticed by its closed connection


class LocalModel(Struct, frozen=True, kw_only=True):
    """Where a model's engine listens on loopback, and what its file says about it."""

    port: int
    api_key: str
    fingerprint: str
    hidden_size: int | None
    trained_context_tokens: int | None
    quantisation: str | None
    native_tools: bool
    thinks: bool
    middle_tokens: tuple[int, int, int] | None


class WorkerInstructions(Struct, kw_only=True):
    """What a worker is told. `position` counts the workers from 0; `processes` names all of the supervisor's."""

    config: Config
    listener_fd: int
    metrics_fd: int
    position: int
    processes: list[str]
    started_at: int
    local_models: dict[str, LocalModel]


async def serve(instructions: WorkerInstructions) -> None:
    """Serves until SIGTERM, then drains for the configured grace period."""
    config = instructions.config
    database = open_database(config.database_url)
    repository = KeyRepository(database)
    keys, last_used = KeyRefresher(KeyRing(), repository), LastUsed(repository)
    await keys.refresh()
    journal = UsageJournal(config.journal_dir)
    outbox = Outbox(first=journal.flush)
    telemetry = WorkerTelemetry(
        config,
        descriptor=instructions.metrics_fd,
        position=instructions.position,
        processes=instructions.processes,
        moved_until=lambda: moved_until(config.journal_dir),
    )
    upstreams = {
        model.id: _upstream(model, instructions.local_models.get(model.id), outbox, telemetry.metrics)
        for model in config.models
    }
    catalogue = Catalogue([_catalogue_model(model, instructions) for model in config.models])
    store = StateRepository(database)
    meter = Meter(journal, telemetry.recorders, tracing=config.telemetry.otlp_endpoint is not None)
    background = Background(store, catalogue, meter)
    retention = Retention(store, config.storage.responses_days)
    ledger, counters = UsageRepository(database), counters_of(config, telemetry.metrics.store_down)
    desk = Desk(
        admission=Admission(keys, catalogue, config.plans, last_used),
        upstreams=upstreams,
        limiter=Limiter(
            config.plans,
            counters,
            spent=Spending(ledger, config.journal_dir).nanos,
            refused=telemetry.metrics.refused,
        ),
        meter=meter,
        store=store,
        background=background,
        ledger=ledger,
        currency=config.billing.currency,
        max_body_bytes=config.server.max_body_bytes,
        allow_private_addresses=config.tools.allow_private_addresses,
    )
    app = build_app(desk, telemetry, cors_origins=config.server.cors_origins)
    certificates = _certificates(config.server)
    server = Server(
        uvicorn.Config(
            app,
            http=http_protocol(outbox, limits_of(config.server)),
            ws=SocketProtocol,
            ws_max_size=config.server.max_body_bytes,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=math.ceil(config.server.grace_period_s),
        ),
        tls=certificates.context if certificates else None,
        handshake_timeout_s=config.server.head_timeout_s,
        shutdown_timeout_s=config.server.write_timeout_s,
    )
    # uvicorn raises the signal again when it is done; then we still have a journal to close.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _remain)
    # What lives as long as the process need not be looked through by every collection, nor what lives as long as a
    # request: of those in flight there are thousands of objects, and 7 % of the time went to looking at them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 20)
    works = (keys, last_used, journal, background, retention, counters, *([certificates] if certificates else []))
    running = [asyncio.create_task(work.run()) for work in works]
    try:
        await server.serve(sockets=[socket.socket(fileno=instructions.listener_fd)])
        if tasks := server.server_state.tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)
    finally:
        await background.close()
        await counters.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for upstream in upstreams.values():
            upstream.close()
        journal.close()
        await database.dispose()
        telemetry.close()


def _remain(number: int, frame: FrameType | None) -> None:
    """A signal handler that lets the process go on."""


def counters_of(config: Config, told: Callable[[bool], None]) -> CountersInUse:
    """Counters as right as the configuration lets them be; `told` whether their server is away."""
    storage = config.storage
    if storage.counters != "memory":
        from fundament.storage.redis_counters import RedisCounters  # noqa: PLC0415 - the client costs 0.1 s and 15 MB

        return RedisCounters(storage.counters, allow=storage.on_counters_failure == "allow", told=told)
    return MemoryCounters() if config.server.workers == 1 else UnsharedCounters()


def _certificates(server: ServerConfig) -> Certificates | None:
    if server.tls_certificate is None or server.tls_key is None:
        return None
    return Certificates(server.tls_certificate, server.tls_key)


def _upstream(model: ModelConfig, local: LocalModel | None, outbox: Outbox, metrics: Metrics) -> AnyUpstream:
    if local is not None:
        client = Client(
            f"http://127.0.0.1:{local.port}",
            headers={"authorization": f"Bearer {local.api_key}"},
            connect_timeout_s=ENGINE_CONNECT_TIMEOUT_S,
            first_byte_timeout_s=ENGINE_SILENCE_S,
            idle_timeout_s=ENGINE_SILENCE_S,
            outbox=outbox,
        )
        gate = Gate(model.slots, model.queue, metrics.line(model.id))
        return Upstream(
            client=client,
            profile=replace(EMBEDDED, native_tools=local.native_tools, thinks=local.thinks, middle=local.middle_tokens),
            gate=gate,
            model=model.id,
            fingerprint=local.fingerprint,
            context_tokens=model.context,
        )
    remotes = [_remote(model, position, outbox, metrics) for position in range(len(model.upstreams))]
    return remotes[0] if len(remotes) == 1 else Pool(remotes, partial(metrics.moved, model.id))


def _remote(model: ModelConfig, position: int, outbox: Outbox, metrics: Metrics) -> Upstream:
    remote = model.upstreams[position]
    headers = {"authorization": f"Bearer {os.environ[remote.api_key_env]}"} if remote.api_key_env else {}
    client = Client(
        remote.base_url,
        headers=headers,
        connect_timeout_s=remote.connect_timeout_s,
        first_byte_timeout_s=remote.first_byte_timeout_s,
        idle_timeout_s=remote.idle_timeout_s,
        outbox=outbox,
    )
    gate = Gate(remote.max_in_flight, remote.queue, metrics.line(model.id))
    profile = PROFILES[remote.profile]
    if remote.media_urls:
        profile = replace(profile, media_urls=True)
    if not remote.responses:
        profile = replace(profile, speaks_responses=False)
    circuit = Circuit(_tells(metrics, model.id, position, urlsplit(remote.base_url).netloc))
    return Upstream(client=client, profile=profile, gate=gate, model=remote.model or model.id, circuit=circuit)


def _tells(metrics: Metrics, model: str, position: int, host: str) -> Callable[[bool], None]:
    """Who is told that a circuit opens or closes: the log and the metrics."""
    log: Any = structlog.get_logger(__name__)

    def told(is_open: bool) -> None:
        metrics.circuit(model, position, is_open)
        if is_open:
            log.warning("circuit_opened", model=model, upstream=position, host=host)
        else:
            log.info("circuit_closed", model=model, upstream=position, host=host)

    return told


def _catalogue_model(model: ModelConfig, instructions: WorkerInstructions) -> CatalogueModel:
    local = instructions.local_models.get(model.id)
    context = model.context
    if context and local and local.trained_context_tokens:
        context = min(context, local.trained_context_tokens)
    meta_data: dict[str, Any] = {
        "max_sequence_length": context,
        "hidden_size": local.hidden_size if local else None,
        "max_output_length": model.max_output_tokens or context,
        "quantisation": local.quantisation if local else None,
        "open_weights": model.open_weights,
        "hosted_by": model.hosted_by or ("self" if local else None),
        "region": model.region,
        "license": model.license,
        "aliases": model.aliases,
    }
    if model.price is not None:
        shown = msgspec.structs.asdict(model.price)
        meta_data |= {"price": shown | {"per_tokens": 1_000_000, "currency": instructions.config.billing.currency}}
    return CatalogueModel(
        id=model.id,
        created=instructions.started_at,
        owned_by=model.owned_by,
        aliases=model.aliases,
        open_weights=model.open_weights,
        context_tokens=context,
        max_output_tokens=model.max_output_tokens,
        region=model.region,
        price=_price(model.price),
        meta_data=meta_data,
    )


def _price(price: PriceConfig | None) -> Price | None:
    """Nanos for a token are thousandths for a million."""
    if price is None:
        return None
    input, cached_input, output = (
        round(each * 1000) for each in (price.input, price.cached_input or 0.0, price.output)
    )
    return Price(input=input, cached_input=cached_input, output=output)


def _allow_descriptors(connections: int) -> None:
    """Raises the limit on open files to what so many clients need, as far as the machine lets us."""
    wanted = DESCRIPTORS_A_CLIENT * connections + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log: Any = structlog.get_logger(__name__)
        log.warning("few_descriptors", allowed=allowed, wanted=wanted, max_connections=connections)


def main() -> None:
    instructions = receive_instructions(WorkerInstructions)
    configure_logging(instructions.config.server.log_level)
    _allow_descriptors(instructions.config.server.max_connections)
    uvloop.run(serve(instructions))


if __name__ == "__main__":
    main()
