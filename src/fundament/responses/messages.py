"""Items of a response's input as the messages of a chat.

It knows how the two say the same: an assistant's text, calls and reasoning are items there and one message here. It
does no I/O: references are resolved and history is fetched before.
"""

from collections.abc import Iterable, Sequence

from fundament.errors import InvalidRequest
from fundament.protocol.responses_items import (
    Compaction,
    CustomToolCall,
    CustomToolCallOutput,
    FunctionCall,
    FunctionCallOutput,
    HostedItem,
    InputFile,
    InputImage,
    InputText,
    Item,
    ItemReference,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Message,
    OutputText,
    Part,
    Reasoning,
    Refusal,
)
from fundament.responses.compaction import told
from fundament.responses.items import Json
from fundament.responses.remote_functions import chat_name, told_result
from fundament.responses.tools import name_in_chat


class Chat:
    """The messages of a chat, made of items one after the other, each with the path by which a refusal names it.

    `told` are the messages before all items.
    """

    def __init__(self, told: Iterable[Json] = ()) -> None:
        # An assistant's message with the results of its calls, or any other message.
        self._turns = [[message] for message in told]
        self._assistant: Json | None = None  # the message that the next item of the assistant may still join
        self._calls: dict[str, list[Json]] = {}  # the turn of each call
        self._waiting: dict[str, None] = {}  # calls without a result so far
        self._reasoning: list[str] = []
        self._questions: dict[str, McpApprovalRequest] = {}

    def add(self, item: Item, path: str) -> None:
        """Adds what `item` says to the model; some items say nothing.

        Raises:
            InvalidRequest: a chat cannot say it.
        """
        match item:
            case Message(role="assistant"):
                self._add_answer(item)
            case Message():
                self._add_message(item, path)
            case FunctionCall():
                function = {"name": name_in_chat(item.namespace, item.name), "arguments": item.arguments}
                self._add_call({"id": item.call_id, "type": "function", "function": function})
            case CustomToolCall():
                custom = {"name": name_in_chat(item.namespace, item.name), "input": item.input}
                self._add_call({"id": item.call_id, "type": "custom", "custom": custom})
            case FunctionCallOutput() | CustomToolCallOutput():
                self._add_result(item.call_id, _text_only(item.output, f"{path}.output"))
            case McpCall() | McpApprovalRequest() | McpApprovalResponse() | McpListTools():
                self._add_remote(item, path)
            case Reasoning():
                self._reasoning += [part.text for part in item.content or ()]
            case Compaction():
                self._assistant = None
                self._turns.append([{"role": "user", "content": told(item.encrypted_content, path)}])
            case HostedItem():
                raise InvalidRequest(
                    f"Unsupported item type: '{item.fields['type']}'. A chat cannot be told of it.",
                    param=f"{path}.type",
                    code="unsupported_value",
                )
            case ItemReference():
                pass  # `references.py` left it, because what it names is in the history

    def messages(self) -> list[Json]:
        """The chat's messages.

        Raises:
            InvalidRequest: there are none, or a call has no result.
        """
        for call_id in self._waiting:
            raise InvalidRequest(f"No tool output found for function call {call_id}.", param="input")
        if not self._turns:
            raise InvalidRequest("The input has nothing that a model could answer.", param="input")
        return [message for turn in self._turns for message in turn]

    def _add_message(self, item: Message, path: str) -> None:
        self._assistant = None
        self._reasoning = []  # it belongs to an answer that never came
        if isinstance(item.content, str):
            content: str | list[Json] = item.content
        elif item.role == "user":
            content = _content(_chat_parts(item.content, f"{path}.content"))
        else:
            content = _text_only(item.content, f"{path}.content")
        self._turns.append([{"role": item.role, "content": content}])

    def _add_answer(self, item: Message) -> None:
        parts = [{"type": "text", "text": item.content}] if isinstance(item.content, str) else _said(item.content)
        message = self._joinable(calling=False)
        if message["content"] is not None:
            # Words between calls: the results must follow the calls, so that there is one message for all.
            earlier = message["content"]
            parts = [*([{"type": "text", "text": earlier}] if isinstance(earlier, str) else earlier), *parts]
        message["content"] = _content(parts)

    def _add_call(self, call: Json) -> None:
        self._joinable(calling=True).setdefault("tool_calls", []).append(call)
        self._calls[call["id"]] = self._turns[-1]
        self._waiting[call["id"]] = None

    def _add_result(self, call_id: str, content: str | list[Json]) -> None:
        if call_id not in self._calls:
            raise InvalidRequest(f"No tool call found for function call output with call_id {call_id}.", param="input")
        self._calls[call_id].append({"role": "tool", "tool_call_id": call_id, "content": content})
        self._waiting.pop(call_id, None)
        self._assistant = None

    def _add_remote(self, item: McpCall | McpApprovalRequest | McpApprovalResponse | McpListTools, path: str) -> None:
        match item:
            case McpCall():
                result = told_result(item)
                if result is not None:
                    self._add_remote_call(item, item.id, result)
            case McpApprovalRequest():
                self._questions[item.id] = item
            case McpApprovalResponse():
                self._add_approval(item, path)
            case McpListTools():
                pass  # tools stand beside the messages

    def _add_remote_call(self, call: McpCall | McpApprovalRequest, id: str, result: str) -> None:
        function = {"name": chat_name(call.server_label, call.name), "arguments": call.arguments}
        self._add_call({"id": id, "type": "function", "function": function})
        self._add_result(id, result)

    def _add_approval(self, item: McpApprovalResponse, path: str) -> None:
        """An approval says nothing: the call that it leads to does."""
        question = self._questions.get(item.approval_request_id)
        if question is None:
            raise InvalidRequest(f"No approval request found with id '{item.approval_request_id}'.", param=path)
        if not item.approve:
            reason = "" if item.reason is None else f" Reason: {item.reason}"
            self._add_remote_call(question, question.id, f"The user did not approve this call.{reason}")

    def _joinable(self, *, calling: bool) -> Json:
        """The assistant's message for a call or for words, with the reasoning that led there."""
        message = self._assistant
        if message is None or not (calling or "tool_calls" in message):
            message = self._assistant = {"role": "assistant", "content": None}
            self._turns.append([message])
        if self._reasoning:
            earlier = [message["reasoning_content"]] if "reasoning_content" in message else []
            message["reasoning_content"] = "\n".join([*earlier, *self._reasoning])
            self._reasoning = []
        return message


