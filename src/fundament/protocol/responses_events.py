"""The events of a response's stream by the names of OpenAI's `ResponseStreamEvent`: shapes that the reference shows.

It knows shapes and names. Their order, and who makes them, is known by `responses/fold.py`.
"""

from msgspec import UNSET, Struct, UnsetType

from fundament.protocol.responses_answers import (
    AnswerReasoning,
    AnswerRefusal,
    AnswerText,
    ChosenToken,
    OutputItem,
    Response,
)


class _OfResponse(Struct):
    sequence_number: int
    response: Response


class ResponseCreatedEvent(_OfResponse, tag_field="type", tag="response.created"):
    pass


class ResponseQueuedEvent(_OfResponse, tag_field="type", tag="response.queued"):
    pass


class ResponseInProgressEvent(_OfResponse, tag_field="type", tag="response.in_progress"):
    pass


class ResponseCompletedEvent(_OfResponse, tag_field="type", tag="response.completed"):
    pass


class ResponseIncompleteEvent(_OfResponse, tag_field="type", tag="response.incomplete"):
    pass


class ResponseFailedEvent(_OfResponse, tag_field="type", tag="response.failed"):
    pass


class _OfOutput(Struct):
    sequence_number: int
    output_index: int


class ResponseOutputItemAddedEvent(_OfOutput, tag_field="type", tag="response.output_item.added"):
    item: OutputItem


class ResponseOutputItemDoneEvent(_OfOutput, tag_field="type", tag="response.output_item.done"):
    item: OutputItem


class _OfItem(_OfOutput):
    item_id: str


class _OfPart(_OfItem):
    content_index: int


class ResponseContentPartAddedEvent(_OfPart, tag_field="type", tag="response.content_part.added"):
    part: AnswerText | AnswerRefusal | AnswerReasoning


class ResponseContentPartDoneEvent(_OfPart, tag_field="type", tag="response.content_part.done"):
    part: AnswerText | AnswerRefusal | AnswerReasoning


class ResponseTextDeltaEvent(_OfPart, tag_field="type", tag="response.output_text.delta"):
    delta: str
    logprobs: list[ChosenToken]
    obfuscation: str | UnsetType = UNSET


class ResponseTextDoneEvent(_OfPart, tag_field="type", tag="response.output_text.done"):
    text: str
    logprobs: list[ChosenToken]


class ResponseRefusalDeltaEvent(_OfPart, tag_field="type", tag="response.refusal.delta"):
    delta: str
    obfuscation: str | UnsetType = UNSET


class ResponseRefusalDoneEvent(_OfPart, tag_field="type", tag="response.refusal.done"):
    refusal: str


class ResponseReasoningTextDeltaEvent(_OfPart, tag_field="type", tag="response.reasoning_text.delta"):
    delta: str
    obfuscation: str | UnsetType = UNSET


class ResponseReasoningTextDoneEvent(_OfPart, tag_field="type", tag="response.reasoning_text.done"):
    text: str


class ResponseFunctionCallArgumentsDeltaEvent(_OfItem, tag_field="type", tag="response.function_call_arguments.delta"):
    delta: str
    obfuscation: str | UnsetType = UNSET


class ResponseFunctionCallArgumentsDoneEvent(_OfItem, tag_field="type", tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class ResponseCustomToolCallInputDeltaEvent(_OfItem, tag_field="type", tag="response.custom_tool_call_input.delta"):
    delta: str
    obfuscation: str | UnsetType = UNSET


class ResponseCustomToolCallInputDoneEvent(_OfItem, tag_field="type", tag="response.custom_tool_call_input.done"):
    input: str


class ResponseMCPListToolsInProgressEvent(_OfItem, tag_field="type", tag="response.mcp_list_tools.in_progress"):
    pass


class ResponseMCPListToolsCompletedEvent(_OfItem, tag_field="type", tag="response.mcp_list_tools.completed"):
    pass


class ResponseMCPListToolsFailedEvent(_OfItem, tag_field="type", tag="response.mcp_list_tools.failed"):
    pass


class ResponseMCPCallInProgressEvent(_OfItem, tag_field="type", tag="response.mcp_call.in_progress"):
    pass


class ResponseMCPCallCompletedEvent(_OfItem, tag_field="type", tag="response.mcp_call.completed"):
    pass


class ResponseMCPCallFailedEvent(_OfItem, tag_field="type", tag="response.mcp_call.failed"):
    pass


class ResponseMCPCallArgumentsDeltaEvent(_OfItem, tag_field="type", tag="response.mcp_call_arguments.delta"):
    delta: str
    obfuscation: str | UnsetType = UNSET


class ResponseMCPCallArgumentsDoneEvent(_OfItem, tag_field="type", tag="response.mcp_call_arguments.done"):
    arguments: str


class ResponseErrorEvent(Struct, tag_field="type", tag="error"):
    sequence_number: int
    code: str | None
    message: str
    param: str | None


ResponseEvent = (
    ResponseCreatedEvent
    | ResponseQueuedEvent
    | ResponseInProgressEvent
    | ResponseOutputItemAddedEvent
    | ResponseContentPartAddedEvent
    | ResponseTextDeltaEvent
    | ResponseTextDoneEvent
    | ResponseRefusalDeltaEvent
    | ResponseRefusalDoneEvent
    | ResponseReasoningTextDeltaEvent
    | ResponseReasoningTextDoneEvent
    | ResponseContentPartDoneEvent
    | ResponseFunctionCallArgumentsDeltaEvent
    | ResponseFunctionCallArgumentsDoneEvent
    | ResponseCustomToolCallInputDeltaEvent
    | ResponseCustomToolCallInputDoneEvent
    | ResponseMCPListToolsInProgressEvent
    | ResponseMCPListToolsCompletedEvent
    | ResponseMCPListToolsFailedEvent
    | ResponseMCPCallInProgressEvent
    | ResponseMCPCallCompletedEvent
    | ResponseMCPCallFailedEvent
    | ResponseMCPCallArgumentsDeltaEvent
    | ResponseMCPCallArgumentsDoneEvent
    | ResponseOutputItemDoneEvent
    | ResponseCompletedEvent
    | ResponseIncompleteEvent
    | ResponseFailedEvent
    | ResponseErrorEvent
)
