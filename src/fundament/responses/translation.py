"""A request of the Responses API as the request of a chat: what a model that only chats can be asked.

It knows both requests, and follows the table in `parameters.py`: nothing is dropped that somebody could have read. It
does no I/O.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import asdict

from fundament.errors import InvalidRequest
from fundament.protocol.chat import ResponseFormatText
from fundament.protocol.responses import FormatJsonSchema, ResponsesRequest
from fundament.protocol.responses_items import Item
from fundament.responses.items import Json
from fundament.responses.messages import Chat
from fundament.responses.parameters import TREATMENTS, Treatment
from fundament.responses.remote_functions import RemoteFunctions
from fundament.responses.tools import ToolPath, chat_tool_choice, chat_tools


def chat_request(
    request: ResponsesRequest,
    history: Sequence[Item],
    *,
    answered: Sequence[Item] = (),
    functions: RemoteFunctions | None = None,
) -> Json:
    """The body of `POST /chat/completions` that asks for the response to `request`; who asks says whether as a stream.

    Args:
        history: the items before the request's own, the oldest first, references resolved.
        answered: the items of the response itself, if the model had a turn already.
        functions: the tools of MCP servers that the model may call; None if nobody asks servers, which refuses them.

    Raises:
        InvalidRequest: a parameter, a tool or a part that nobody behind a chat would read, by name.
    """
    return {
        **_passed(request),
        "messages": _messages(request, history, answered),
        **_logprobs(request),
        **_response_format(request),
        **_tools(request, functions),
    }


_CHAT_PATHS: Mapping[str, str] = MappingProxyType(
    {
        r"^messages\b.*": "input",
        r"^max_(completion_)?tokens$": "max_output_tokens",
        r"^reasoning_effort$": "reasoning.effort",
        r"^verbosity$": "text.verbosity",
        r"^response_format(\.json_schema)?\b": "text.format",
        r"^(tools\[\d+\])\.(?:function|custom)\b": r"\1",
        r"^tool_choice\.(?:allowed_tools|function|custom)\b": "tool_choice",
        r"^logprobs$": "include",
    }
)


def responses_param(chat_param: str, tools: Sequence[ToolPath] = ()) -> str:
    """The parameter of the Responses API that a chat's `param` came from.

    Args:
        tools: where each tool of the chat is in the request; by default, each in its own place.
    """
    for pattern, replacement in _CHAT_PATHS.items():
        chat_param, count = re.subn(pattern, replacement, chat_param)
        if count:
            break
    tool = re.match(r"tools\[(\d+)\]", chat_param)
    if tool is not None and int(tool[1]) < len(tools):
        origin = tools[int(tool[1])]
        return origin.path + (chat_param[tool.end() :] if origin.is_whole else "")
    return chat_param


def _passed(request: ResponsesRequest) -> Json:
    """What the request has for the chat as it is, those parameters within others too."""
    given: list[tuple[str, Struct]] = [("", request)]
    given += [(name, inner) for name, inner in (("reasoning.", request.reasoning), ("text.", request.text)) if inner]
    passed: Json = {}
    for path, struct in given:
        for name, parameter in _OF_CHATS[path].items():
            value = getattr(struct, name)
            if value is None:
                continue
            if parameter.word == "passed":
                passed[parameter.chat] = value
            elif value not in parameter.taken:
                raise InvalidRequest(
                    f"Unsupported parameter: '{path}{name}' is not supported with this model.",
                    param=path + name,
                    code="unsupported_parameter",
                )
    return passed


def _of_chats(path: str) -> Mapping[str, Treatment]:
    """The treatments of parameters that are passed or refused, by their names behind `path` ("" or as "text.")."""
    return MappingProxyType(
        {
            name.removeprefix(path): treatment
            for name, treatment in TREATMENTS.items()
            if treatment.word in {"passed", "refused"} and name.rpartition(".")[0] == path.removesuffix(".")
        }
    )


_OF_CHATS = MappingProxyType({path: _of_chats(path) for path in ("", "reasoning.", "text.")})


def _named(struct: Struct) -> Json:
    """The fields of a struct that are not None."""
    return {name: value for name, value in asdict(struct).items() if value is not None}


def _messages(request: ResponsesRequest, history: Sequence[Item], answered: Sequence[Item]) -> list[Json]:
    told = [] if request.instructions is None else [{"role": "system", "content": request.instructions}]
    if isinstance(request.input, str) and not history and not answered:
        # Most requests are no more than that; the way through items takes a tenth of all that a response does here.
        return [*told, {"role": "user", "content": request.input}]
    chat = Chat(told)
    source = "conversation" if request.previous_response_id is None else "previous_response_id"
    for item in history:
        chat.add(item, source)
    for position, item in enumerate(request.items):
        chat.add(item, f"input[{position}]")
    for item in answered:
        chat.add(item, "output")
    return chat.messages()


def _logprobs(request: ResponsesRequest) -> Json:
    """Who asks for alternatives asks for logprobs."""
    if "message.output_text.logprobs" not in (request.include or ()) and not request.top_logprobs:
        return {}
    return {"logprobs": True} | ({} if request.top_logprobs is None else {"top_logprobs": request.top_logprobs})


def _response_format(request: ResponsesRequest) -> Json:
    format = None if request.text is None else request.text.format
    if format is None or isinstance(format, ResponseFormatText):
        return {}
    if not isinstance(format, FormatJsonSchema):
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": "json_schema", "json_schema": _named(format)}}


def _tools(request: ResponsesRequest, functions: RemoteFunctions | None) -> Json:
    tools, choice = chat_tools(request.tools or (), functions), request.tool_choice
    if not tools:
        # Responses take these without tools, chats do not.
        return {} if choice in (None, "auto", "none") else {"tool_choice": chat_tool_choice(choice, functions)}
    fields: Json = {"tools": tools}
    if choice is not None:
        fields["tool_choice"] = chat_tool_choice(choice, functions)
    if request.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields
