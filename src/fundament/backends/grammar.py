"""Grammars that hold our engine to a form: JSON by a schema, calls of functions. Written for llguidance, in its Lark.

llama.cpp decodes under them; the same library, as a Python package, checks them here first, because the engine answers
without any grammar when it cannot compile one. It knows no request; `tools.py` and `body.py` do.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import llguidance

from fundament.errors import InvalidRequest

# OpenAI's own limits for structured outputs; within them a schema compiles in milliseconds.
SCHEMA_LIMIT_CHARACTERS = 120_000
NESTING_LIMIT = 100
ENUM_LIMIT = 1000

CALL_START = "<tool_call>"
CALL_END = "</tool_call>"
NAME_START = '{"name": '
ARGUMENTS_START = ', "arguments": '
CALLS_LIMIT = 8  # a weak model that is allowed several calls would never stop
_HEAD = "%llguidance {}\n"
# A model that may write white space anywhere can write nothing else for ever.
_OPTIONS = {"whitespace_flexible": False, "coerce_one_of": True}


Schema = tuple[Mapping[str, Any], bool]
"""A JSON Schema, and whether an answer must hold to all of it."""


def json_grammar(schema: Schema) -> str:
    """A grammar of JSON texts that are valid by `schema`."""
    return f"{_HEAD}start: {_json(*schema)}\n"


def calls_grammar(
    functions: Sequence[tuple[str, Schema]], *, forced: bool, parallel: bool, answer: Schema | None = None
) -> str:
    """A grammar of calls: each function by its name and the schema of its arguments.

    Without `forced`, words are an answer, too: any that do not begin like a call, or JSON by the schema `answer`.
    """
    several = rf' ("\n" call){{0,{CALLS_LIMIT - 1}}}' if parallel else ""
    words = "TEXT" if answer is None else "text"
    rules = [f"start: call{several}" if forced else f"start: {words} | call{several}"]
    if not forced and answer is None:
        rules.append(f"TEXT: /(.|\\n)*/ & ~/{CALL_START}(.|\\n)*/")
    elif not forced and answer is not None:
        rules.append(f"text: {_json(*answer)}")
    rules.append(f'call: "{CALL_START}" ({" | ".join(f"call_{i}" for i in range(len(functions)))}) "{CALL_END}"')
    for position, (name, schema) in enumerate(functions):
        opening = json.dumps(f"{NAME_START}{json.dumps(name)}{ARGUMENTS_START}")
        rules.append(f'call_{position}: {opening} arguments_{position} "}}"')
        rules.append(f"arguments_{position}: {_json(*schema)}")
    return _HEAD + "\n".join(rules) + "\n"


def check_schema(schema: Schema, *, what: str, param: str, code: str | None) -> None:
    """Refuses a schema that the engine could not hold an answer to.

    Args:
        what: names the schema's owner in the message, such as `function 'get_weather'`.

    Raises:
        InvalidRequest: with the place in the schema and the reason.
    """
    reason = _too_much(schema[0]) or llguidance.LLMatcher.validate_grammar(json_grammar(schema))
    if reason:
        reason = reason.partition("failed to compile JSON schema: ")[2] or reason
        reason = reason.partition("\n")[0].strip().rstrip(".")
        raise InvalidRequest(f"Invalid schema for {what}: {reason}.", param=param, code=code)


def _json(schema: Mapping[str, Any], strict: bool) -> str:
    options = _OPTIONS if strict else {**_OPTIONS, "lenient": True}
    return "%json " + json.dumps({**schema, "x-guidance": options})


def _too_much(schema: Mapping[str, Any]) -> str | None:
    if (length := len(json.dumps(schema))) > SCHEMA_LIMIT_CHARACTERS:
        return f"it has {length} characters; at most {SCHEMA_LIMIT_CHARACTERS} are supported"
    level: list[Any] = [schema]
    for _ in range(NESTING_LIMIT):
        if (largest := max(map(_enum_size, level), default=0)) > ENUM_LIMIT:
            return f"an enum has {largest} values; at most {ENUM_LIMIT} are supported"
        level = [child for node in level for child in _children(node)]
        if not level:
            return None
    return f"it is nested more than {NESTING_LIMIT} levels deep"


def _enum_size(node: Any) -> int:
    values = cast("dict[str, Any]", node).get("enum") if isinstance(node, dict) else None
    return len(cast("list[Any]", values)) if isinstance(values, list) else 0


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return cast("dict[str, Any]", node).values()
    return cast("list[Any]", node) if isinstance(node, list) else ()
