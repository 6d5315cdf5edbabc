"""The operations of the Responses and Conversations APIs, as the reference shows them.

It knows paths, parameters and what answers what. The endpoints are `responses.py`'s and `conversations.py`'s.
"""

from typing import Any, get_args

from fundament.api import responses_examples as examples
from fundament.api import responses_samples as samples
from fundament.api.descriptions import CANCEL, COMPACT, INPUT_TOKENS, RESPONSE, RETRIEVE
from fundament.api.operations import (
    GENERATING,
    answered,
    generated,
    operation,
    path_parameter,
    query_parameter,
    request,
    responses,
    sampled,
)
from fundament.protocol.responses import Include
from fundament.responses.pages import DEFAULT_LIMIT, LIMIT

Json = dict[str, Any]

_READING = ("400", "401", "403", "404", "5XX")
_FINDING = ("401", "403", "404", "5XX")
_WRITING = ("400", "401", "403", "404", "408", "413", "5XX")


def response_paths(model: str) -> Json:
    """`/responses` and what is below it, with examples for `model`."""
    asked, counted = examples.response_requests(model), examples.input_tokens_requests(model)
    answer = answered("Response", examples.response_answers(model))
    events = examples.response_events(model)
    return {
        "/responses": {
            "post": operation("Responses", "createResponse", "Create a response", RESPONSE)
            | request("ResponsesRequest", asked)
            | generated(answer, "ResponseEvent", events, (*GENERATING, "424"))
            | sampled(samples.create_response_samples(asked["simple"]["value"]))
        },
        "/responses/input_tokens": {
            "post": operation("Responses", "countInputTokens", "Count input tokens", INPUT_TOKENS)
            | request("ResponsesRequest", counted)
            | responses(answered("InputTokens", examples.input_tokens_answer()), (*_WRITING, "429"))
            | sampled(samples.input_tokens_samples(counted["simple"]["value"]))
        },
        "/responses/compact": {
            "post": operation("Responses", "compactConversation", "Compact a conversation", COMPACT)
            | request("CompactRequest", examples.compact_requests(model))
            | responses(answered("CompactedResponse", examples.compacted_answer()), (*_WRITING, "429"))
            | sampled(samples.compact_samples(examples.compact_requests(model)["simple"]["value"]))
        },
        "/responses/{id}": {
            "parameters": [_response_id()],
            "get": operation("Responses", "retrieveResponse", "Retrieve a response", RETRIEVE)
            | {"parameters": _stream_parameters()}
            | generated(answer, "ResponseEvent", events, _READING)
            | sampled(samples.retrieve_response_samples()),
            "delete": operation(
                "Responses", "deleteResponse", "Delete a response", "It is forgotten, with its input and its events."
            )
            | responses(
                answered("DeletedResponse", examples.deleted_answer(examples.RESPONSE_ID, "response")), _FINDING
            )
            | sampled(samples.delete_response_samples()),
        },
        "/responses/{id}/cancel": {
            "parameters": [_response_id()],
            "post": operation("Responses", "cancelResponse", "Cancel a response", CANCEL)
            | responses(answered("Response", examples.cancelled_answer(model)), _READING)
            | sampled(samples.cancel_response_samples()),
        },
        "/responses/{id}/input_items": {
            "parameters": [_response_id()],
            "get": operation(
                "Responses", "listInputItems", "List input items", "The items of the request itself, without history."
            )
            | {"parameters": _page_parameters()}
            | responses(answered("ItemList", examples.list_answer()), _READING)
            | sampled(samples.input_items_samples()),
        },
    }


