"""Responses in the background and the processes that make them: asked of another worker, killed, stopped, restarted."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import native_answers
from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from databases import PostgreSQL
from lines import Line, Lines
from responding import (
    PATH,
    asked,
    ended,
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
from responses.event_client import fold_events
from scripted_answers import Barrier
from scripted_upstream import ScriptedUpstream
from service import Service, wait_until
from specification import assert_valid

WITHIN_S = 10.0  # what a dead worker was making is told to have failed


@pytest.fixture
def barrier() -> Iterator[Barrier]:
    barrier = Barrier()
    yield barrier
    barrier.release()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    """Two workers, for tests that kill none."""
    config = scripted_config(running_upstream.base_url)
    directory = tmp_path_factory.mktemp("pair")
    with Service(directory, config, environment=UPSTREAM_ENVIRONMENT, workers=2) as service:
        yield service


@pytest.fixture
def lines() -> Iterator[Lines]:
    with Lines() as lines:
        yield lines


Start = Callable[[], Service]


@pytest.fixture
def start(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Start]:
    """Makes services with two workers that are started; ends whatever is left of them."""
    made: list[Service] = []

    def make() -> Service:
        config = scripted_config(upstream.base_url)
        made.append(Service(tmp_path / str(len(made)), config, environment=UPSTREAM_ENVIRONMENT, workers=2))
        return made[-1].start().wait_ready()

    yield make
    for service in made:
        service.destroy()


def begin(line: Line, upstream: ScriptedUpstream, barrier: Barrier) -> dict[str, Any]:
    """A response in the background, made by the line's worker; it has said "Once upon " and waits at the barrier."""
    upstream.answer(saying("Once ", "upon ", "a time.", pause=[barrier]))
    response = response_of(line.request("POST", PATH, asked("A story!", background=True)))
    assert barrier.reached.wait(5)
    return response


def stored_events(line: Line, id: str, count: int) -> list[dict[str, Any]]:
    """The first events, as soon as another worker can tell so many; its line is used up by that."""
    exchange = line.send("GET", f"{PATH}/{id}?stream=true&include_obfuscation=false")
    events = read_events(exchange.events())
    return [next(events) for _ in range(count)]


# Two workers that live


def test_another_worker_tells_the_events_as_they_come(
    pair: Service, upstream: ScriptedUpstream, lines: Lines, barrier: Barrier
) -> None:
    maker, other = lines.to_each(pair)
    id = begin(maker, upstream, barrier)["id"]
    events = read_events(other.send("GET", f"{PATH}/{id}?stream=true&include_obfuscation=false").events())
    begun = [next(events) for _ in range(6)]
    assert begun[-1]["type"] == "response.output_text.delta"
    barrier.release()
    told = whole_stream([*begun, *events])
    for line in (maker, other):
        again = read_events(
            line.send("GET", f"{PATH}/{id}?stream=true&include_obfuscation=false&starting_after=4").events()
        )
        assert list(again) == told[5:]
        assert response_of(line.request("GET", f"{PATH}/{id}")) == told[-1]["response"]


def test_another_worker_tells_that_it_is_in_progress(
    pair: Service, upstream: ScriptedUpstream, lines: Lines, barrier: Barrier
) -> None:
    maker, other = lines.to_each(pair)
    id = begin(maker, upstream, barrier)["id"]
    assert wait_until(lambda: other.request("GET", f"{PATH}/{id}").json["status"] == "in_progress", 2)


def test_what_one_worker_has_told_the_other_goes_on_from(
    pair: Service, upstream: ScriptedUpstream, lines: Lines
) -> None:
    upstream.default(saying("Yes."))
    pairs = lines.to_each(pair)
    previous = None
    for turn in range(1, 9):
        body = asked(f"{turn}?", previous_response_id=previous)
        previous = response_of(pairs[turn % 2].request("POST", PATH, body))["id"]
        assert len(upstream.requests[-1].json["messages"]) == 2 * turn - 1


