"""State is ours, also of responses that another server makes: turns over models, conversations, background, sockets."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from websockets.asyncio.client import connect

from native_answers import PATH as NATIVE
from native_answers import SEALED, answering, asked, function_call, message, reasoning, web_search
from responding import (
    PATH,
    calling,
    ended,
    error_of,
    output_text,
    respond,
    resumed,
    retrieve,
    saying,
    streamed,
    usage_records,
    whole_stream,
)
from scripted_answers import Barrier, Close, Hang, error_answer
from scripted_upstream import ScriptedUpstream
from service import Service, wait_until
from specification import assert_valid

CHAT = "/v1/chat/completions"
MODEL, THINKING, CHATTING = "gpt-4.1-native", "gpt-5-native", "open-model"
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
BOTH = pytest.mark.parametrize("stream", [False, True])


def said(text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "status": "completed", "content": content}


def answered(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"type": "message", "role": "assistant", "status": "completed", "content": content}


def input_of(upstream: ScriptedUpstream) -> list[dict[str, Any]]:
    return asked(upstream.requests[-1])["input"]


def turn(service: Service, stream: bool, input: object, **fields: Any) -> dict[str, Any]:
    return streamed(service, input, **fields)[-1]["response"] if stream else respond(service, input, **fields)


# Turns


@BOTH
def test_the_history_is_sent_as_items(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    call = function_call("call_1", "weather", '{"city":"Bern"}')
    upstream.answer(answering(reasoning("Hm."), web_search("Bern"), call), answering(reasoning(), message("It rains.")))
    fields: dict[str, Any] = {"model": THINKING, "tools": [TOOL]}
    first = turn(scripted, stream, "Weather in Bern?", **fields)
    second = turn(scripted, stream, [OUTPUT], **fields, previous_response_id=first["id"])
    assert (second["previous_response_id"], output_text(second)) == (first["id"], "It rains.")
    assert input_of(upstream) == [
        said("Weather in Bern?"),
        {"type": "reasoning", "id": "rs_0a1", "summary": [_summary("Hm.")], "encrypted_content": SEALED},
        {key: value for key, value in web_search("Bern").items() if key != "id"},
        {
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city":"Bern"}',
        },
        OUTPUT | {"status": "completed"},
    ]
    assert not {"previous_response_id", "conversation", "background", "metadata"} & upstream.requests[-1].json.keys()


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


@BOTH
def test_an_open_model_goes_on_from_a_bought_one(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(answering(reasoning("Hm."), web_search("x"), function_call("call_1", "weather", "{}")), path=NATIVE)
    upstream.answer(saying("It ", "rains."), path=CHAT)
    first = turn(scripted, stream, "Weather?", model=THINKING, tools=[TOOL])
    second = turn(scripted, stream, [OUTPUT], model=CHATTING, tools=[TOOL], previous_response_id=first["id"])
    assert (second["model"], output_text(second)) == (CHATTING, "It rains.")
    function = {"name": "weather", "arguments": "{}"}
    assert upstream.requests[-1].json["messages"] == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]


@BOTH
def test_a_bought_model_goes_on_from_an_open_one(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(calling(("call_1", "weather", "{}")), saying("It rains.", reasoning="Wet."), path=CHAT)
    upstream.answer(answering(message("Sun.")), path=NATIVE)
    first = turn(scripted, stream, "Weather?", model=CHATTING, tools=[TOOL])
    second = turn(scripted, stream, [OUTPUT], model=CHATTING, tools=[TOOL], previous_response_id=first["id"])
    third = turn(scripted, stream, "And tomorrow?", model=MODEL, previous_response_id=second["id"])
    assert output_text(third) == "Sun."
    call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}", "status": "completed"}
    assert input_of(upstream) == [
        said("Weather?"),
        call,
        OUTPUT | {"status": "completed"},
        answered("It rains."),
        said("And tomorrow?"),
    ]


def test_three_models_in_turn_with_the_official_package(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.answer(answering(message("One.")), answering(message("Three.")), path=NATIVE)
    upstream.answer(saying("Two."), path=CHAT)
    create = scripted_client.responses.create
    first = create(model=MODEL, input="a")
    second = create(model=CHATTING, input="b", previous_response_id=first.id)
    third = create(model=THINKING, input="c", previous_response_id=second.id)
    assert [one.output_text for one in (first, second, third)] == ["One.", "Two.", "Three."]
    assert input_of(upstream) == [said("a"), answered("One."), said("b"), answered("Two."), said("c")]


def test_a_summary_of_ours_is_told_in_words(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(saying("They met."), path=CHAT)
    upstream.answer(answering(message("Yes.")), path=NATIVE)
    compacted = scripted.post(f"{PATH}/compact", {"model": CHATTING, "input": "A long story."}).json["output"]
    respond(scripted, [*compacted, {"role": "user", "content": "And then?"}], model=MODEL)
    told = [item["content"][0]["text"] for item in input_of(upstream)]
    assert told == ["A long story.", "Summary of the conversation so far:\nThey met.", "And then?"]


def test_reasoning_that_another_server_encrypted_is_left_out(scripted: Service, upstream: ScriptedUpstream) -> None:
    message_ = "The encrypted content could not be verified."
    upstream.answer(
        answering(reasoning(), message("One.")),
        error_answer(400, message_, code="invalid_encrypted_content"),
        answering(message("Two.")),
    )
    first = respond(scripted, "a", model=THINKING)
    second = respond(scripted, "b", model=THINKING, previous_response_id=first["id"])
    assert output_text(second) == "Two."
    assert input_of(upstream) == [said("a"), answered("One."), said("b")]


@pytest.mark.parametrize(
    ("param", "told"),
    [("input[0].content", "previous_response_id"), ("input[2].content[0]", "input[0].content[0]"), ("tools", "tools")],
)
def test_a_refusal_names_the_clients_own_field(
    scripted: Service, upstream: ScriptedUpstream, param: str, told: str
) -> None:
    upstream.answer(answering(message("One.")), error_answer(400, "No.", param=param))
    first = respond(scripted, "a", model=MODEL)
    body = {"model": MODEL, "input": "b", "previous_response_id": first["id"]}
    assert error_of(scripted.post(PATH, body), 400)["param"] == told


# What is kept


@BOTH
def test_a_response_is_found_as_it_was_told(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(answering(reasoning("Hm."), web_search("x"), message("Yes.")))
    response = turn(scripted, stream, "One?", model=THINKING, metadata={"ticket": "7"})
    assert retrieve(scripted, response["id"]) == response
    assert scripted.request("DELETE", f"{PATH}/{response['id']}").json["deleted"] is True
    assert error_of(scripted.request("GET", f"{PATH}/{response['id']}"), 404)["code"] == "response_not_found"


def test_items_of_the_servers_tools_are_kept_whole(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(message("Yes.")))
    search = web_search("x", id="ws_client")
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"}
    response = respond(scripted, [search, image, {"role": "user", "content": "One?"}], model=MODEL)
    page = scripted.request("GET", f"{PATH}/{response['id']}/input_items?order=asc").json
    assert assert_valid("ResponseItemList", page)["data"][:2] == [search, image]
    assert input_of(upstream)[1] == image


def test_they_are_refused_by_a_model_that_chats(scripted: Service, upstream: ScriptedUpstream) -> None:
    body = {"model": CHATTING, "input": [web_search("x"), {"role": "user", "content": "One?"}]}
    error = error_of(scripted.post(PATH, body), 400)
    assert (error["param"], error["code"]) == ("input[0].type", "unsupported_value")
    assert upstream.requests == []


@BOTH
def test_a_conversation_goes_over_models(scripted: Service, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answer(answering(web_search("x"), message("One.")), answering(message("Three.")), path=NATIVE)
    upstream.answer(saying("Two."), path=CHAT)
    place = scripted.post("/v2/conversations", {}).json["id"]
    for input, model in (("a", MODEL), ("b", CHATTING), ("c", MODEL)):
        assert turn(scripted, stream, input, model=model, conversation=place)["conversation"] == {"id": place}
    assert [item["type"] for item in input_of(upstream)] == ["message", "web_search_call", *["message"] * 4]
    items = scripted.request("GET", f"/v2/conversations/{place}/items?order=asc").json
    assert len(assert_valid("ConversationItemList", items)["data"]) == 7


def test_a_client_that_leaves_keeps_nothing(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(message("Half ", "an answer"), pause=[Hang()]))
    with scripted.send("POST", PATH, {"model": MODEL, "input": "Hi", "stream": True}) as exchange:
        id = json.loads(next(exchange.events()).split(b"data: ")[1])["response"]["id"]
    upstream.wait_closed(timeout_s=2)
    assert scripted.request("GET", f"{PATH}/{id}").status == 404
    assert wait_until(lambda: [one["outcome"] for one in usage_records(scripted, id)] == ["cancelled"], 2)


# In the background


@pytest.fixture
def barrier() -> Iterator[Barrier]:
    barrier = Barrier()
    yield barrier
    barrier.release()


def test_a_response_is_made_while_nobody_waits(scripted: Service, upstream: ScriptedUpstream, barrier: Barrier) -> None:
    upstream.answer(answering(message("Once ", "upon."), pause=[barrier]))
    begun = respond(scripted, "A story!", model=MODEL, background=True)
    assert (begun["status"], begun["background"]) == ("queued", True)
    assert barrier.reached.wait(5)
    assert "background" not in upstream.requests[0].json
    barrier.release()
    done = ended(scripted, begun["id"])
    assert (done["status"], output_text(done), done["background"]) == ("completed", "Once upon.", True)
    told = whole_stream(resumed(scripted, begun["id"]))
    assert [one["type"] for one in told[:3]] == ["response.created", "response.queued", "response.in_progress"]
    half = len(told) // 2
    assert resumed(scripted, begun["id"], half - 1) == told[half:]
    [record] = usage_records(scripted, begun["id"])
    assert (record["outcome"], record["input_tokens"], record["output_tokens"]) == ("completed", 21, 13)


def test_a_cancelled_response_keeps_what_was_said(
    scripted: Service, upstream: ScriptedUpstream, barrier: Barrier
) -> None:
    upstream.answer(answering(web_search("x"), message("Once ", "upon."), pause=[barrier]))
    begun = respond(scripted, "A story!", model=MODEL, background=True)
    assert barrier.reached.wait(5)
    wait_until(lambda: len(scripted.request("GET", f"{PATH}/{begun['id']}").json["output"]) == 2, 0.5)
    cancelled = scripted.post(f"{PATH}/{begun['id']}/cancel", {}).json
    assert (cancelled["status"], output_text(cancelled)) == ("cancelled", "Once ")
    assert [item["status"] for item in cancelled["output"]] == ["completed", "incomplete"]
    whole_stream(resumed(scripted, begun["id"]), cancelled=True)
    upstream.wait_closed(timeout_s=2)


@pytest.mark.parametrize(
    "failing", [error_answer(400, "No.", code="x"), answering(message("Half ", "an"), then=[Close()])]
)
def test_a_failure_in_the_background_is_kept(scripted: Service, upstream: ScriptedUpstream, failing: Any) -> None:
    upstream.answer(failing)
    begun = respond(scripted, "A story!", model=MODEL, background=True)
    failed = ended(scripted, begun["id"])
    assert failed["status"] == "failed" and failed["error"]["message"]
    assert whole_stream(resumed(scripted, begun["id"]))[-1]["type"] == "response.failed"


# Over a WebSocket


async def test_a_socket_remembers_what_is_not_stored(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(answering(reasoning(), message("One.")), answering(message("Two.")))
    url = f"ws://127.0.0.1:{scripted.port}/v1/responses"
    async with connect(url, additional_headers={"Authorization": f"Bearer {scripted.key}"}) as socket:

        async def said_to(**fields: Any) -> list[dict[str, Any]]:
            await socket.send(json.dumps({"type": "response.create", "model": THINKING, "store": False} | fields))
            told: list[dict[str, Any]] = []
            while not told or told[-1]["type"] != "response.completed":
                told.append(json.loads(await asyncio.wait_for(socket.recv(), 10)))
                assert told[-1]["type"] not in {"error", "response.failed"}, told[-1]
                told[-1].pop("obfuscation", None)
            return whole_stream(told)

        first = (await said_to(input="a"))[-1]["response"]
        second = (await said_to(input="b", previous_response_id=first["id"]))[-1]["response"]
        begun = (await said_to(input="c", generate=False))[-1]["response"]
    assert output_text(second) == "Two."
    assert [item["type"] for item in input_of(upstream)] == ["message", "reasoning", "message", "message"]
    assert (begun["status"], begun["output"], len(upstream.requests)) == ("completed", [], 2)
