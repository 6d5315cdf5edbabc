"""The configuration from its sources to its refusals, and its documentation."""

import pickle
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from fundament import settings as configuration
from fundament.config import load, settings
from fundament.errors import ConfigError
from fundament.settings import DEFAULT_MODEL, Config

DOCUMENTATION = (Path(__file__).parents[1] / "docs/configuration.md").read_text(encoding="utf-8")
MODEL = '[[models]]\nid = "a"\n'
LOCAL = MODEL + 'source = "a.gguf"\n'
UPSTREAM = MODEL + '[[models.upstreams]]\nbase_url = "http://upstream:8000/v1"\n'


def refusal(config_file: Path, text: str, environ: dict[str, str] | None = None) -> str:
    config_file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config_file, environ or {})
    return str(caught.value)


def test_without_any_source_the_defaults_hold_and_the_default_model_is_served(config_file: Path) -> None:
    loaded = load(environ={})

    assert loaded.path is None
    assert loaded.config.models == (DEFAULT_MODEL,)
    assert loaded.config.server.port == 8080
    assert loaded.config.data_dir == Path.cwd() / "data"
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.origins.keys() == settings(loaded.config).keys()


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(config_file: Path) -> None:
    config_file.write_text("[server]\nport = 1\nworkers = 1\nhost = 'file'", encoding="utf-8")
    environ = {"FUNDAMENT_SERVER_PORT": "2", "FUNDAMENT_SERVER_WORKERS": "2"}

    loaded = load(config_file, environ, {"server.port": 3, "server.workers": None})

    server = loaded.config.server
    assert (server.port, server.workers, server.host, server.log_level) == (3, 2, "file", "info")
    origins = [loaded.origins[f"server.{name}"] for name in ("port", "workers", "host", "log_level")]
    assert origins == ["flag --port", "environment FUNDAMENT_SERVER_WORKERS", "fundament.toml", "default"]


def test_the_origin_of_a_setting_in_a_table_of_a_list_is_its_own(config_file: Path) -> None:
    config_file.write_text(UPSTREAM, encoding="utf-8")

    origins = load(config_file, {}).origins

    assert origins["models[0].upstreams[0].base_url"] == "fundament.toml"
    assert origins["models[0].upstreams[0].queue"] == "default"


def test_every_setting_outside_models_and_plans_can_come_from_the_environment(config_file: Path) -> None:
    given = {
        "server.host": "::1",
        "server.port": "0",
        "server.workers": "4",
        "server.data_dir": "/d",
        "server.grace_period_s": "1.5",
        "server.max_body_bytes": "10",
        "server.log_level": "debug",
        "server.tls_certificate": "/c",
        "server.tls_key": "/k",
        "server.cors_origins": "('https://app.example', '*')",
        "server.max_connections": "9",
        "server.head_timeout_s": "1.0",
        "server.body_timeout_s": "2.0",
        "server.write_timeout_s": "3.0",
        "storage.database": "postgresql://u@h/d",
        "storage.counters": "redis://h/0",
        "storage.on_counters_failure": "allow",
        "storage.responses_days": "7",
        "storage.usage_days": "8",
        "telemetry.metrics": "False",
        "telemetry.access_log": "True",
        "telemetry.otlp_endpoint": "http://collector:4318",
        "tools.allow_private_addresses": "True",
        "billing.currency": "CHF",
        "admin.port": "8081",
        "admin.host": "::1",
        "admin.key_env": "MY_ADMIN_KEY",
    }
    environ = {f"FUNDAMENT_{name.replace('.', '_').upper()}": value for name, value in given.items()}
    environ["FUNDAMENT_SERVER_CORS_ORIGINS"] = "https://app.example, *"

    loaded = load(environ=environ)

    assert {name: str(value) for name, value in settings(loaded.config).items() if name in given} == given
    assert given.keys() == {name for name in loaded.origins if not name.startswith(("models", "plans"))}


def test_the_file_is_the_flag_then_the_variable_then_the_working_directory(config_file: Path, tmp_path: Path) -> None:
    for port, path in enumerate((tmp_path / "flag.toml", tmp_path / "variable.toml", Path("fundament.toml"))):
        path.write_text(f"server.port = {port}", encoding="utf-8")
    environ = {"FUNDAMENT_CONFIG": str(tmp_path / "variable.toml")}

    assert load(tmp_path / "flag.toml", environ).config.server.port == 0
    assert load(None, environ).config.server.port == 1
    assert load(None, {}).config.server.port == 2


