"""The Responses API as the official package uses it: the mission's programs, streams, tools, formats, limits."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from responding import PATH, asked, calling, error_of, output_text, respond, response_of, saying, streamed
from scripted_answers import DONE, chat_events, event, json_answer, sse_answer
from scripted_upstream import ScriptedUpstream
from service import Service
from specification import assert_valid

OPEN_MODEL = "SmolLM2-135M-Instruct"
STORY = "Write a one-sentence bedtime story about a unicorn."
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CHAT_WEATHER = {
    "type": "function",
    "function": {name: WEATHER[name] for name in ("name", "description", "parameters")} | {"strict": True},
}


def print_output_text(model: str) -> None:
    """The mission's first program."""
    client = openai.OpenAI()
    response = client.responses.create(model=model, input=STORY)
    print(response.output_text)  # noqa: T201 - the program does
    client.close()


def print_first_part(model: str) -> None:
    """The mission's second program."""
    client = openai.OpenAI()
    response: Any = client.responses.create(
        model=model,
        instructions="You are a coding assistant that talks like a pirate.",
        input="How do I check if a Python object is an instance of a class?",
        temperature=0.7,
        max_output_tokens=64,
    )
    print(response.output[0].content[0].text)  # noqa: T201 - the program does
    client.close()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Service], None]:
    """Says where the official package finds a service: in its two variables."""

    def say(service: Service) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", service.key)

    return say


@pytest.mark.parametrize("program", [print_output_text, print_first_part])
def test_the_missions_programs_print_the_text_of_the_embedded_model(
    embedded: Service,
    use: Callable[[Service], None],
    capsys: pytest.CaptureFixture[str],
    program: Callable[[str], None],
) -> None:
    use(embedded)
    program(OPEN_MODEL)
    assert len(capsys.readouterr().out.split()) > 3


@pytest.mark.parametrize("program", [print_output_text, print_first_part])
def test_the_missions_programs_print_the_text_of_a_bought_model(
    scripted: Service,
    upstream: ScriptedUpstream,
    use: Callable[[Service], None],
    capsys: pytest.CaptureFixture[str],
    program: Callable[[str], None],
) -> None:
    upstream.default(saying("Once upon a time, ", "arr 🦄."))
    use(scripted)
    program("gpt-4.1")
    assert capsys.readouterr().out == "Once upon a time, arr 🦄.\n"


def test_the_upstream_is_asked_what_the_request_says(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Hello."))
    respond(scripted, STORY)
    respond(scripted, "Hi.", instructions="Be brief.", temperature=0.7, top_p=0.5, max_output_tokens=64, user="someone")
    first, second = (request.json for request in upstream.requests)
    assert first == {"model": "gpt-4.1-2025-04-14", "messages": [{"role": "user", "content": STORY}]}
    assert second == first | {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}],
        "temperature": 0.7,
        "top_p": 0.5,
        "max_completion_tokens": 64,
        "user": "someone",
    }


def test_a_response_shows_what_was_asked_and_what_was_used(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying("Hello."))
    fields = {"instructions": "Be brief.", "temperature": 0.5, "max_output_tokens": 64, "metadata": {"ticket": "7"}}
    response = respond(scripted, "Hi.", **fields)
    assert {name: response[name] for name in fields} == fields
    assert (response["status"], response["error"], response["incomplete_details"]) == ("completed", None, None)
    assert (response["model"], response["background"], response["store"]) == ("gpt-4.1", False, True)
    [message] = response["output"]
    assert message["id"].startswith("msg_")
    assert (message["role"], message["status"], output_text(response)) == ("assistant", "completed", "Hello.")
    usage = response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (9, 6, 15)
    assert response["completed_at"] >= response["created_at"]


