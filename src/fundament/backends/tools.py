"""Functions and formats of answers for our own engine: told in the prompt, held to by a grammar.

It turns a request with tools into one without: messages that explain the functions, past calls and results as text, and
the grammar of what may follow. `calls.py` turns the answer back. A model whose chat template knows tools gets them as
they are. It does no I/O.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from fundament.backends.grammar import CALL_END, CALL_START, Schema, calls_grammar, held_schema, json_grammar
from fundament.errors import InvalidRequest

_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Function:
    """A function that may be called; calls are held to `schema`, and `param` is where the request names it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    schema: Schema
    param: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a request says about functions: which may be called, whether one must be, how many at once."""

    functions: tuple[Function, ...]
    mode: Literal["none", "auto", "required"]
    parallel: bool
    legacy: bool

    @property
    def active(self) -> bool:
        return bool(self.functions) and self.mode != "none"

    def grammar(self, answer: Schema | None) -> str:
        functions = [(function.name, function.schema) for function in self.functions]
        return calls_grammar(functions, forced=self.mode == "required", parallel=self.parallel, answer=answer)


def tool_use(body: Mapping[str, Any]) -> ToolUse:
    """What `tools` and `tool_choice`, or the older `functions` and `function_call`, ask for.

    Raises:
        InvalidRequest: a function is malformed, its strict schema cannot be held to, or a choice names none of them.
    """
    legacy = body.get("functions") is not None or body.get("function_call") is not None
    functions = _legacy_functions(body) if legacy else _functions(body)
    field = "function_call" if legacy else "tool_choice"
    choice = body.get(field)
    if choice is not None and not functions and choice != "none":
        raise InvalidRequest(
            f"Invalid value for '{field}': '{field}' is only allowed when "
            f"'{'functions' if legacy else 'tools'}' are specified.",
            param=field,
        )
    mode, functions = _choose(choice, functions, field)
    parallel = not legacy and body.get("parallel_tool_calls") is not False and not _names_one(choice)
    return ToolUse(functions, mode, parallel, legacy)


def shaped(body: Mapping[str, Any], *, native: bool) -> dict[str, Any]:
    """The chat request `body` as our engine takes it: without tools and formats, or with tools if those are `native`.

    A call that must be made is always written under our grammar: llama.cpp answers in words all the same.

    Raises:
        InvalidRequest: as `tool_use`; or the format's strict schema cannot be held to.
    """
    use = tool_use(body)
    rest = {name: value for name, value in body.items() if name not in _FIELDS}
    answer = _answer_schema(body.get("response_format"))
    messages: list[dict[str, Any]] = body["messages"]
    if "grammar" in rest and (use.active or answer is not None):
        raise InvalidRequest(
            "The 'grammar' parameter cannot be used together with 'tools', 'functions' or 'response_format'.",
            param="grammar",
            code="invalid_parameter_combination",
        )
    if native and not use.legacy and use.mode != "required":
        if answer is not None and not use.active:
            rest["grammar"] = json_grammar(answer)
        elif answer is not None:
            rest["response_format"] = body["response_format"]
        return rest | {"messages": messages} | (_native(body, use) if use.active else {})
    if use.active:
        messages = _instructed(messages, _instructions(use))
        rest["grammar"] = use.grammar(answer)
    elif answer is not None:
        rest["grammar"] = json_grammar(answer)
    rest["messages"] = _joined([as_text(message) for message in messages])
    return rest


def written_calls(body: Mapping[str, Any], *, native: bool) -> Literal["tools", "functions"] | None:
    """Whether the answer to `body` has calls written in its text, and in which of the API's fields they belong."""
    if body.get("functions"):
        return "functions" if body.get("function_call") != "none" else None
    if not body.get("tools") or body.get("tool_choice") == "none":
        return None
    return "tools" if not native or is_forced(body) else None


def is_forced(body: Mapping[str, Any]) -> bool:
    """Whether the request leaves no choice but to call."""
    choice: str | Mapping[str, Any] | None = body.get("tool_choice") or body.get("function_call")
    if isinstance(choice, Mapping):
        return "allowed_tools" not in choice or choice["allowed_tools"]["mode"] == "required"
    return choice == "required"


def _native(body: Mapping[str, Any], use: ToolUse) -> dict[str, Any]:
    """What a choice leaves of the tools, in the three words that llama.cpp knows for a choice."""
    names = {function.name for function in use.functions}
    tools = [tool for tool in body["tools"] if tool["function"]["name"] in names]
    return {"tools": tools, "tool_choice": use.mode, "parallel_tool_calls": use.parallel}


def _answer_schema(format: Mapping[str, Any] | None) -> Schema | None:
    """The schema that a `response_format` wants answers to have, None for any text."""
    if format is None or format["type"] == "text":
        return None
    if format["type"] == "json_object":
        return {"type": "object"}, False
    named: dict[str, Any] = format["json_schema"]
    return held_schema(
        (named.get("schema") or {"type": "object"}, bool(named.get("strict"))),
        what=f"response_format '{named['name']}'",
        param="response_format.json_schema.schema",
        code=None,
    )