@pytest.mark.parametrize("source", ["flag", "variable"])
def test_a_named_file_that_is_missing_stops_the_start(config_file: Path, source: str) -> None:
    with pytest.raises(ConfigError, match=r"fundament\.toml: cannot be read: No such file"):
        load(
            config_file if source == "flag" else None,
            {"FUNDAMENT_CONFIG": str(config_file)} if source == "variable" else {},
        )


@pytest.mark.parametrize("content", [b"x = = 1", b"\xff\xfe", b"[server]\nport = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_refused_by_its_path(config_file: Path, content: bytes) -> None:
    config_file.write_bytes(content)

    with pytest.raises(ConfigError, match=re.escape(str(config_file))):
        load(config_file, {})


def test_a_relative_path_of_the_file_is_relative_to_the_file(config_file: Path) -> None:
    config_file.write_text(f"server.data_dir = 'd'\n{LOCAL}", encoding="utf-8")

    config = load(config_file, {}).config

    assert config.data_dir == config_file.parent / "d"
    assert config.database_url == f"sqlite:///{config_file.parent}/d/fundament.db"
    assert config.models[0].source == str(config_file.parent / "a.gguf")


def test_the_files_of_tls_are_relative_to_the_file(config_file: Path) -> None:
    config_file.write_text("server.tls_certificate = 'c'\nserver.tls_key = '/k'", encoding="utf-8")

    server = load(config_file, {"FUNDAMENT_DATA_DIR": "e"}).config.server

    assert (server.tls_certificate, server.tls_key) == (str(config_file.parent / "c"), "/k")


def test_a_data_dir_that_was_typed_is_relative_to_the_working_directory(config_file: Path) -> None:
    config_file.write_text("server.data_dir = 'd'", encoding="utf-8")

    assert load(config_file, {"FUNDAMENT_DATA_DIR": "e"}).config.data_dir == Path.cwd() / "e"
    assert load(config_file, {}, {"server.data_dir": Path("f")}).config.data_dir == Path.cwd() / "f"


def test_a_tilde_is_the_home_directory(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")

    assert load(environ={"FUNDAMENT_DATA_DIR": "~/d"}).config.data_dir == Path("/home/someone/d")


@pytest.mark.parametrize("url", ["sqlite:////srv/other.db", "postgresql://u:p@h/d?sslmode=require"])
def test_a_database_that_is_not_relative_stays_as_written(config_file: Path, url: str) -> None:
    assert load(environ={"FUNDAMENT_STORAGE_DATABASE": url}).config.database_url == url


def test_slashes_at_the_end_of_a_base_url_and_capitals_in_a_checksum_do_not_matter(config_file: Path) -> None:
    local = LOCAL.replace('"a"', '"b"') + f"sha256 = '{'AB' * 32}'\n"
    config_file.write_text(UPSTREAM.replace("/v1", "/v1//") + local, encoding="utf-8")

    elsewhere, here = load(config_file, {}).config.models

    assert elsewhere.upstreams[0].base_url == "http://upstream:8000/v1"
    assert here.sha256 == "ab" * 32


def test_a_configuration_cannot_be_changed_and_travels_to_another_process(config_file: Path) -> None:
    loaded = load(environ={})

    with pytest.raises(AttributeError):
        loaded.config.server.port = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(loaded)) == loaded  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LOCAL + "context = 'big'", "models[0].context: expected an integer >= 1, got 'big'"),
        (LOCAL + "context = 0", "models[0].context: expected an integer >= 1, got 0"),
        (LOCAL + "threads = 1.5", "models[0].threads: expected an integer >= 1, got 1.5"),
        (LOCAL + "queue = -1", "models[0].queue: expected an integer >= 0, got -1"),
        (LOCAL + "aliases = 'b'", "models[0].aliases: expected a list, got 'b'"),
        (LOCAL + "aliases = ['b', 'c d']", "models[0].aliases[1]: expected a name of visible ASCII characters without"),
        (LOCAL + "open_weights = 1", "models[0].open_weights: expected true or false, got 1"),
        (LOCAL + "sha256 = 'ab'", "models[0].sha256: expected a SHA-256 of 64 hexadecimal digits, got 'ab'"),
        (LOCAL + "contxt = 1", "models[0].contxt: unknown setting; did you mean 'context'?"),
        (MODEL + "source = 'pip:x'", "models[0].source: expected a path, pypi:NAME==VERSION#FILE or hf:OWNER/REPO/"),
        ("[[models]]", "models[0].id: is required"),
        ("[[models]]\nid = ''\nsource = 'x'", "models[0].id: expected a name of visible ASCII characters without"),
        ("[models]\nid = 'a'", "models: expected a list of at least one model, [[models]], got a table"),
        ("models = []", "models: expected a list of at least one model, [[models]], got a list"),
        ("models = [3]", "models[0]: expected a table, got 3"),
        ("server = 3", "server: expected a table, got 3"),
        ("[servers]", "servers: unknown setting; did you mean 'server'?"),
        ("zzz = 1", "zzz: unknown setting (from fundament.toml)"),
        ("server.prot = 1", "server.prot: unknown setting; did you mean 'port'?"),
        ("server.port = 65536", "server.port: expected an integer from 0 to 65535, got 65536"),
        ("server.port = true", "server.port: expected an integer from 0 to 65535, got True"),
        ("server.port = '80'", "server.port: expected an integer from 0 to 65535, got '80'"),
        ("server.workers = 0", "server.workers: expected an integer >= 1, got 0"),
        ("server.host = ''", "server.host: expected a text that is not empty, got ''"),
        ("server.grace_period_s = inf", "server.grace_period_s: expected a number of seconds from 0 to 86400, got inf"),
        ("server.grace_period_s = nan", "server.grace_period_s: expected a number of seconds from 0 to 86400, got nan"),
        ("server.log_level = 'loud'", "server.log_level: expected one of 'debug', 'error', 'info', 'warning', got "),
        ("storage.database = 'mysql://h/d'", "storage.database: expected sqlite:///FILE or postgresql://"),
        ("storage.database = 'sqlite:///:memory:'", "storage.database: expected sqlite:///FILE or postgresql://"),
        ("server.tls_key = 'x'", "server: needs both of tls_certificate and tls_key, or none of them"),
        ("server.cors_origins = ['https://App.example/']", "server.cors_origins[0]: expected an origin such as https:"),
        (
            "server.cors_origins = 'https://app.example'",
            "server.cors_origins: expected a list, got 'https://app.example",
        ),
        (UPSTREAM + "idle_timeout_s = 0", "models[0].upstreams[0].idle_timeout_s: expected a number of seconds > 0"),
        (UPSTREAM + "profile = 'vlm'", "models[0].upstreams[0].profile: expected one of 'generic', 'llama-server', "),
        (UPSTREAM.replace("http:", "ftp:"), "models[0].upstreams[0].base_url: expected an http:// or https:// URL "),
        (UPSTREAM.replace("/v1", "/v1?x=1"), "models[0].upstreams[0].base_url: expected an http:// or https:// URL "),
        (MODEL + "[[models.upstreams]]", "models[0].upstreams[0].base_url: is required"),
    ],
)
def test_an_unknown_name_or_a_bad_value_is_refused_by_name(config_file: Path, text: str, message: str) -> None:
    refused = refusal(config_file, text)

    assert refused.startswith(message)
    assert refused.endswith("(from fundament.toml)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MODEL, "models[0]: needs exactly one of source (a local model) and upstreams"),
        (UPSTREAM.replace("[[models.", "source = 'x'\n[[models."), "models[0]: needs exactly one of source (a local"),
        *[
            (
                UPSTREAM + UPSTREAM.removeprefix(MODEL) + f"{name} = {value}",
                f"models[0]: upstreams[1].{name} is {shown}, ",
            )
            for name, value, shown in [
                ("profile", "'vllm'", "'vllm'"),
                ("responses", "false", "False"),
                ("media_urls", "true", "True"),
            ]
        ],
        (LOCAL + "open_weights = false", "models[0]: open_weights is false, but a local model (source) has open"),
        (MODEL + "slots = 2\n" + UPSTREAM.removeprefix(MODEL), "models[0]: slots is for a local model (source)"),
        (LOCAL + LOCAL, "models[1].id: 'a' is taken by models[0].id; ids and aliases are unique"),
        (LOCAL + "aliases = ['a']", "models[0].aliases[0]: 'a' is taken by models[0].id"),
        (LOCAL + "aliases = ['b', 'b']", "models[0].aliases[1]: 'b' is taken by models[0].aliases[0]"),
    ],
)
def test_a_broken_rule_of_the_catalogue_is_refused_by_name(config_file: Path, text: str, message: str) -> None:
    assert refusal(config_file, text).startswith(message)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"FUNDAMENT_SERVER_PORT": "x"},
            "server.port: expected an integer from 0 to 65535, got 'x' (from environment FUNDAMENT_SERVER_PORT)",
        ),
        (
            {"FUNDAMENT_SERVER_PORT": "99999"},
            "server.port: expected an integer from 0 to 65535, got '99999' (from environment FUNDAMENT_SERVER_PORT)",
        ),
        (
            {"FUNDAMENT_SERVER_PROT": "1"},
            "FUNDAMENT_SERVER_PROT: unknown environment variable; did you mean 'FUNDAMENT_SERVER_PORT'?",
        ),
        (
            {"FUNDAMENT_MODELS_0_ID": "a"},
            "FUNDAMENT_MODELS_0_ID: models are set in the configuration file, not by environment variables",
        ),
        (
            {"FUNDAMENT_DATA_DIR": "a", "FUNDAMENT_SERVER_DATA_DIR": "b"},
            "server.data_dir: set by both FUNDAMENT_DATA_DIR and FUNDAMENT_SERVER_DATA_DIR; keep one",
        ),
    ],
)
def test_a_bad_variable_is_refused_by_name(config_file: Path, environ: dict[str, str], message: str) -> None:
    assert refusal(config_file, "", environ) == message


