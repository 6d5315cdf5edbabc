"""What is kept of responses: turns by `previous_response_id` and by `conversation`, pages, owners, deletion."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from responding import PATH, asked, calling, error_of, output_text, respond, retrieve, saying, streamed, usage_records
from scripted_answers import Hang
from scripted_upstream import ScriptedUpstream
from service import Service
from specification import assert_valid

CONVERSATIONS = "/v2/conversations"
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
CALL = ("call_1", "weather", '{"city":"Bern"}')
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
ASKED = {"role": "user", "content": "Weather in Bern?"}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": CALL[2]}}],
}
TURNS = [
    [ASKED],
    [ASKED, CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}],
    [
        *[ASKED, CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}],
        {"role": "assistant", "content": "It rains."},
        {"role": "user", "content": "And tomorrow?"},
    ],
]


def conversation(service: Service, **fields: Any) -> dict[str, Any]:
    reply = service.post(CONVERSATIONS, fields)
    assert reply.status == 200, reply.body
    return assert_valid("ConversationResource", reply.json)


def items_of(service: Service, id: str, query: str = "order=asc") -> list[dict[str, Any]]:
    reply = service.request("GET", f"{CONVERSATIONS}/{id}/items?{query}")
    assert reply.status == 200, reply.body
    return assert_valid("ConversationItemList", reply.json)["data"]


def told(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each item's type with what it says."""
    said = [item.get("arguments") or item.get("output") or item["content"][0]["text"] for item in items]
    return [(item["type"], text) for item, text in zip(items, said, strict=True)]


def messages_of(upstream: ScriptedUpstream) -> list[list[dict[str, Any]]]:
    """The messages that the upstream was asked, without fields that say nothing."""
    return [request.json["messages"] for request in upstream.requests]


# Turns


