"""Checks a decoded body against a wire type and words what is wrong as OpenAI's API does.

msgspec finds the fault and its path; this module knows how OpenAI says it (message, `param`, `code`).
It knows no wire type by name.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from fundament.errors import InvalidRequest

T = TypeVar("T")

_FAULT = re.compile(r"^(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\[(\d+)\]|\[\.\.\.\]|\.?([^.\[\]]+)")
_LIMIT = re.compile(r"^Expected `(\w+)`(?: of length)? (<=|>=) (\S+)$")
_WRONG_TYPE = re.compile(r"^Expected `(.+)`, got `(\w+)`$")
_PATTERN = re.compile(r"^Expected `str` matching regex '(.*)'$")
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `(.*)`$")

_NOUNS = {
    "str": "string",
    "int": "integer",
    "float": "decimal",
    "bool": "boolean",
    "array": "array",
    "list": "array",
    "object": "object",
    "dict": "object",
}
_KINDS: list[tuple[type[inspect.Type], str]] = [
    (inspect.StrType, "string"),
    (inspect.IntType, "integer"),
    (inspect.FloatType, "decimal"),
    (inspect.BoolType, "boolean"),
    (inspect.StructType, "object"),
    (inspect.DictType, "object"),
    (inspect.LiteralType, "string"),
]


def checked(body: Mapping[str, Any], type: type[T]) -> T:
    """`body` as `type`.

    Raises:
        InvalidRequest: the first fault, with `param` as its path and OpenAI's `code` for it.
    """
    try:
        return msgspec.convert(body, type)
    except msgspec.ValidationError as error:
        raise _explained(str(error), body, type) from None


def unknown_parameter(path: str) -> InvalidRequest:
    """The refusal of a field that OpenAI does not know."""
    return InvalidRequest(f"Unrecognized request argument supplied: {path}", param=path, code="unknown_parameter")


def _explained(fault: str, body: Mapping[str, Any], root: Any) -> InvalidRequest:
    match = _FAULT.match(fault)
    text, path = (match["text"], match["path"] or "") if match else (fault, "")
    param = path.replace("[...]", "")
    value, expected = _look_up(path, body, inspect.type_info(root))

    if field := _FIELD.match(text):
        name = f"{param}.{field[2]}" if param else field[2]
        if field[1] == "contains unknown":
            return unknown_parameter(name)
        return InvalidRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if limit := _LIMIT.match(text):
        return _out_of_range(param, value, kind=_NOUNS[limit[1]], at_most=limit[2] == "<=", bound=limit[3])
    if wrong := _WRONG_TYPE.match(text):
        return _wrong_type(param, expected, kinds=wrong[1].split(" | "), got=wrong[2])
    return _bad_value(param, value, expected, text)


def _wrong_type(param: str, expected: inspect.Type, *, kinds: list[str], got: str) -> InvalidRequest:
    kinds = [kind for kind in kinds if kind != "null"]
    # What an array is of, only the type tells; what stands in for a tag, only msgspec's text does.
    wanted = _described(expected) if "array" in kinds else [_NOUNS[kind] for kind in kinds]
    listed = f"{'one of ' if len(wanted) > 1 else ''}{_article(wanted[0])} {_joined(wanted)}"
    found = "null" if got in {"null", "NoneType"} else f"{_article(_NOUNS[got])} {_NOUNS[got]}"
    return InvalidRequest(
        f"Invalid type for '{param}': expected {listed}, but got {found} instead.",
        param=param,
        code="invalid_type",
    )


def _bad_value(param: str, value: Any, expected: inspect.Type, text: str) -> InvalidRequest:
    if pattern := _PATTERN.match(text):
        fault = (
            f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern "
            f"'{pattern[1]}'."
        )
    elif allowed := _allowed_values(expected):
        supported = ", ".join(map(repr, allowed[:-1])) + ", and " if len(allowed) > 1 else ""
        fault = f"Invalid value: {value!r}. Supported values are: {supported}{allowed[-1]!r}."
    else:
        fault = f"Invalid value for '{param}': {text[0].lower()}{text[1:]}."
    return InvalidRequest(fault, param=param, code="invalid_value")


def _out_of_range(param: str, value: Any, *, kind: str, at_most: bool, bound: str) -> InvalidRequest:
    bound = bound.removesuffix(".0")
    if kind in {"integer", "decimal"}:
        side, sign, code = ("above maximum", "<=", "above_max") if at_most else ("below minimum", ">=", "below_min")
        return InvalidRequest(
            f"Invalid '{param}': {kind} {side} value. Expected a value {sign} {bound}, but got {value} instead.",
            param=param,
            code=f"{kind}_{code}_value",
        )
    size = len(value)
    if kind == "object":
        return InvalidRequest(
            f"Invalid '{param}': too many properties. Expected an object with at most {bound} properties, "
            f"but got an object with {size} properties instead.",
            param=param,
            code="object_above_max_properties",
        )
    side, word = ("long", "maximum") if at_most else ("short", "minimum")
    code = f"{kind}_{'above_max' if at_most else 'below_min'}_length"
    fault = f"{kind} too {side}"
    got = f"{_article(kind)} {kind} with length {size}"
    if size == 0:
        code, fault, got = f"empty_{kind}", f"empty {kind}", f"an empty {kind}"
    return InvalidRequest(
        f"Invalid '{param}': {fault}. Expected {_article(kind)} {kind} with {word} length {bound}, "
        f"but got {got} instead.",
        param=param,
        code=code,
    )


def _look_up(path: str, value: Any, type: inspect.Type) -> tuple[Any, inspect.Type]:
    """The value at `path` and the type expected there."""
    for step in _STEP.finditer(path):
        for option in _options(type):
            if isinstance(option, inspect.ListType) and step[1] is not None:
                value, type = _item(value, int(step[1])), option.item_type
                break
            if isinstance(option, inspect.DictType) and step[0] == "[...]":
                type = option.value_type  # msgspec does not say which entry it was
                value = _first_misfit(value, type)
                break
            if isinstance(option, inspect.StructType) and step[2] is not None:
                if step[2] == option.tag_field:
                    return _item(value, step[2]), type
                field = next((f for f in option.fields if f.encode_name == step[2]), None)
                if field is None or (option.tag_field and _item(value, option.tag_field) != option.tag):
                    continue
                value, type = _item(value, step[2]), field.type
                break
    return value, type


def _item(value: Any, key: int | str) -> Any:
    return value[key]


def _first_misfit(entries: dict[str, Any], type: inspect.Type) -> Any:
    return next((entry for entry in entries.values() if not _fits(entry, type)), None)


def _fits(value: Any, type: inspect.Type) -> bool:
    if isinstance(type, inspect.FloatType | inspect.IntType) and isinstance(value, float | int):
        return (type.ge is None or value >= type.ge) and (type.le is None or value <= type.le)
    if isinstance(type, inspect.StrType) and isinstance(value, str):
        return type.max_length is None or len(value) <= type.max_length
    return False


def _options(type: inspect.Type) -> tuple[inspect.Type, ...]:
    return tuple(type.types) if isinstance(type, inspect.UnionType) else (type,)


def _described(type: inspect.Type) -> list[str]:
    """The kinds of value that `type` takes, in OpenAI's nouns: "string", "array of objects"."""
    nouns: list[str] = []
    for option in _options(type):
        if isinstance(option, inspect.ListType):
            nouns += [f"array of {noun}s" for noun in _described(option.item_type)]
        else:
            nouns += [noun for kind, noun in _KINDS if isinstance(option, kind)]
    return list(dict.fromkeys(nouns))


def _allowed_values(type: inspect.Type) -> list[str]:
    values: list[str] = []
    for option in _options(type):
        if isinstance(option, inspect.LiteralType):
            values += [str(value) for value in option.values]
        elif isinstance(option, inspect.StructType) and option.tag is not None:
            values.append(str(option.tag))
    return values


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeio" else "a"


def _joined(nouns: list[str]) -> str:
    return f"{', '.join(nouns[:-1])} or {nouns[-1]}" if len(nouns) > 1 else nouns[0]