_FIELDS = {"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "messages", "response_format"}


def as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without calls and results as fields: both are text, in the form that the model is told to write."""
    role = message["role"]
    content = _text_of(message.get("content")) or message.get("refusal") or ""
    if role in {"tool", "function"}:
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    if role != "assistant":
        return dict(message)
    calls = [_as_function(call) for call in message.get("tool_calls") or ()]
    if message.get("function_call"):
        calls.append(message["function_call"])
    lines = [content] if content else []
    lines += [
        f'{CALL_START}{{"name": {json.dumps(c["name"])}, "arguments": {c["arguments"]}}}{CALL_END}' for c in calls
    ]
    thoughts = message.get("reasoning_content")
    return {"role": "assistant", "content": "\n".join(lines)} | ({"reasoning_content": thoughts} if thoughts else {})


def _as_function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """A past call; that of a custom tool had a text for its arguments."""
    if "function" in call:
        return call["function"]
    return {"name": call["custom"]["name"], "arguments": json.dumps({"input": call["custom"]["input"]})}


def _text_of(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or part.get("refusal") or "" for part in content)
    return content or ""


def _joined(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results that follow each other as one message: many templates refuse two of a role in a row."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        last = joined[-1] if joined else None
        results = (last or {}).get("content"), message.get("content")
        if all(isinstance(text, str) and text.startswith("<tool_response>") for text in results) and last is not None:
            joined[-1] = {**last, "content": f"{results[0]}\n{results[1]}"}
        else:
            joined.append(message)
    return joined


def _instructed(messages: list[dict[str, Any]], instructions: str) -> list[dict[str, Any]]:
    first = messages[0]
    if first["role"] in {"system", "developer"}:
        content = f"{_text_of(first['content'])}\n\n{instructions}"
        return [{**first, "content": content}, *messages[1:]]
    return [{"role": "system", "content": instructions}, *messages]


def _instructions(use: ToolUse) -> str:
    described = [
        json.dumps({"name": f.name, "description": f.description, "parameters": f.parameters}) for f in use.functions
    ]
    must = "You must call a function now." if use.mode == "required" else "Answer in words if no function helps."
    return (
        "You can call these functions:\n"
        + "\n".join(described)
        + f'\n\nTo call a function, answer with {CALL_START}{{"name": NAME, "arguments": {{...}}}}{CALL_END} '
        f"and nothing else. Results come back in <tool_response></tool_response>. {must}"
    )


def _functions(body: Mapping[str, Any]) -> tuple[Function, ...]:
    functions: list[Function] = []
    for position, tool in enumerate(cast("list[dict[str, Any]]", body.get("tools") or [])):
        if tool["type"] != "function":
            raise InvalidRequest(
                f"Unsupported tool type: '{tool['type']}'. This model takes tools of the type 'function' only.",
                param=f"tools[{position}].type",
                code="unsupported_value",
            )
        functions.append(_function(tool["function"], f"tools[{position}].function"))
    return tuple(functions)


def _legacy_functions(body: Mapping[str, Any]) -> tuple[Function, ...]:
    declared = cast("list[dict[str, Any]]", body.get("functions") or [])
    return tuple(_function(function, f"functions[{position}]") for position, function in enumerate(declared))


def _function(declared: Mapping[str, Any], param: str) -> Function:
    name: str = declared["name"]
    parameters: Mapping[str, Any] = declared.get("parameters") or _NO_PARAMETERS
    if parameters.get("type") != "object":
        raise InvalidRequest(
            f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got "
            f"'type: {json.dumps(parameters.get('type'))}'.",
            param=f"{param}.parameters",
            code="invalid_function_parameters",
        )
    schema = held_schema(
        (parameters, bool(declared.get("strict"))),
        what=f"function '{name}'",
        param=f"{param}.parameters",
        code="invalid_function_parameters",
    )
    return Function(name, declared.get("description") or "", parameters, schema, param)


def _names_one(choice: Any) -> bool:
    return isinstance(choice, dict) and "allowed_tools" not in choice


def _choose(
    choice: Any, functions: tuple[Function, ...], field: str
) -> tuple[Literal["none", "auto", "required"], tuple[Function, ...]]:
    """The mode of a choice, and the functions that it leaves."""
    if choice is None:
        return "auto", functions
    if isinstance(choice, str):
        return cast("Literal['none', 'auto', 'required']", choice), functions
    if "allowed_tools" in choice:
        allowed: dict[str, Any] = choice["allowed_tools"]
        names = [tool[tool["type"]]["name"] for tool in allowed["tools"]]
        return allowed["mode"], tuple(_named(name, functions, f"{field}.allowed_tools") for name in names)
    name: str = choice[choice["type"]]["name"] if "type" in choice else choice["name"]
    return "required", (_named(name, functions, field),)


def _named(name: str, functions: tuple[Function, ...], param: str) -> Function:
    for function in functions:
        if function.name == name:
            return function
    raise InvalidRequest(
        f"Invalid value for '{param}': no function named '{name}' was specified.", param=param, code="invalid_value"
    )