def test_a_bad_flag_is_refused_by_its_name(config_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^server\.data_dir: expected .*, got 3 \(from flag --data-dir\)$"):
        load(environ={}, flags={"server.data_dir": 3})


def test_a_variable_that_holds_an_upstreams_key_may_begin_like_ours(config_file: Path) -> None:
    config_file.write_text(UPSTREAM + "api_key_env = 'FUNDAMENT_UPSTREAM_KEY'", encoding="utf-8")

    assert load(config_file, {"FUNDAMENT_UPSTREAM_KEY": "secret"}).config.models[0].upstreams[0].api_key_env


@pytest.mark.parametrize(
    "text",
    [
        UPSTREAM + "api_key_env = 'sk-hunter2'",
        UPSTREAM + "api_key = 'sk-hunter2'",
        UPSTREAM.replace("[[models]]", "[models]") + "api_key = 'sk-hunter2'",
        UPSTREAM.replace("upstream:", "me:hunter2@upstream:"),
        "storage.database = 'mysql://me:hunter2@h/d'",
        "storage.database = 'mysql://h/d?password=hunter2'",
    ],
)
def test_a_refusal_does_not_repeat_a_secret(config_file: Path, text: str) -> None:
    assert "hunter2" not in refusal(config_file, text)


def documented(heading: str) -> dict[str, str]:
    """Name and default, as written, of every row in the table under a heading."""
    section = DOCUMENTATION.split(f"## `{heading}`\n")[1].split("\n## ")[0]
    return {
        name: default.strip().strip("`")
        for name, default in re.findall(r"^\| `(\w+)` \|[^|]+\|([^|]+)\|[^|]+\|$", section, flags=re.MULTILINE)
    }


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("[server]", configuration.ServerConfig),
        ("[storage]", configuration.StorageConfig),
        ("[admin]", configuration.AdminConfig),
        ("[[models]]", configuration.ModelConfig),
        ("[[models.upstreams]]", configuration.UpstreamConfig),
        ("[plans.NAME]", configuration.PlanConfig),
        ("[[plans.NAME.limits]]", configuration.LimitConfig),
    ],
)
def test_the_documentation_has_every_setting_with_its_default(heading: str, struct: type[msgspec.Struct]) -> None:
    def written(default: object) -> str:
        if default is msgspec.NODEFAULT:
            return "required"
        return "none" if default is None else msgspec.json.encode(default).decode()

    assert documented(heading) == {field.name: written(field.default) for field in msgspec.structs.fields(struct)}


def test_the_documentation_has_every_section() -> None:
    headings = re.findall(r"^## `\[+([\w.]+)\]+`$", DOCUMENTATION, flags=re.MULTILINE)

    assert {heading.split(".")[0] for heading in headings} == set(Config.__struct_fields__)


def test_the_example_of_the_documentation_loads(config_file: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENTATION, flags=re.DOTALL)
    config_file.write_text(example, encoding="utf-8")

    loaded = load(config_file, {})

    assert tomllib.loads(example)["server"]["workers"] == loaded.config.server.workers == 2
    assert [model.id for model in loaded.config.models] == ["SmolLM2-135M-Instruct", "Qwen3-32B", "gpt-4.1"]
    assert loaded.config.models[2].upstreams[0].api_key_env == "OPENAI_UPSTREAM_KEY"


def test_the_refusals_that_the_documentation_quotes_are_the_real_ones(config_file: Path) -> None:
    assert refusal(config_file, LOCAL + "context = 'big'") in DOCUMENTATION
    assert refusal(config_file, "server.prot = 1") in DOCUMENTATION