def conversation_paths() -> Json:
    """`/conversations` and what is below it."""
    new, changes = examples.conversation_requests(), examples.conversation_changes()
    conversation = answered("Conversation", examples.conversation_answer())
    return {
        "/conversations": {
            "post": operation(
                "Conversations", "createConversation", "Create a conversation", "Empty, or with first items."
            )
            | request("NewConversation", new)
            | responses(conversation, ("400", "401", "403", "408", "413", "5XX"))
            | sampled(samples.create_conversation_samples(new["simple"]["value"]))
        },
        "/conversations/{id}": {
            "parameters": [_conversation_id()],
            "get": operation("Conversations", "retrieveConversation", "Retrieve a conversation", "Its metadata.")
            | responses(conversation, _FINDING)
            | sampled(samples.retrieve_conversation_samples()),
            "post": operation("Conversations", "updateConversation", "Update a conversation", "Replaces its metadata.")
            | request("ConversationChange", changes)
            | responses(answered("Conversation", examples.conversation_answer("geography")), _WRITING)
            | sampled(samples.update_conversation_samples(changes["simple"]["value"])),
            "delete": operation(
                "Conversations",
                "deleteConversation",
                "Delete a conversation",
                "It is forgotten with its items. Responses that were made in it stay.",
            )
            | responses(
                answered(
                    "DeletedConversation", examples.deleted_answer(examples.CONVERSATION_ID, "conversation.deleted")
                ),
                _FINDING,
            )
            | sampled(samples.delete_conversation_samples()),
        },
        **_item_paths(),
    }


def _item_paths() -> Json:
    added = examples.items_to_add()
    return {
        "/conversations/{id}/items": {
            "parameters": [_conversation_id()],
            "get": operation("Conversations", "listItems", "List items", "The conversation's items, in pages.")
            | {"parameters": _page_parameters()}
            | responses(answered("ItemList", examples.list_answer()), _READING)
            | sampled(samples.list_items_samples()),
            "post": operation("Conversations", "createItems", "Add items", "Appends up to 20 items.")
            | request("ItemsToAdd", added)
            | responses(answered("ItemList", examples.list_answer("And of Austria?")), _WRITING)
            | sampled(samples.create_items_samples(added["simple"]["value"])),
        },
        "/conversations/{id}/items/{item_id}": {
            "parameters": [_conversation_id(), path_parameter("item_id", "The item's id.", examples.ITEM_ID)],
            "get": operation("Conversations", "retrieveItem", "Retrieve an item", "One item of the conversation.")
            | responses(answered("KeptItem", examples.item_answer()), _FINDING)
            | sampled(samples.retrieve_item_samples()),
            "delete": operation("Conversations", "deleteItem", "Delete an item", "The answer is the conversation.")
            | responses(answered("Conversation", examples.conversation_answer()), _FINDING)
            | sampled(samples.delete_item_samples()),
        },
    }


def _response_id() -> Json:
    return path_parameter("id", "The response's id.", examples.RESPONSE_ID)


def _conversation_id() -> Json:
    return path_parameter("id", "The conversation's id.", examples.CONVERSATION_ID)


def _stream_parameters() -> list[Json]:
    return [
        query_parameter("stream", "Answer with the events of the stream.", {"type": "boolean", "default": False}),
        query_parameter(
            "starting_after", "Only events with a `sequence_number` above this one.", {"type": "integer", "minimum": 0}
        ),
        query_parameter(
            "include_obfuscation",
            "Deltas of the stream with random characters in `obfuscation`, which hide their lengths.",
            {"type": "boolean", "default": True},
        ),
        query_parameter(
            "include",
            "What of the response to show besides the rest. What was not asked for when it was made is not kept.",
            {"type": "array", "items": {"type": "string", "enum": list(get_args(Include))}},
        ),
    ]


def _page_parameters() -> list[Json]:
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT, "default": DEFAULT_LIMIT}
    order = {"type": "string", "enum": ["asc", "desc"], "default": "desc"}
    return [
        query_parameter("limit", "The most items on a page.", limit),
        query_parameter("order", "`asc`: the oldest first. `desc`: the newest first.", order),
        query_parameter(
            "after", "The id of the item before the page: `last_id` of the page before.", {"type": "string"}
        ),
    ]