def _said(parts: Iterable[Part]) -> list[Json]:
    """What an assistant said before, as a chat's parts."""
    said: list[Json] = []
    for part in parts:
        if isinstance(part, Refusal):
            said.append({"type": "refusal", "refusal": part.refusal})
        elif isinstance(part, OutputText | InputText):
            said.append({"type": "text", "text": part.text})
    return said


def _content(parts: list[Json]) -> str | list[Json]:
    """The shortest way to say it: many chat templates take strings only."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _text_only(content: str | Sequence[Part], path: str) -> str | list[Json]:
    if isinstance(content, str):
        return content
    for place, part in enumerate(content):
        if not isinstance(part, InputText):
            raise _unsupported("A chat takes text only here.", f"{path}[{place}].type")
    return _content(_chat_parts(content, path))


def _chat_parts(parts: Sequence[Part], path: str) -> list[Json]:
    return [_chat_part(part, f"{path}[{place}]") for place, part in enumerate(parts)]


def _chat_part(part: Part, path: str) -> Json:
    match part:
        case InputImage():
            return _image(part, path)
        case InputFile():
            return _file(part, path)
        case Refusal():
            return {"type": "refusal", "refusal": part.refusal}
        case _:
            return {"type": "text", "text": part.text}


def _image(part: InputImage, path: str) -> Json:
    if part.image_url is None:
        raise _unsupported("This model takes images by 'image_url'.", f"{path}.file_id")
    if part.detail == "original":
        raise _unsupported("This model takes images with the details 'auto', 'low' and 'high'.", f"{path}.detail")
    detail = {} if part.detail is None else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": part.image_url, **detail}}


def _file(part: InputFile, path: str) -> Json:
    if part.file_url is not None:
        raise _unsupported("This model takes files by 'file_data' or 'file_id'.", f"{path}.file_url")
    if part.detail not in {None, "auto"}:
        raise _unsupported("This model takes files with the detail 'auto'.", f"{path}.detail")
    fields = {"filename": part.filename, "file_data": part.file_data, "file_id": part.file_id}
    return {"type": "file", "file": {name: value for name, value in fields.items() if value is not None}}


def _unsupported(reason: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"Unsupported value: '{param}'. {reason}", param=param, code="unsupported_value")
