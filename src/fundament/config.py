"""The configuration: default < `fundament.toml` < `FUNDAMENT_*` variables < command-line flags, as one frozen object.

It knows where each value came from, and refuses an unknown name or a bad value by name. What can be set is
`fundament.settings`' knowledge.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct, inspect

from fundament.errors import ConfigError
from fundament.settings import (
    AdminConfig,
    BillingConfig,
    Config,
    ModelConfig,
    PlanConfig,
    ServerConfig,
    StorageConfig,
    TelemetryConfig,
    ToolsConfig,
)


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
        for section, struct in (
            ("server", ServerConfig),
            ("storage", StorageConfig),
            ("tools", ToolsConfig),
            ("billing", BillingConfig),
            ("admin", AdminConfig),
            ("telemetry", TelemetryConfig),
        )
        for field in msgspec.structs.fields(struct)
    }
    return {**variables, "FUNDAMENT_DATA_DIR": variables["FUNDAMENT_SERVER_DATA_DIR"]}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    if "FUNDAMENT_DATA_DIR" in environ and "FUNDAMENT_SERVER_DATA_DIR" in environ:
        raise ConfigError("server.data_dir: set by both FUNDAMENT_DATA_DIR and FUNDAMENT_SERVER_DATA_DIR; keep one")
    found: dict[str, tuple[str, object]] = {}
    for variable, (name, kind) in _variables().items():
        if variable in environ:
            text: object = environ[variable]
            if isinstance(inspect.type_info(kind), inspect.VarTupleType):
                text = [part.strip() for part in environ[variable].split(",") if part.strip()]
            try:
                found[variable] = name, msgspec.convert(text, kind, strict=False)
            except msgspec.ValidationError:
                # Kept as text: the conversion of the whole refuses it, with one wording for every source.
                found[variable] = name, text
    return found


def _refuse_unknown_variables(environ: Mapping[str, str], config: Config) -> None:
    keys = {upstream.api_key_env for model in config.models for upstream in model.upstreams}
    keys.add(config.admin.key_env)
    known = {*_variables(), "FUNDAMENT_CONFIG"}
    for variable in sorted(environ):
        if not variable.startswith("FUNDAMENT_") or variable in known or variable in keys:
            continue
        for part in ("models", "plans"):
            if variable.startswith(f"FUNDAMENT_{part[:-1].upper()}"):
                raise ConfigError(f"{variable}: {part} are set in the configuration file, not by environment variables")
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
    files = {"tls_certificate": config.server.tls_certificate, "tls_key": config.server.tls_key}
    server = msgspec.structs.replace(
        config.server,
        data_dir=_absolute(config.server.data_dir, data_base),
        **{name: path and _absolute(path, file_directory) for name, path in files.items()},
    )
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
    problem, _, path = str(error).partition(" - at `")  # the path of a bad name: "key` in `$.plans`"
    name = path.rpartition("$")[2].strip("`.").replace("plans[...]", f"plans.{_refused_plan(raw)}")
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


def _refused_plan(raw: Mapping[str, object]) -> str:
    """The name of the plan that is refused, which msgspec does not tell."""
    plans = raw.get("plans")
    for name, plan in cast("Mapping[str, object]", plans if isinstance(plans, dict) else {}).items():
        try:
            msgspec.convert(plan, PlanConfig)
        except msgspec.ValidationError:
            return name
    return ""


def _locate(name: str, raw: object) -> tuple[inspect.Type, object]:
    """Type and raw value of the setting `models[0].context`; the root for an empty name."""
    kind: inspect.Type = inspect.type_info(Config)
    value = raw
    for step in re.findall(r"[\w-]+", name):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        if isinstance(kind, inspect.StructType):
            kind = next(field.type for field in kind.fields if field.name == step)
            value = cast("Mapping[str, object]", value).get(step)
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
            value = cast("Sequence[object]", value)[int(step)]
        elif isinstance(kind, inspect.DictType):
            kind = kind.value_type
            value = cast("Mapping[str, object]", value)[step]
        if isinstance(kind, inspect.UnionType):  # always `X | None`
            kind = kind.types[0]
    return kind, value


def _got(name: str, value: object) -> str:
    # A key pasted where its variable's name belongs, or anywhere in a table, must not be repeated in a log.
    if name.endswith(("api_key_env", "admin.key_env")):
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