@pytest.mark.parametrize("stream", [False, True])
def test_three_turns_by_previous_response_id(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(calling(CALL), saying("It ", "rains."), saying("Sun."))

    def turn(input: object, previous: str | None) -> dict[str, Any]:
        fields = {"tools": [TOOL], "previous_response_id": previous}
        return streamed(scripted, input, **fields)[-1]["response"] if stream else respond(scripted, input, **fields)

    first = turn("Weather in Bern?", None)
    second = turn([OUTPUT], first["id"])
    third = turn("And tomorrow?", second["id"])
    assert messages_of(upstream) == TURNS
    assert [output_text(response) for response in (first, second, third)] == ["", "It rains.", "Sun."]
    assert third["previous_response_id"] == second["id"]
    assert len({response["id"] for response in (first, second, third)}) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_three_turns_by_conversation(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(calling(CALL), saying("It ", "rains."), saying("Sun."))
    id = conversation(scripted)["id"]
    for input in ("Weather in Bern?", [OUTPUT], "And tomorrow?"):
        if stream:
            response = streamed(scripted, input, tools=[TOOL], conversation=id)[-1]["response"]
        else:
            response = respond(scripted, input, tools=[TOOL], conversation={"id": id})
        assert response["conversation"] == {"id": id}
    assert messages_of(upstream) == TURNS
    assert told(items_of(scripted, id)) == [
        ("message", "Weather in Bern?"),
        ("function_call", CALL[2]),
        ("function_call_output", "rain"),
        ("message", "It rains."),
        ("message", "And tomorrow?"),
        ("message", "Sun."),
    ]


def test_three_turns_with_the_official_package(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.answer(calling(CALL), saying("It rains."), saying("Sun."))
    create = scripted_client.responses.create
    first = create(model="gpt-4.1", input="Weather in Bern?", tools=[TOOL])
    [call] = first.output
    assert call.type == "function_call"
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    second = create(model="gpt-4.1", input=[result], previous_response_id=first.id, tools=[TOOL])
    third = create(model="gpt-4.1", input="And tomorrow?", previous_response_id=second.id, tools=[TOOL])
    assert (second.output_text, third.output_text) == ("It rains.", "Sun.")
    assert messages_of(upstream) == TURNS


def test_items_may_be_sent_back_as_they_came(scripted: Service, upstream: ScriptedUpstream) -> None:
    """A client that keeps its history itself: `store: false`, and all output goes back as input."""
    upstream.answer(calling(CALL), saying("It rains."), saying("Sun.", reasoning="Tomorrow."), saying("Yes."))
    history: list[Any] = [ASKED]
    for more in ([OUTPUT], [{"role": "user", "content": "And tomorrow?"}], [{"role": "user", "content": "Sure?"}]):
        history += [*respond(scripted, history, tools=[TOOL], store=False)["output"], *more]
    respond(scripted, history, tools=[TOOL], store=False)
    *turns, last = messages_of(upstream)
    assert turns == TURNS
    assert last[-2] == {"role": "assistant", "content": "Sun.", "reasoning_content": "Tomorrow."}


def test_a_response_may_be_gone_on_from_more_than_once(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    root = respond(scripted, "One?")["id"]
    left = respond(scripted, "Two?", previous_response_id=root)["id"]
    respond(scripted, "Three?", previous_response_id=root)
    respond(scripted, "Four?", previous_response_id=left)
    asked = [[entry["content"] for entry in messages] for messages in messages_of(upstream)]
    assert asked[2] == ["One?", "Yes.", "Three?"]
    assert asked[3] == ["One?", "Yes.", "Two?", "Yes.", "Four?"]


def test_instructions_are_those_of_one_request(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    first = respond(scripted, "One?", instructions="Be brief.")
    respond(scripted, "Two?", previous_response_id=first["id"])
    respond(scripted, "Two?", previous_response_id=first["id"], instructions="Be long.")
    assert [messages[0]["content"] for messages in messages_of(upstream)] == ["Be brief.", "One?", "Be long."]


def test_a_turn_goes_on_with_another_model(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    first = respond(scripted, "One?")
    second = respond(scripted, "Two?", previous_response_id=first["id"], model="open-model")
    assert second["model"] == "open-model"
    assert [entry["content"] for entry in messages_of(upstream)[1]] == ["One?", "Yes.", "Two?"]


def test_a_failed_turn_adds_nothing_to_its_conversation(scripted: Service, upstream: ScriptedUpstream) -> None:
    id = conversation(scripted)["id"]
    upstream.answer(saying("Half ", "an answer", finish_reason="error"), saying("Yes."))
    assert streamed(scripted, "One?", conversation=id)[-1]["type"] == "response.failed"
    respond(scripted, "Two?", conversation=id)
    assert told(items_of(scripted, id)) == [("message", "Two?"), ("message", "Yes.")]


def test_a_client_that_leaves_adds_nothing_and_keeps_nothing(scripted: Service, upstream: ScriptedUpstream) -> None:
    id = conversation(scripted)["id"]
    upstream.answer(saying("Half ", "an answer", pause=[Hang()]))
    with scripted.send("POST", PATH, asked("One?", stream=True, conversation=id)) as exchange:
        first = next(exchange.events())
        response_id = json.loads(first.split(b"data: ")[1])["response"]["id"]
    upstream.wait_closed(timeout_s=2)
    assert items_of(scripted, id) == []
    assert scripted.request("GET", f"{PATH}/{response_id}").status == 404
    [record] = usage_records(scripted, response_id)
    assert record["outcome"] == "cancelled"


# One response


def test_a_response_is_found_as_it_was_told(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    response = respond(scripted, "One?", metadata={"ticket": "7"})
    assert retrieve(scripted, response["id"]) == response
    assert scripted.request("GET", f"/v1/responses/{response['id']}").json == response


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_is_not_stored_is_not_found(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    upstream.default(saying("Yes."))
    fields = asked("One?", store=False)
    response = streamed(scripted, **fields)[-1]["response"] if stream else respond(scripted, **fields)
    assert response["store"] is False
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        reply = scripted.request(method, f"{PATH}/{response['id']}{path}")
        assert error_of(reply, 404)["code"] == "response_not_found"
    error = error_of(scripted.post(PATH, asked("Two?", previous_response_id=response["id"])), 404)
    assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")


def test_a_deleted_response_is_not_found(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    response = scripted_client.responses.create(model="gpt-4.1", input="One?")
    scripted_client.responses.delete(response.id)
    for again in (scripted_client.responses.delete, scripted_client.responses.retrieve):
        with pytest.raises(openai.NotFoundError) as caught:
            again(response.id)
        assert caught.value.code == "response_not_found"


def test_only_background_responses_are_cancelled_or_streamed_again(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.default(saying("Yes."))
    id = respond(scripted, "One?")["id"]
    assert error_of(scripted.post(f"{PATH}/{id}/cancel", {}), 400)["message"].startswith("Only responses that")
    assert error_of(scripted.request("GET", f"{PATH}/{id}?stream=true"), 400)["param"] == "stream"


def test_input_items_come_in_pages(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    input: Any = [{"role": "user", "content": str(number)} for number in range(25)]
    id = scripted_client.responses.create(model="gpt-4.1", input=input).id
    items = scripted_client.responses.input_items

    def texts(page: Any) -> list[str]:
        return [item.content[0].text for item in page]

    assert texts(items.list(id, limit=7, order="asc")) == [str(number) for number in range(25)]
    assert texts(items.list(id)) == [str(number) for number in reversed(range(25))]
    first = items.list(id, limit=7, order="asc")
    assert (len(first.data), first.has_more) == (7, True)
    rest = items.list(id, limit=100, order="asc", after=first.data[-1].id)
    assert (texts(rest), rest.has_more) == ([str(number) for number in range(7, 25)], False)
    assert len(items.list(id).data) == 20
    assert items.list(id, after="msg_unknown").data == []


def test_input_items_are_those_of_the_request_alone(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(calling(CALL), saying("It rains."))
    first = respond(scripted, [ASKED], tools=[TOOL])["id"]
    second = respond(scripted, [OUTPUT], tools=[TOOL], previous_response_id=first)["id"]
    pages = [scripted.request("GET", f"{PATH}/{id}/input_items").json for id in (first, second)]
    for page in pages:
        assert_valid("ResponseItemList", page)
        assert page["first_id"] == page["last_id"] == page["data"][0]["id"]
    assert told(pages[0]["data"]) == [("message", "Weather in Bern?")]
    assert told(pages[1]["data"]) == [("function_call_output", "rain")]


# Conversations


def test_a_conversation_is_made_changed_and_deleted(scripted_client: openai.OpenAI) -> None:
    conversations = scripted_client.conversations
    made = conversations.create(metadata={"topic": "one"}, items=[{"role": "user", "content": "Hello!"}])
    assert made.id.startswith("conv_")
    assert conversations.retrieve(made.id) == made
    changed = conversations.update(made.id, metadata={"topic": "two"})
    assert changed.metadata == {"topic": "two"}
    assert conversations.retrieve(made.id) == changed
    [item] = conversations.items.list(made.id)
    assert item.type == "message"
    deleted = conversations.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError) as caught:
        conversations.retrieve(made.id)
    assert (caught.value.code, caught.value.param) == ("conversation_not_found", "conversation")


def test_items_of_a_conversation_are_added_listed_and_deleted(scripted_client: openai.OpenAI) -> None:
    items = scripted_client.conversations.items
    id = scripted_client.conversations.create().id
    added = items.create(id, items=[{"role": "user", "content": str(number)} for number in range(20)])
    assert len(added.data) == 20
    assert [item.id for item in items.list(id, order="asc", limit=6)] == [item.id for item in added.data]
    assert [item.id for item in items.list(id)] == [item.id for item in reversed(added.data)]
    assert items.retrieve(added.data[3].id, conversation_id=id) == added.data[3]
    items.delete(added.data[3].id, conversation_id=id)
    assert len(list(items.list(id))) == 19
    with pytest.raises(openai.NotFoundError) as caught:
        items.retrieve(added.data[3].id, conversation_id=id)
    assert caught.value.code == "item_not_found"


def test_a_response_reads_what_a_client_put_into_a_conversation(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    id = conversation(scripted, items=[{"role": "developer", "content": "Be brief."}])["id"]
    item = {"role": "user", "content": [{"type": "input_text", "text": "My name is Ada."}]}
    assert scripted.post(f"{CONVERSATIONS}/{id}/items", {"items": [item]}).status == 200
    respond(scripted, "Who am I?", conversation=id)
    [messages] = messages_of(upstream)
    assert [entry["content"] for entry in messages] == ["Be brief.", "My name is Ada.", "Who am I?"]


def test_a_response_that_is_not_stored_still_belongs_to_its_conversation(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.default(saying("Yes."))
    id = conversation(scripted)["id"]
    response = respond(scripted, "One?", conversation=id, store=False)
    assert scripted.request("GET", f"{PATH}/{response['id']}").status == 404
    assert told(items_of(scripted, id)) == [("message", "One?"), ("message", "Yes.")]


# Whose it is


@pytest.fixture
def other(scripted: Service) -> Iterator[str]:
    """A key of another contract."""
    scripted.create_contract("other")
    yield scripted.create_key("other", "--contract", "other")


def test_a_key_of_another_contract_finds_nothing(scripted: Service, upstream: ScriptedUpstream, other: str) -> None:
    upstream.default(saying("Yes."))
    id = respond(scripted, "One?")["id"]
    place = conversation(scripted, items=[{"role": "user", "content": "Hello!"}])["id"]
    [item] = items_of(scripted, place)
    body = {"items": [{"role": "user", "content": "x"}]}
    attempts = [
        ("GET", f"{PATH}/{id}", None),
        ("GET", f"{PATH}/{id}?stream=true", None),
        ("DELETE", f"{PATH}/{id}", None),
        ("POST", f"{PATH}/{id}/cancel", None),
        ("GET", f"{PATH}/{id}/input_items", None),
        ("POST", PATH, asked("x", previous_response_id=id)),
        ("POST", f"{PATH}/input_tokens", asked("x", previous_response_id=id)),
        ("POST", PATH, asked("x", conversation=place)),
        ("GET", f"{CONVERSATIONS}/{place}", None),
        ("POST", f"{CONVERSATIONS}/{place}", {"metadata": {}}),
        ("DELETE", f"{CONVERSATIONS}/{place}", None),
        ("GET", f"{CONVERSATIONS}/{place}/items", None),
        ("POST", f"{CONVERSATIONS}/{place}/items", body),
        ("GET", f"{CONVERSATIONS}/{place}/items/{item['id']}", None),
        ("DELETE", f"{CONVERSATIONS}/{place}/items/{item['id']}", None),
    ]
    for method, path, sent in attempts:
        assert error_of(scripted.request(method, path, sent, key=other), 404)["code"].endswith("_not_found"), path
    assert len(upstream.requests) == 1
    assert retrieve(scripted, id)["status"] == "completed"
    assert items_of(scripted, place) == [item]


def test_another_key_of_the_same_contract_finds_all(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    id = respond(scripted, "One?")["id"]
    place = conversation(scripted, items=[{"role": "user", "content": "Hello!"}])["id"]
    colleague = scripted.create_key("colleague")
    reply = scripted.post(PATH, asked("Two?", previous_response_id=id), key=colleague)
    assert reply.status == 200
    assert scripted.request("GET", f"{PATH}/{reply.json['id']}").json == reply.json
    assert scripted.request("GET", f"{PATH}/{id}", key=colleague).status == 200
    assert scripted.request("GET", f"{CONVERSATIONS}/{place}", key=colleague).status == 200
    assert scripted.request("DELETE", f"{PATH}/{id}", key=colleague).status == 200
    assert scripted.request("GET", f"{PATH}/{id}").status == 404


def test_no_key_is_told_nothing(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    id = respond(scripted, "One?")["id"]
    for method, path in (("GET", f"{PATH}/{id}"), ("DELETE", f"{PATH}/{id}"), ("GET", f"{CONVERSATIONS}/conv_x")):
        assert error_of(scripted.request(method, path, key=None), 401)["code"] == "invalid_api_key"
    assert retrieve(scripted, id)["id"] == id
