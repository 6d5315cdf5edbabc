"""Responses that are made in the background: polled, streamed, resumed, cancelled, deleted."""

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from responding import (
    PATH,
    asked,
    ended,
    error_of,
    output_text,
    read_events,
    respond,
    response_of,
    resumed,
    retrieve,
    saying,
    usage_records,
    whole_stream,
)
from scripted_answers import Barrier, error_answer
from scripted_upstream import ScriptedUpstream
from service import Exchange, Service, wait_until


@pytest.fixture
def barrier() -> Iterator[Barrier]:
    """Where an answer waits, at the latest until the test is over."""
    barrier = Barrier()
    yield barrier
    barrier.release()


def begin(service: Service, upstream: ScriptedUpstream, barrier: Barrier, **fields: Any) -> dict[str, Any]:
    """A response in the background that has said "Once upon " and waits at the barrier."""
    upstream.answer(saying("Once ", "upon ", "a time.", pause=[barrier]))
    response = respond(service, "A story!", background=True, **fields)
    assert barrier.reached.wait(5)
    return response


def test_a_response_is_made_while_nobody_waits(scripted: Service, upstream: ScriptedUpstream, barrier: Barrier) -> None:
    response = begin(scripted, upstream, barrier)
    assert (response["status"], response["background"], response["output"]) == ("queued", True, [])
    assert wait_until(lambda: retrieve(scripted, response["id"])["status"] == "in_progress", 2)
    barrier.release()
    done = ended(scripted, response["id"])
    assert (done["status"], output_text(done)) == ("completed", "Once upon a time.")
    assert done["completed_at"] >= done["created_at"] == response["created_at"]
    [record] = usage_records(scripted, response["id"])
    assert (record["outcome"], record["input_tokens"], record["output_tokens"]) == ("completed", 9, 17)