def test_a_stream_amounts_to_the_response_that_is_kept(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.answer(saying("Grü", "ezi", " 🙂", reasoning="They greet."))
    events = streamed(scripted, "Hi.")
    response = events[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert output_text(response) == "Grüezi 🙂"
    assert response_of(scripted.request("GET", f"{PATH}/{response['id']}")) == response


def test_the_deltas_of_a_stream_are_padded_unless_the_client_says_no(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    upstream.default(saying("Grü", "ezi"))
    for options, padded in (({}, True), ({"stream_options": {"include_obfuscation": False}}, False)):
        deltas = [event for event in streamed(scripted, "Hi.", **options) if event["type"].endswith(".delta")]
        assert len(deltas) == 2
        assert {"obfuscation" in delta for delta in deltas} == {padded}
        assert {(len(delta["delta"]) + len(delta.get("obfuscation", ""))) % 16 for delta in deltas} == (
            {0} if padded else {3}
        )


def test_the_streaming_helper_of_the_official_package(
    scripted_client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.answer(saying("Once ", "upon ", "a time."))
    with scripted_client.responses.stream(model="gpt-4.1", input=STORY) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "Once upon a time."
    assert kinds.count("response.output_text.delta") == 3
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_the_embedded_model_streams(embedded: Service) -> None:
    events = streamed(embedded, STORY, model=OPEN_MODEL, max_output_tokens=16, temperature=0)
    response = events[-1]["response"]
    assert len([event for event in events if event["type"] == "response.output_text.delta"]) > 3
    assert response["usage"]["output_tokens"] <= 16
    assert response["model"] == OPEN_MODEL


class Person(BaseModel):
    name: str
    age: int


def test_parse_gives_a_pydantic_model(scripted_client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.default(saying('{"name": "Ada",', ' "age": 36}'))
    parsed = scripted_client.responses.parse(model="gpt-4.1", input="Ada is 36.", text_format=Person)
    assert parsed.output_parsed == Person(name="Ada", age=36)
    with scripted_client.responses.stream(model="gpt-4.1", input="Ada is 36.", text_format=Person) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_parsed == Person(name="Ada", age=36)
    for request in upstream.requests:
        asked_for = request.json["response_format"]["json_schema"]
        assert (asked_for["name"], asked_for["strict"]) == ("Person", True)
        assert asked_for["schema"] == Person.model_json_schema() | {"additionalProperties": False}


def test_parse_gives_a_pydantic_model_of_the_embedded_model(embedded_client: openai.OpenAI) -> None:
    parsed = embedded_client.responses.parse(
        model=OPEN_MODEL, input="Ada is 36.", text_format=Person, temperature=0, max_output_tokens=64
    )
    assert isinstance(parsed.output_parsed, Person)


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": False}},
        ),
    ],
    ids=lambda value: value["type"] if value else "",
)
def test_the_format_of_the_text_is_asked_for_and_shown(
    scripted: Service, upstream: ScriptedUpstream, format: dict[str, Any], expected: object
) -> None:
    upstream.answer(saying("{}"))
    response = respond(scripted, "Answer with JSON.", text={"format": format})
    assert upstream.requests[0].json.get("response_format") == expected
    shown = response["text"]["format"]
    assert {name: shown[name] for name in format} == format


def test_calls_are_items_of_their_own(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(calling(("call_a", "weather", '{"city":"Bern"}'), ("call_b", "weather", '{"city":"Genf"}')))
    whole = respond(scripted, "Weather?", tools=[WEATHER], parallel_tool_calls=True, tool_choice="required")
    told = streamed(scripted, "Weather?", tools=[WEATHER], parallel_tool_calls=True, tool_choice="required")
    for response in (whole, told[-1]["response"]):
        assert [(item["type"], item["call_id"], item["arguments"]) for item in response["output"]] == [
            ("function_call", "call_a", '{"city":"Bern"}'),
            ("function_call", "call_b", '{"city":"Genf"}'),
        ]
        assert len({item["id"] for item in response["output"]}) == 2
        assert response["tool_choice"] == "required"
    for request in upstream.requests:
        assert request.json["tools"] == [CHAT_WEATHER]
        assert (request.json["parallel_tool_calls"], request.json["tool_choice"]) == (True, "required")


def test_the_embedded_model_calls_when_it_must(embedded: Service) -> None:
    fields = {"model": OPEN_MODEL, "tools": [WEATHER], "tool_choice": "required", "temperature": 0}
    [call] = respond(embedded, "What is the weather in Bern?", **fields, parallel_tool_calls=False)["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "weather", "completed")
    assert set(json.loads(call["arguments"])) == {"city"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_says_why(
    scripted: Service, upstream: ScriptedUpstream, finish_reason: str, reason: str, stream: bool
) -> None:
    upstream.answer(saying("Once upon", finish_reason=finish_reason))
    if stream:
        *_, last = streamed(scripted, STORY, max_output_tokens=16)
        assert last["type"] == "response.incomplete"
        response = last["response"]
    else:
        response = respond(scripted, STORY, max_output_tokens=16)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["output"][0]["status"] == "incomplete"
    assert response["completed_at"] is None
    assert output_text(response) == "Once upon"


def test_the_length_limit_of_the_embedded_model_is_exact(embedded: Service) -> None:
    response = respond(embedded, "Tell me a long story.", model=OPEN_MODEL, max_output_tokens=16, temperature=0)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["usage"]["output_tokens"] == 16


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_included_when_they_are_asked_for(embedded: Service, stream: bool) -> None:
    fields: dict[str, Any] = {"model": OPEN_MODEL, "max_output_tokens": 16, "temperature": 0}
    fields |= {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    response = streamed(embedded, STORY, **fields)[-1]["response"] if stream else respond(embedded, STORY, **fields)
    logprobs = response["output"][0]["content"][0]["logprobs"]
    assert len(logprobs) == 16
    assert "".join(entry["token"] for entry in logprobs) == output_text(response)
    assert {len(entry["top_logprobs"]) for entry in logprobs} == {2}
    assert response["top_logprobs"] == 2
    without = respond(embedded, STORY, model=OPEN_MODEL, max_output_tokens=16)
    assert without["output"][0]["content"][0]["logprobs"] == []


REQUESTS: dict[str, dict[str, Any]] = {
    "a text": {"input": "How are you?"},
    "instructions": {"input": "How are you?", "instructions": "Talk like a pirate."},
    "items": {
        "input": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Grüezi 🙂"}]},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "And now?"},
        ]
    },
    "tools": {"input": "Weather in Bern?", "tools": [WEATHER], "tool_choice": "required", "max_output_tokens": 64},
    "a format": {"input": "Ada?", "text": {"format": {"type": "json_object"}}},
}


@pytest.mark.parametrize("request_name", REQUESTS)
def test_input_tokens_are_counted_exactly(embedded: Service, request_name: str) -> None:
    fields = {"model": OPEN_MODEL, "max_output_tokens": 16} | REQUESTS[request_name]
    told = embedded.post(f"{PATH}/input_tokens", {k: v for k, v in fields.items() if k != "max_output_tokens"})
    assert told.status == 200, told.body
    counted = assert_valid("TokenCountsResource", told.json)["input_tokens"]
    assert counted == response_of(embedded.post(PATH, fields))["usage"]["input_tokens"]


def test_input_tokens_include_what_was_said_before(embedded: Service) -> None:
    first = respond(embedded, "My name is Ada.", model=OPEN_MODEL, max_output_tokens=16)
    body = {"model": OPEN_MODEL, "input": "Who am I?", "previous_response_id": first["id"]}
    counted = embedded.post(f"{PATH}/input_tokens", body).json["input_tokens"]
    assert counted == response_of(embedded.post(PATH, body | {"max_output_tokens": 16}))["usage"]["input_tokens"]
    assert counted > first["usage"]["total_tokens"]


OLD_TURN = [{"role": "user", "content": "far too long " * 1_000}, {"role": "assistant", "content": "Really?"}]
TURN = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
QUESTION = {"role": "user", "content": "What was that about?"}


@pytest.mark.parametrize("truncation", [None, "disabled"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_context_that_overflows_is_refused(embedded: Service, truncation: str | None, stream: bool) -> None:
    fields = asked([*OLD_TURN, QUESTION], model=OPEN_MODEL, max_output_tokens=16, truncation=truncation, stream=stream)
    error = error_of(embedded.post(PATH, fields), 400)
    assert (error["param"], error["code"]) == ("input", "context_length_exceeded")
    assert error["message"].startswith("This model's maximum context length is 2048 tokens. However, your input")


def test_truncation_drops_whole_turns_from_the_front(embedded: Service) -> None:
    fields = {"model": OPEN_MODEL, "max_output_tokens": 16}
    response = respond(embedded, [*OLD_TURN, *TURN, QUESTION], **fields, truncation="auto")
    assert response["usage"]["input_tokens"] == respond(embedded, [*TURN, QUESTION], **fields)["usage"]["input_tokens"]
    assert response["truncation"] == "auto"


def test_one_turn_that_is_too_long_is_refused_with_truncation_too(embedded: Service) -> None:
    reply = embedded.post(PATH, asked("far too long " * 1_000, model=OPEN_MODEL, truncation="auto"))
    assert error_of(reply, 400)["code"] == "context_length_exceeded"


def test_truncation_keeps_instructions_and_calls_with_their_results(
    scripted: Service, upstream: ScriptedUpstream
) -> None:
    message = "This model's maximum context length is 100 tokens. However, your messages resulted in 150 tokens."
    body = {"error": {"message": message, "type": "invalid_request_error", "param": "messages"}}
    body["error"]["code"] = "context_length_exceeded"
    upstream.answer(json_answer(body, status=400), saying("Fine."))
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "rain"}
    items = [*OLD_TURN, {"role": "user", "content": "Weather?"}, call, output, {"role": "user", "content": "And?"}]
    respond(scripted, items, instructions="Be brief.", truncation="auto", tools=[WEATHER])
    first, second = (request.json["messages"] for request in upstream.requests)
    assert [entry["role"] for entry in first] == ["system", "user", "assistant", "user", "assistant", "tool", "user"]
    assert second == [first[0], *first[3:]]


def test_what_was_refused_in_words_is_shown_as_a_refusal(scripted: Service, upstream: ScriptedUpstream) -> None:
    events = [json.loads(data.removeprefix(b"data: ")) for data in chat_events(["No."], usage_asked=True)]
    events[1]["choices"][0]["delta"] = {"refusal": "No."}
    upstream.answer(sse_answer([*(event(data) for data in events), DONE]))
    [message] = streamed(scripted, "Do harm.")[-1]["response"]["output"]
    assert message["content"] == [{"type": "refusal", "refusal": "No."}]


def test_an_answer_without_words_still_has_a_part_to_read(scripted: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(saying(""))
    assert respond(scripted, "Hi.")["output"][0]["content"][0]["text"] == ""
    assert streamed(scripted, "Hi.")[-1]["response"]["output"][0]["content"][0]["text"] == ""
