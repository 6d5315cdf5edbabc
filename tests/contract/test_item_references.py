"""Items of the input that only name another item; and items whose ids cannot be."""

from typing import Any

import pytest

from responding import PATH, asked, calling, error_of, respond, saying, streamed
from scripted_upstream import ScriptedUpstream
from service import Service
from specification import assert_valid

CONVERSATIONS = "/v2/conversations"
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
CALL = ("call_1", "weather", '{"city":"Bern"}')
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
TURN = [
    {"role": "user", "content": "Weather in Bern?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": CALL[2]}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]


def to(*ids: str) -> list[dict[str, Any]]:
    return [{"type": "item_reference", "id": id} for id in ids]


def input_of(service: Service, id: str) -> list[dict[str, Any]]:
    reply = service.request("GET", f"{PATH}/{id}/input_items?order=asc")
    assert reply.status == 200, reply.body
    return assert_valid("ResponseItemList", reply.json)["data"]


def told(upstream: ScriptedUpstream) -> list[Any]:
    """What the model was asked last."""
    return upstream.requests[-1].json["messages"]


@pytest.mark.parametrize("stream", [False, True])
def test_items_of_responses_are_told_and_kept_as_if_they_had_been_sent(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    upstream.answer(calling(CALL), saying("It rains."), saying("Sun."))
    first = respond(scripted, "Weather in Bern?", tools=[TOOL])
    [question], [call] = input_of(scripted, first["id"]), first["output"]
    input = [*to(question["id"], call["id"]), OUTPUT]
    if stream:
        second = streamed(scripted, input, tools=[TOOL])[-1]["response"]
    else:
        second = respond(scripted, input, tools=[TOOL])
    assert told(upstream) == TURN
    assert input_of(scripted, second["id"])[:2] == [question, call]
    respond(scripted, "And tomorrow?", previous_response_id=second["id"], tools=[TOOL])
    assert told(upstream)[:3] == TURN


def test_items_of_the_callers_conversations_are_told(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Ada."))
    items = [{"role": "user", "content": "My name is Ada."}, {"id": "msg_mine", "role": "user", "content": "Hello."}]
    made = scripted.post(CONVERSATIONS, {"items": items}).json["id"]
    [first, second] = scripted.request("GET", f"{CONVERSATIONS}/{made}/items?order=asc").json["data"]
    respond(scripted, [*to(second["id"], first["id"]), {"role": "user", "content": "Who am I?"}], store=False)
    assert [message["content"] for message in told(upstream)] == ["Hello.", "My name is Ada.", "Who am I?"]


@pytest.mark.parametrize("place", ["previous_response_id", "conversation"])
def test_what_came_before_is_not_said_twice(scripted: Service, upstream: ScriptedUpstream, place: str) -> None:
    upstream.answer(calling(CALL), saying("It rains."))
    conversation = scripted.post(CONVERSATIONS, {}).json["id"]
    before = {"conversation": conversation} if place == "conversation" else {}
    first = respond(scripted, "Weather in Bern?", tools=[TOOL], **before)
    before = before or {place: first["id"]}
    second = respond(scripted, [*to(first["output"][0]["id"]), OUTPUT], tools=[TOOL], **before)
    assert told(upstream) == TURN
    assert [item["type"] for item in input_of(scripted, second["id"])] == ["function_call_output"]


def test_input_tokens_and_compaction_know_references(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    id = respond(scripted, "One?")["output"][0]["id"]
    reply = scripted.post(f"{PATH}/compact", {"model": "gpt-4.1", "input": to(id)})
    assert reply.status == 200, reply.body
    assert told(upstream)[0] == {"role": "assistant", "content": "Yes."}
    error = error_of(scripted.post(f"{PATH}/compact", {"model": "gpt-4.1", "input": to("msg_nobody")}), 404)
    assert error["param"] == "input[0]"
    error = error_of(scripted.post(f"{PATH}/input_tokens", asked(to("msg_nobody"))), 404)
    assert error["param"] == "input[0]"


def test_conversations_take_references(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    [answer] = respond(scripted, "One?")["output"]
    made = scripted.post(CONVERSATIONS, {"items": to(answer["id"])}).json["id"]
    assert scripted.request("GET", f"{CONVERSATIONS}/{made}/items").json["data"] == [answer]
    added = scripted.post(
        f"{CONVERSATIONS}/{scripted.post(CONVERSATIONS, {}).json['id']}/items", {"items": to(answer["id"])}
    )
    assert assert_valid("ConversationItemList", added.json)["data"] == [answer]


def test_an_unknown_item_is_not_found_whoever_asks(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    kept = respond(scripted, "One?")["output"][0]["id"]
    lost = respond(scripted, "One?", store=False)["output"][0]["id"]
    made = scripted.post(CONVERSATIONS, {"items": [{"id": "msg_mine", "role": "user", "content": "x"}]}).json["id"]
    scripted.create_contract("references")
    other = scripted.create_key("references", "--contract", "references")
    theirs = scripted.post(CONVERSATIONS, {}, key=other).json["id"]
    attempts = [(None, lost), (None, "msg_nobody"), (other, kept), (other, "msg_mine")]
    for key, id in attempts:
        input = [{"role": "user", "content": "x"}, *to(id)]
        place = theirs if key else made
        bodies = [(PATH, asked(input), "input"), (PATH, asked(input, stream=True), "input")]
        bodies += [
            (CONVERSATIONS, {"items": input}, "items"),
            (f"{CONVERSATIONS}/{place}/items", {"items": input}, "items"),
        ]
        for path, body, field in bodies:
            error = error_of(scripted.post(path, body, key=key or "its own"), 404)
            assert (error["message"], error["param"]) == (f"Item with id '{id}' not found.", f"{field}[1]")
    assert len(upstream.requests) == 2


MESSAGE = {"type": "message", "role": "user", "content": "x"}
BAD_IDS: dict[str, tuple[list[dict[str, Any]], int, str]] = {
    "two alike": (
        [MESSAGE | {"id": "a"}, MESSAGE, MESSAGE | {"id": "b"}, MESSAGE | {"id": "a"}],
        3,
        "Duplicate item found",
    ),
    "a reference and its item": ([MESSAGE | {"id": "a"}, *to("a")], 1, "Duplicate item found with id a."),
    "two references": (to("a", "a"), 1, "Duplicate item found"),
    "an empty one": ([MESSAGE, MESSAGE | {"id": ""}], 1, "Invalid 'field[1].id': empty string."),
    "an empty reference": (to(""), 0, "Invalid 'field[0].id': empty string."),
}


@pytest.mark.parametrize("name", BAD_IDS)
def test_ids_that_cannot_be_are_refused_by_name(scripted: Service, upstream: ScriptedUpstream, name: str) -> None:
    items, position, message = BAD_IDS[name]
    made = scripted.post(CONVERSATIONS, {}).json["id"]
    for path, field in [
        (PATH, "input"),
        (f"{PATH}/compact", "input"),
        (CONVERSATIONS, "items"),
        (f"{CONVERSATIONS}/{made}/items", "items"),
    ]:
        body = {"model": "gpt-4.1", "input": items} if field == "input" else {"items": items}
        error = error_of(scripted.post(path, body), 400)
        assert error["param"] == f"{field}[{position}].id"
        assert error["message"].startswith(message.replace("field", field))
    assert upstream.requests == []
    assert scripted.request("GET", f"{CONVERSATIONS}/{made}/items").json["data"] == []


@pytest.mark.parametrize("place", ["previous_response_id", "conversation"])
def test_an_item_that_came_before_is_refused_if_it_is_said_again(
    scripted: Service, upstream: ScriptedUpstream, place: str
) -> None:
    upstream.default(saying("Yes."))
    conversation = scripted.post(CONVERSATIONS, {}).json["id"]
    before = {"conversation": conversation} if place == "conversation" else {}
    first = respond(scripted, [MESSAGE | {"id": "msg_mine"}, MESSAGE], **before)
    before = before or {place: respond(scripted, "Go on.", previous_response_id=first["id"])["id"]}
    asked_so_far = len(upstream.requests)
    for item in (MESSAGE | {"id": "msg_mine"}, first["output"][0]):
        body = asked([MESSAGE, item], **before)
        for path in (PATH, f"{PATH}/input_tokens"):
            error = error_of(scripted.post(path, body), 400)
            assert error["message"].startswith(f"Duplicate item found with id {item['id']}.")
            assert error["param"] == "input[1].id"
    assert len(upstream.requests) == asked_so_far
    again = [MESSAGE, MESSAGE | {"id": "msg_other"}, *to("msg_mine")]
    assert respond(scripted, again, **before)["status"] == "completed"


def test_a_conversation_may_begin_empty_but_nothing_is_not_added(scripted: Service) -> None:
    """The official package for agents begins with an empty list."""
    reply = scripted.post(CONVERSATIONS, {"items": []})
    assert reply.status == 200, reply.body
    path = f"{CONVERSATIONS}/{reply.json['id']}/items"
    for items, code in (([], "empty_array"), ([MESSAGE] * 21, "array_above_max_length")):
        error = error_of(scripted.post(path, {"items": items}), 400)
        assert (error["param"], error["code"]) == ("items", code)
    error = error_of(scripted.post(CONVERSATIONS, {"items": [MESSAGE] * 21}), 400)
    assert (error["param"], error["code"]) == ("items", "array_above_max_length")
