"""Grammars that hold our engine to a form: JSON by a schema, calls of functions. Written for llguidance, in its Lark.

llama.cpp decodes under them; the same library, as a Python package, compiles them here first and follows each answer,
because the engine goes on without any grammar when it cannot compile one or one grows too complex. It knows no request;
`tools.py` and `body.py` do.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import llguidance
from llguidance.gbnf_to_lark import any_to_lark

from fundament.backends.patterns import UnsupportedPattern
from fundament.backends.schemas import prepared, too_much, widened
from fundament.errors import InvalidRequest

GRAMMAR_LIMIT_CHARACTERS = 16_000
# Kept compiled: so many grammars, if not longer than this. One takes about 0.5 MB, a long one 3 MB.
COMPILED_LIMIT = 64
KEPT_LIMIT_CHARACTERS = 20_000

CALL_START = "<tool_call>"
CALL_END = "</tool_call>"
NAME_START = '{"name": '
ARGUMENTS_START = ', "arguments": '
CALLS_LIMIT = 8  # a weak model that is allowed several calls would never stop
_HEAD = "%llguidance {} "  # without a line of its own: faults are told by the lines of a client's grammar
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


def held_schema(schema: Schema, *, what: str, param: str, code: str | None) -> Schema:
    """The schema as the engine can hold an answer to it: wider where it cannot, unless an answer must hold to all.

    Args:
        what: names the schema's owner in the message, such as `function 'get_weather'`.

    Raises:
        InvalidRequest: it must and cannot; with the place in the schema and the reason.
    """
    reason = _reason(schema)
    if reason is None:
        return schema
    content, strict = schema
    if strict:
        raise InvalidRequest(f"Invalid schema for {what}: {reason}.", param=param, code=code)
    return next(wider for wider in zip(widened(content), repeat(False)) if _reason(wider) is None)


def _reason(schema: Schema) -> str | None:
    """Why the engine cannot hold an answer to it, None if it can."""
    try:
        return too_much(schema[0]) or _fault(json_grammar(schema))
    except UnsupportedPattern as unsupported:
        return str(unsupported)


def own_grammar(text: str) -> str:
    """A client's grammar, in llama.cpp's GBNF or llguidance's Lark, as the engine gets it.

    Raises:
        InvalidRequest: it cannot be compiled; the message says why.
    """
    if len(text) > GRAMMAR_LIMIT_CHARACTERS:
        reason = f"it has {len(text)} characters; at most {GRAMMAR_LIMIT_CHARACTERS} are supported"
        raise InvalidRequest(f"Invalid 'grammar': {reason}.", param="grammar", code="invalid_value")
    try:
        grammar = any_to_lark(text)
        if not grammar.startswith("%llguidance"):
            grammar = _HEAD + grammar
        reason = "for JSON Schemas there is 'response_format'" if "%json" in text else _fault(grammar)
    except RecursionError:
        grammar, reason = "", "it is nested too deeply"
    except Exception as error:  # noqa: BLE001 - what the converter raises for a rule that is missing
        grammar, reason = "", str(error).partition("\n")[0]
    if reason:
        raise InvalidRequest(f"Invalid 'grammar': {reason}.", param="grammar", code="invalid_value")
    return grammar


def compiled(grammar: str) -> llguidance.LLMatcher:
    """The grammar over bytes, of which every text consists. Takes a millisecond, up to one second for a huge schema."""
    return _kept(grammar) if len(grammar) <= KEPT_LIMIT_CHARACTERS else _last_long(grammar)


class Held:
    """Follows the text of one answer through the compiled grammar that it was made under."""

    def __init__(self, grammar: llguidance.LLMatcher) -> None:
        self._matcher = grammar.deep_copy()

    def follow(self, text: str) -> bool:
        """Whether the grammar allows `text` to go on so."""
        piece = list(text.encode())
        return self._matcher.try_consume_tokens(piece) == len(piece)

    @property
    def may_end(self) -> bool:
        return self._matcher.is_accepting()


@lru_cache(maxsize=COMPILED_LIMIT)
def _kept(grammar: str) -> llguidance.LLMatcher:
    return _compiled(grammar)


@lru_cache(maxsize=1)
def _last_long(grammar: str) -> llguidance.LLMatcher:
    """Kept from the check to the use of it."""
    return _compiled(grammar)


def _compiled(grammar: str) -> llguidance.LLMatcher:
    return llguidance.LLMatcher(_bytes_as_tokens(), grammar, log_level=0)


@lru_cache(maxsize=1)
def _bytes_as_tokens() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer("byte")


def _fault(grammar: str) -> str | None:
    return _known_fault(grammar) if len(grammar) <= KEPT_LIMIT_CHARACTERS else _found_fault(grammar)


@lru_cache(maxsize=8 * COMPILED_LIMIT)
def _known_fault(grammar: str) -> str | None:
    return _found_fault(grammar)


def _found_fault(grammar: str) -> str | None:
    """Why the engine could not compile it, None if it can."""
    matcher = compiled(grammar)
    if not matcher.is_error():
        return None
    reason = matcher.get_error()
    reason = reason.partition("failed to compile JSON schema: ")[2] or reason
    return reason.partition("\n")[0].strip().rstrip(".")


def _json(schema: Mapping[str, Any], strict: bool) -> str:
    options = _OPTIONS if strict else {**_OPTIONS, "lenient": True}
    return "%json " + json.dumps({**prepared(schema, strict=strict), "x-guidance": options})