def test_another_worker_cancels(pair: Service, upstream: ScriptedUpstream, lines: Lines, barrier: Barrier) -> None:
    maker, other = lines.to_each(pair)
    id = begin(maker, upstream, barrier)["id"]
    stored_events(lines.to_other(pair, maker), id, 7)
    cancelled = response_of(other.request("POST", f"{PATH}/{id}/cancel", {}))
    assert cancelled["status"] == "cancelled"
    upstream.wait_closed(timeout_s=3)
    assert wait_until(lambda: len(usage_records(pair, id)) == 1, 2)
    assert usage_records(pair, id)[0]["outcome"] == "cancelled"
    barrier.release()
    time.sleep(0.3)  # for what comes late
    for line in (maker, other):
        assert response_of(line.request("GET", f"{PATH}/{id}")) == cancelled
    assert (output_text(cancelled), cancelled["output"][0]["status"]) == ("Once upon ", "incomplete")
    assert fold_events(whole_stream(resumed(pair, id), cancelled=True))["output"] == cancelled["output"]


def test_another_worker_cancels_what_a_server_thinks(
    pair: Service, upstream: ScriptedUpstream, lines: Lines, barrier: Barrier
) -> None:
    maker, other = lines.to_each(pair)
    thinking = native_answers.answering(native_answers.reasoning("Hm."), native_answers.message("x"), pause=[barrier])
    upstream.answer(thinking, path=native_answers.PATH)
    body = asked("A story!", background=True, model="gpt-5-native")
    id = response_of(maker.request("POST", PATH, body))["id"]
    assert barrier.reached.wait(5)
    stored_events(lines.to_other(pair, maker), id, 6)
    cancelled = response_of(other.request("POST", f"{PATH}/{id}/cancel", {}))
    assert cancelled["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert fold_events(whole_stream(resumed(pair, id), cancelled=True))["output"] == cancelled["output"]


def test_another_worker_deletes(pair: Service, upstream: ScriptedUpstream, lines: Lines, barrier: Barrier) -> None:
    maker, other = lines.to_each(pair)
    id = begin(maker, upstream, barrier)["id"]
    assert other.request("DELETE", f"{PATH}/{id}").status == 200
    upstream.wait_closed(timeout_s=3)
    assert wait_until(lambda: len(usage_records(pair, id)) == 1, 2)
    assert usage_records(pair, id)[0]["outcome"] == "cancelled"
    for line in (maker, other):
        assert line.request("GET", f"{PATH}/{id}").status == 404


# Workers that die


def assert_told_as_failed(service: Service, id: str, begun: list[dict[str, Any]]) -> None:
    """The response has failed, and its stream goes on from what was told before, to its end, wherever it is asked."""
    everything = whole_stream(resumed(service, id))
    assert everything[: len(begun)] == begun
    assert [event["type"] for event in everything].count("response.failed") == 1
    last = everything[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"
    assert last["response"] == retrieve(service, id)
    assert output_text(last["response"]).startswith("Once upon ")
    assert last["response"]["output"][0]["status"] == "incomplete"
    for after in range(len(begun) - 1, len(everything)):
        assert resumed(service, id, after) == everything[after + 1 :]


def assert_recorded_as_failed(service: Service, id: str) -> None:
    """Who found its maker dead knows no more of the usage than that each delta was a token."""
    everything = whole_stream(resumed(service, id))
    assert wait_until(lambda: bool(usage_records(service, id)), 3)
    [record] = usage_records(service, id)
    assert (record["outcome"], record["error_code"], record["endpoint"]) == ("failed", "server_error", "responses")
    deltas = sum(event["type"].endswith(".delta") for event in everything)
    assert (record["model"], record["output_tokens"]) == ("gpt-4.1", deltas)
    assert not record.get("tokens_known")
    assert record["duration_ms"] > 0


def test_what_a_killed_or_a_sleeping_worker_was_making_has_failed(
    start: Start, upstream: ScriptedUpstream, barrier: Barrier, lines: Lines
) -> None:
    """A stopped process looks dead to others; when it goes on, it adds nothing to what they have told."""
    service = start()
    killed, sleeping = lines.to_each(service)
    upstream.answer(saying(*"Once upon ", "a time.", pause=[barrier]))
    body = asked("A story!", background=True, stream=True, stream_options={"include_obfuscation": False})
    events = read_events(killed.send("POST", PATH, body).events())
    first_begun = [next(events) for _ in range(6)]
    first = first_begun[0]["response"]["id"]
    killed.worker.kill()  # while other events are about to be kept
    killed_at = time.monotonic()
    assert wait_until(lambda: len(service.workers()) == 2 and killed.worker not in service.workers(), 5)
    second = begin(sleeping, upstream, barrier)["id"]
    successor = next(line for line in lines.to_each(service) if line.worker != sleeping.worker)
    second_begun = stored_events(lines.to_other(service, sleeping), second, 6)
    os.kill(sleeping.worker.pid, signal.SIGSTOP)
    slept_at = time.monotonic()
    try:
        events = list(
            read_events(
                successor.send("GET", f"{PATH}/{first}?stream=true&include_obfuscation=false&starting_after=5").events()
            )
        )
        assert events[0]["sequence_number"] == 6
        assert time.monotonic() - killed_at < WITHIN_S
        assert events[-1]["type"] == "response.failed"
        assert wait_until(lambda: successor.request("GET", f"{PATH}/{second}").json["status"] == "failed", WITHIN_S)
        assert time.monotonic() - slept_at < WITHIN_S
        barrier.release()
    finally:
        os.kill(sleeping.worker.pid, signal.SIGCONT)
    time.sleep(1.5)  # it sees within a second that what it made is no longer its own
    assert_told_as_failed(service, first, first_begun)
    assert_recorded_as_failed(service, first)
    assert_told_as_failed(service, second, second_begun)
    [_] = usage_records(service, second)  # by who was quicker: who ended it, or its maker, who knows what it used
    upstream.answer(saying("Yes."))
    assert output_text(respond(service, "Again?")) == "Yes."
    service.stop()


def test_after_an_orderly_restart_everything_is_told(
    start: Start, upstream: ScriptedUpstream, barrier: Barrier, lines: Lines
) -> None:
    service = start()
    upstream.answer(saying("Yes."))
    done = ended(service, respond(service, "x", background=True)["id"])
    done_events = whole_stream(resumed(service, done["id"]))
    line = lines.to(service)
    running = begin(line, upstream, barrier)["id"]
    service.stop()
    service.start().wait_ready()
    assert retrieve(service, done["id"]) == done
    assert resumed(service, done["id"]) == done_events
    response = ended(service, running)
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert output_text(response) == "Once upon "
    assert whole_stream(resumed(service, running))[-1]["response"] == response
    [record] = usage_records(service, running)
    assert (record["outcome"], record["error_code"]) == ("failed", "service_stopping")
    service.stop()


def test_after_everything_was_killed_everything_is_told(
    start: Start, upstream: ScriptedUpstream, barrier: Barrier, lines: Lines
) -> None:
    service = start()
    upstream.answer(saying("Yes."))
    done = ended(service, respond(service, "x", background=True)["id"])
    done_events = whole_stream(resumed(service, done["id"]))
    maker, other = lines.to_each(service)
    running = begin(maker, upstream, barrier)["id"]
    begun = stored_events(other, running, 6)
    service.destroy()
    assert service.wait_gone(10) == []
    service.start().wait_ready()
    started_at = time.monotonic()
    assert retrieve(service, done["id"]) == done
    assert resumed(service, done["id"]) == done_events
    assert ended(service, running, timeout_s=WITHIN_S)["status"] == "failed"
    assert time.monotonic() - started_at < WITHIN_S
    assert_told_as_failed(service, running, begun)
    assert_recorded_as_failed(service, running)
    service.stop()


@pytest.fixture
def on_postgresql(
    postgresql: PostgreSQL, cleared_url: str, tmp_path: Path, upstream: ScriptedUpstream
) -> Iterator[Service]:
    """Two workers that keep their state there."""
    postgresql.clear(cleared_url)
    config = f'[storage]\ndatabase = "{cleared_url}"\n' + scripted_config(upstream.base_url)
    with Service(tmp_path / "service", config, environment=UPSTREAM_ENVIRONMENT, workers=2) as service:
        yield service


def test_a_stream_whose_database_goes_away_ends_in_an_error_event(
    on_postgresql: Service, postgresql: PostgreSQL, upstream: ScriptedUpstream, barrier: Barrier, lines: Lines
) -> None:
    maker, other = lines.to_each(on_postgresql)
    id = begin(maker, upstream, barrier)["id"]
    pieces = other.send("GET", f"{PATH}/{id}?stream=true&starting_after=1").events()
    begun = list(read_events(next(pieces) for _ in range(5)))
    postgresql.stop()
    try:
        *more, last = pieces
    finally:
        postgresql.start()
    name, data, *_ = last.decode().split("\n")
    error = assert_valid("ResponseErrorEvent", json.loads(data.removeprefix("data: ")))
    assert (name, error["type"], error["param"]) == ("event: error", "error", None)
    told = [event["sequence_number"] for event in [*begun, *read_events(more)]]
    assert told == list(range(2, 7 + len(more)))
    assert "database" in error["message"].lower()
    barrier.release()
    assert wait_until(lambda: other.request("GET", f"{PATH}/{id}").json.get("status") == "completed", WITHIN_S)
    missed = resumed(on_postgresql, id, error["sequence_number"])
    assert missed[0]["sequence_number"] == told[-1] + 1


def test_a_response_whose_end_cannot_be_kept_ends_in_an_error_event_in_place_of_it(
    on_postgresql: Service, postgresql: PostgreSQL, upstream: ScriptedUpstream, barrier: Barrier
) -> None:
    upstream.answer(saying("Once ", "upon ", "a time.", pause=[barrier]))
    with on_postgresql.send("POST", PATH, asked("A story!", stream=True)) as exchange:
        pieces = exchange.events()
        begun = list(read_events(next(pieces) for _ in range(5)))
        postgresql.stop()
        try:
            barrier.release()
            *more, last = pieces
        finally:
            postgresql.start()
    error = assert_valid("ResponseErrorEvent", json.loads(last.decode().split("\n")[1].removeprefix("data: ")))
    told = [*begun, *read_events(more), error]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


def test_an_end_that_the_database_does_not_take_is_kept_when_it_is_back(
    postgresql: PostgreSQL, cleared_url: str, tmp_path: Path, upstream: ScriptedUpstream, barrier: Barrier
) -> None:
    postgresql.clear(cleared_url)
    config = f'[storage]\ndatabase = "{cleared_url}"\n' + scripted_config(upstream.base_url)
    with Service(tmp_path / "service", config, environment=UPSTREAM_ENVIRONMENT) as service:
        upstream.answer(saying("Once ", "upon ", "a time.", pause=[barrier]))
        id = respond(service, "A story!", background=True)["id"]
        assert barrier.reached.wait(5)
        postgresql.stop()
        try:
            barrier.release()
            assert wait_until(lambda: "background_response_not_kept" in service.log_text(), 5)
        finally:
            postgresql.start()
        response = ended(service, id)
        assert (response["status"], output_text(response)) == ("completed", "Once upon a time.")
        assert whole_stream(resumed(service, id))[-1]["response"] == response
        [record] = usage_records(service, id)
        assert record["outcome"] == "completed"


def test_what_a_worker_used_is_recorded_before_its_end_is_kept(
    on_postgresql: Service, postgresql: PostgreSQL, upstream: ScriptedUpstream, barrier: Barrier, lines: Lines
) -> None:
    """A worker that dies between the two: who ends the response instead does not know what was used."""
    maker, other = lines.to_each(on_postgresql)
    upstream.answer(saying("Once ", "upon ", "a time.", pause=[barrier]))
    id = maker.request("POST", PATH, asked("A story!", background=True)).json["id"]
    assert barrier.reached.wait(5)
    postgresql.stop()
    try:
        barrier.release()
        assert wait_until(lambda: "background_response_not_kept" in on_postgresql.log_text(), 5)
        maker.worker.kill()
    finally:
        postgresql.start()
    assert wait_until(lambda: other.request("GET", f"{PATH}/{id}").json["status"] == "failed", WITHIN_S)
    assert wait_until(lambda: "background_response_orphaned" in on_postgresql.log_text(), 5)
    time.sleep(2)  # the record of who ended it is moved as well
    [record] = usage_records(on_postgresql, id)
    assert (record["outcome"], record["tokens_known"], record["output_tokens"]) == (
        "completed",
        True,
        len("Once upon a time."),
    )