def test_the_official_package_polls(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.answer(saying("Yes."))
    response = scripted_client.responses.create(model="gpt-4.1", input="x", background=True)
    while response.status in {"queued", "in_progress"}:
        time.sleep(0.05)
        response = scripted_client.responses.retrieve(response.id)
    assert response.output_text == "Yes."


def test_it_goes_on_when_its_stream_is_left(scripted: Service, upstream: ScriptedUpstream, barrier: Barrier) -> None:
    upstream.answer(saying("Once ", "upon ", "a time.", pause=[barrier]))
    with scripted.send("POST", PATH, asked("A story!", background=True, stream=True)) as exchange:
        events = read_events(exchange.events())
        begun = [next(events) for _ in range(7)]
    id = begun[0]["response"]["id"]
    assert [event["type"] for event in begun[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    barrier.release()
    assert ended(scripted, id)["status"] == "completed"
    rest = resumed(scripted, id, begun[-1]["sequence_number"])
    assert whole_stream([*begun, *rest])[-1]["response"] == retrieve(scripted, id)


def test_any_event_can_be_gone_on_from_before_and_after_the_end(
    scripted: Service, upstream: ScriptedUpstream, barrier: Barrier
) -> None:
    id = begin(scripted, upstream, barrier)["id"]
    with scripted.send("GET", f"{PATH}/{id}?stream=true&include_obfuscation=false&starting_after=2") as exchange:
        events = read_events(exchange.events())
        first = next(events)
        assert first["sequence_number"] == 3
        barrier.release()
        live = [first, *events]
    everything = whole_stream(resumed(scripted, id))
    assert everything[3:] == live
    for after in range(len(everything)):
        assert resumed(scripted, id, after) == everything[after + 1 :]


def test_deltas_are_padded_unless_the_client_says_no(
    scripted: Service, upstream: ScriptedUpstream, barrier: Barrier
) -> None:
    barrier.release()
    id = begin(scripted, upstream, barrier)["id"]
    ended(scripted, id)
    upstream.default(saying("Once ", "upon ", "a time."))

    def lengths(exchange: Exchange) -> set[tuple[bool, int]]:
        with exchange:
            deltas = [event for event in read_events(exchange.events()) if event["type"].endswith(".delta")]
        assert len(deltas) == 3
        return {("obfuscation" in one, len(one["delta"] + one.get("obfuscation", "")) % 16) for one in deltas}

    plain = {(False, 5), (False, 7)}
    assert lengths(scripted.send("GET", f"{PATH}/{id}?stream=true")) == {(True, 0)}
    assert lengths(scripted.send("GET", f"{PATH}/{id}?stream=true&include_obfuscation=true")) == {(True, 0)}
    assert lengths(scripted.send("GET", f"{PATH}/{id}?stream=true&include_obfuscation=false")) == plain
    body = asked("A story!", background=True, stream=True)
    assert lengths(scripted.send("POST", PATH, body)) == {(True, 0)}
    no = {"stream_options": {"include_obfuscation": False}}
    assert lengths(scripted.send("POST", PATH, body | no)) == plain


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=maybe", "stream"),
        ("include_obfuscation=1", "include_obfuscation"),
        ("starting_after=-1&stream=true", "starting_after"),
        ("starting_after=x", "starting_after"),
        ("include=message.output_text.logprobs&include=thoughts", "include[1]"),
        ("include[]=thoughts", "include[0]"),
    ],
)
def test_a_question_that_cannot_be_is_refused_by_name(
    scripted: Service, upstream: ScriptedUpstream, query: str, param: str
) -> None:
    upstream.default(saying("Yes."))
    id = respond(scripted, "x", background=True)["id"]
    error = error_of(scripted.request("GET", f"{PATH}/{id}?{query}"), 400)
    assert (error["param"], error["code"]) == (param, "invalid_value")


def test_inclusions_are_taken_and_other_questions_passed_over(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.default(saying("Yes."))
    made = scripted_client.responses.create(model="gpt-4.1", input="x")
    include: Any = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    assert scripted_client.responses.retrieve(made.id, include=include, extra_query={"other": "1"}) == made


def test_the_official_package_resumes(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream, barrier: Barrier
) -> None:
    upstream.answer(saying("Once ", "upon ", "a time.", pause=[barrier]))
    stream = scripted_client.responses.create(model="gpt-4.1", input="x", background=True, stream=True)
    begun = [next(stream) for _ in range(6)]
    stream.close()
    barrier.release()
    id = begun[0].response.id
    rest = list(scripted_client.responses.retrieve(id, stream=True, starting_after=begun[-1].sequence_number))
    assert [event.sequence_number for event in [*begun, *rest]] == list(range(len(begun) + len(rest)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "Once upon a time."


def test_it_is_gone_on_from_when_it_is_done(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Yes."))
    conversation = scripted.post("/v2/conversations", {}).json["id"]
    id = respond(scripted, "One?", background=True, conversation=conversation)["id"]
    ended(scripted, id)
    respond(scripted, "Two?", previous_response_id=id)
    respond(scripted, "Three?", conversation=conversation)
    contents = [[entry["content"] for entry in request.json["messages"]] for request in upstream.requests]
    assert contents == [["One?"], ["One?", "Yes.", "Two?"], ["One?", "Yes.", "Three?"]]


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_upstream_refuses_is_a_failed_response(
    scripted: Service, upstream: ScriptedUpstream, stream: bool
) -> None:
    upstream.answer(error_answer(500, "It broke."))
    if stream:
        with scripted.send("POST", PATH, asked("x", background=True, stream=True)) as exchange:
            id = whole_stream(read_events(exchange.events()))[-1]["response"]["id"]
    else:
        id = respond(scripted, "x", background=True)["id"]
    response = ended(scripted, id)
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert whole_stream(resumed(scripted, id))[-1]["type"] == "response.failed"
    [record] = usage_records(scripted, id)
    assert (record["outcome"], record["error_code"]) == ("failed", "upstream_error")


def test_what_is_wrong_is_said_at_once(scripted: Service, upstream: ScriptedUpstream) -> None:
    error = error_of(scripted.post(PATH, asked("x", background=True, previous_response_id="resp_nobody")), 404)
    assert error["code"] == "previous_response_not_found"
    assert upstream.requests == []


def test_it_is_cancelled(scripted: Service, upstream: ScriptedUpstream, barrier: Barrier) -> None:
    id = begin(scripted, upstream, barrier)["id"]
    with scripted.send("GET", f"{PATH}/{id}?stream=true&include_obfuscation=false") as follower:
        assert follower.status == 200
        cancelled = response_of(scripted.post(f"{PATH}/{id}/cancel", {}))
        followed = list(read_events(follower.events()))
    upstream.wait_closed(timeout_s=1)
    assert cancelled["status"] == "cancelled"
    assert cancelled["output"][0]["status"] == "incomplete"
    assert retrieve(scripted, id) == cancelled
    assert whole_stream(resumed(scripted, id), cancelled=True) == followed
    assert response_of(scripted.post(f"{PATH}/{id}/cancel", {})) == cancelled, "again is the same"
    [record] = usage_records(scripted, id)
    assert record["outcome"] == "cancelled"


def test_what_is_done_stays_done(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(saying("Yes."))
    done = ended(scripted, respond(scripted, "x", background=True)["id"])
    assert response_of(scripted.post(f"{PATH}/{done['id']}/cancel", {})) == done
    assert retrieve(scripted, done["id"])["status"] == "completed"


def test_it_is_deleted_while_it_is_made(scripted: Service, upstream: ScriptedUpstream, barrier: Barrier) -> None:
    id = begin(scripted, upstream, barrier)["id"]
    with scripted.send("GET", f"{PATH}/{id}?stream=true") as follower:
        assert follower.status == 200
        assert scripted.request("DELETE", f"{PATH}/{id}").json["deleted"] is True
        list(read_events(follower.events()))  # it ends
    upstream.wait_closed(timeout_s=1)
    error_of(scripted.request("GET", f"{PATH}/{id}"), 404)
    error_of(scripted.request("GET", f"{PATH}/{id}?stream=true"), 404)
    assert wait_until(lambda: len(usage_records(scripted, id)) == 1, 2)
    [record] = usage_records(scripted, id)
    assert record["outcome"] == "cancelled"


def test_many_are_made_at_once(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(lambda request: saying("You said ", request.json["messages"][-1]["content"])(request))
    ids = {str(number): respond(scripted, str(number), background=True)["id"] for number in range(40)}
    for text, id in ids.items():
        assert output_text(ended(scripted, id)) == f"You said {text}"
