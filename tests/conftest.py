"""What tests share: the weights, the services that run for the whole session, and the scripted upstream behind one.

A thing that this machine lacks is an error where CI=true; elsewhere its tests are skipped and one loud line says so.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import openai
import pytest
from hypothesis import settings

from catalogues import UPSTREAM_ENVIRONMENT, embedded_config, scripted_config
from counter_stores import RedisServer
from databases import PostgreSQL
from fundament.engine import weights
from fundament.errors import WeightsError
from fundament.settings import DEFAULT_MODEL
from fundament.storage.database import upgrade
from scripted_answers import chat_answer
from scripted_upstream import ScriptedUpstream
from service import Service

# How long an example takes depends on the machine and on who else uses it; speed is measured by benchmarks.
settings.register_profile("fundament", deadline=None)
settings.load_profile("fundament")
MISSING = pytest.StashKey[dict[str, None]]()


@pytest.fixture(scope="session")
def lacking(pytestconfig: pytest.Config) -> Callable[[str], NoReturn]:
    """Says that the machine lacks something: fails in CI, else skips loudly."""

    def say(what: str) -> NoReturn:
        if os.environ.get("CI") == "true":
            pytest.fail(f"this machine lacks {what}", pytrace=False)
        pytestconfig.stash.setdefault(MISSING, {})[what] = None
        pytest.skip(f"this machine lacks {what}")

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what in config.stash.get(MISSING, {}):
        terminalreporter.write_line(f"NOT TESTED: this machine lacks {what}", red=True, bold=True)


@pytest.fixture(scope="session")
def postgresql(lacking: Callable[[str], NoReturn]) -> Iterator[PostgreSQL]:
    """A running PostgreSQL server."""
    try:
        server = PostgreSQL()
    except FileNotFoundError:
        lacking("a PostgreSQL server")
    with server:
        yield server


@pytest.fixture(scope="session")
def running_redis(lacking: Callable[[str], NoReturn]) -> Iterator[RedisServer]:
    try:
        server = RedisServer()
    except FileNotFoundError:
        lacking("a Redis server")
    with server:
        yield server


@pytest.fixture
def redis_server(running_redis: RedisServer) -> RedisServer:
    """A running Redis server with nothing in it."""
    running_redis.ask("FLUSHALL")
    return running_redis


@pytest.fixture(scope="session")
def cleared_url(postgresql: PostgreSQL) -> str:
    return postgresql.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with all tables: a test that asks for it runs with each kind."""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url: str = request.getfixturevalue("cleared_url")
        server.clear(url)
    else:
        url = f"sqlite:///{tmp_path}/data/fundament.db"
    upgrade(url)
    return url


@pytest.fixture(scope="session")
def weights_cache(lacking: Callable[[str], NoReturn]) -> Path:
    """A cache directory for `weights.locate` that outlives the session; the default model is in it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fundament-tests"
    assert DEFAULT_MODEL.source is not None
    try:
        weights.locate(DEFAULT_MODEL.source, cache, sha256=DEFAULT_MODEL.sha256)
    except WeightsError as error:
        lacking(f"the default model's weights ({error})")
    return cache


@pytest.fixture(scope="session")
def model_path(weights_cache: Path) -> Path:
    """The default model's GGUF file."""
    assert DEFAULT_MODEL.source is not None
    return weights.locate(DEFAULT_MODEL.source, weights_cache, sha256=DEFAULT_MODEL.sha256)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Iterator[Service]:
    """A service with the default model: 16 slots of 2048 tokens."""
    with Service(tmp_path_factory.mktemp("embedded"), embedded_config(), weights_cache=weights_cache) as service:
        yield service


@pytest.fixture(scope="session")
def running_upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(running_upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The upstream behind `scripted`, as new for each test."""
    running_upstream.reset()
    return running_upstream


@pytest.fixture(scope="session")
def scripted_service(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    config = scripted_config(running_upstream.base_url)
    with Service(tmp_path_factory.mktemp("scripted"), config, environment=UPSTREAM_ENVIRONMENT) as service:
        yield service


@pytest.fixture
def scripted(scripted_service: Service, upstream: ScriptedUpstream) -> Service:
    """A service whose models are all behind `upstream`, which has forgotten the test before."""
    return scripted_service


@pytest.fixture
def recovered(scripted: Service, upstream: ScriptedUpstream) -> Iterator[None]:
    """After each test the upstream answers once for each model that failing tests ask, lest their circuits open."""
    yield
    upstream.reset()
    upstream.default(chat_answer("well again"))
    for model in ("gpt-4.1", "impatient-model"):
        body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
        assert scripted.post("/v2/chat/completions", body).status == 200


@pytest.fixture(scope="module")
def embedded_client(embedded: Service) -> Iterator[openai.OpenAI]:
    with embedded.client() as client:
        yield client


@pytest.fixture
def scripted_client(scripted: Service) -> Iterator[openai.OpenAI]:
    with scripted.client() as client:
        yield client


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of `fundament.toml` (not yet written) in an empty directory, which is not the working directory."""
    for variable in [name for name in os.environ if name.startswith("FUNDAMENT_")]:
        monkeypatch.delenv(variable)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return tmp_path / "fundament.toml"
