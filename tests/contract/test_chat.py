"""Chat completions of the embedded model, as the official SDK and a plain HTTP client see them."""

import asyncio
import json
import time
from typing import Any

import openai
import pytest

from service import Service
from specification import assert_valid, assert_valid_stream

MODEL = "SmolLM2-135M-Instruct"
ALIAS = "Llama-3.3-70B-Instruct"
MESSAGES: Any = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Name three colours."},
]
STORY: Any = [{"role": "user", "content": "Tell me a long story about a dragon."}]
HUGE: Any = [{"role": "user", "content": "far too long " * 16_000}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": MESSAGES, "max_tokens": 8} | fields


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize("model", [MODEL, ALIAS])
def test_a_chat_is_answered_under_the_name_that_was_asked(embedded: Service, base: str, model: str) -> None:
    body = chat(model=model, temperature=0.1, max_tokens=24, top_p=0.9)
    reply = embedded.post(f"{base}/chat/completions", body)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/json"
    answer = assert_valid("CreateChatCompletionResponse", reply.json)
    assert answer["model"] == model
    assert answer["choices"][0]["message"]["content"].strip()
    usage = answer["usage"]
    assert 0 < usage["completion_tokens"] <= 24
    assert usage["prompt_tokens"] > 10
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert abs(answer["created"] - time.time()) < 60


def test_the_official_sdk_needs_only_its_two_variables(embedded: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", embedded.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", embedded.key)
    with openai.OpenAI() as client:
        answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8)
        assert answer.choices[0].message.content
        assert answer._request_id
        completion = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8)
        assert completion.choices[0].text
        stream = client.chat.completions.create(model=ALIAS, messages=MESSAGES, max_tokens=8, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert MODEL in {model.id for model in client.models.list()}
        assert client.models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_has_openais_order_and_its_usage_only_when_asked(embedded: Service, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    with embedded.send("POST", "/v2/chat/completions", chat(model=ALIAS, stream=True, **options)) as reply:
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-request-id"]
        chunks = assert_valid_stream("chat", list(reply.events()), usage=usage)
    assert len(chunks) > 3
    assert {chunk["model"] for chunk in chunks} == {ALIAS}
    content = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert content.strip()
    if usage:
        assert 0 < chunks[-1]["usage"]["completion_tokens"] <= 8


def test_the_first_chunk_comes_long_before_the_last(embedded_client: openai.OpenAI) -> None:
    asked_at = time.monotonic()
    stream = embedded_client.chat.completions.create(model=MODEL, messages=STORY, max_tokens=96, stream=True)
    arrivals = [time.monotonic() - asked_at for chunk in stream if chunk.choices[0].delta.content]
    assert len(arrivals) > 40
    assert arrivals[0] < arrivals[-1] / 2


async def test_the_asynchronous_sdk_streams(embedded: Service) -> None:
    async with embedded.async_client() as client:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, stream=True)
        deltas = [chunk.choices[0].delta.content async for chunk in stream]
    assert len(deltas) > 3
    assert "".join(delta or "" for delta in deltas).strip()


async def test_sixteen_streams_are_decoded_together(embedded: Service) -> None:
    finished: list[str | None] = []

    async def tell(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model=MODEL, messages=STORY, max_tokens=32, stream=True)
        reasons = [chunk.choices[0].finish_reason async for chunk in stream]
        finished.append(reasons[-1])

    async def most_busy_slots(streams: asyncio.Future[Any]) -> int:
        most = 0
        while not streams.done() and most < 16:
            most = max(most, await asyncio.to_thread(embedded.busy_slots, MODEL))
        return most

    async with embedded.async_client() as client:
        streams = asyncio.gather(*(tell(client) for _ in range(16)))
        assert await most_busy_slots(streams) == 16
        await streams
    assert len(finished) == 16
    assert set(finished) <= {"stop", "length"}


def test_the_length_limit_is_kept_and_named(embedded: Service) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        body = {"model": MODEL, "messages": STORY, field: 5}
        answer = assert_valid("CreateChatCompletionResponse", embedded.post("/v2/chat/completions", body).json)
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 5


def test_the_answer_ends_before_a_stop_sequence(embedded: Service) -> None:
    body = {"model": MODEL, "messages": STORY, "max_tokens": 64, "temperature": 0}
    whole = embedded.post("/v2/chat/completions", body).json["choices"][0]["message"]["content"]
    stop = whole.split()[4]
    choice = embedded.post("/v2/chat/completions", body | {"stop": [stop]}).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert stop not in choice["message"]["content"]


def test_temperature_zero_ignores_the_seed_and_a_high_one_does_not(embedded: Service) -> None:
    def answers(temperature: float) -> set[str]:
        bodies = [chat(messages=STORY, temperature=temperature, seed=seed, max_tokens=12) for seed in (1, 2, 3)]
        return {embedded.post("/v2/chat/completions", body).json["choices"][0]["message"]["content"] for body in bodies}

    assert len(answers(0)) == 1
    assert len(answers(2)) > 1


def test_several_choices_are_numbered(embedded: Service) -> None:
    answer = assert_valid("CreateChatCompletionResponse", embedded.post("/v2/chat/completions", chat(n=2)).json)
    assert sorted(choice["index"] for choice in answer["choices"]) == [0, 1]


def test_content_may_be_given_in_parts(embedded: Service) -> None:
    parts = [{"type": "text", "text": "Name a "}, {"type": "text", "text": "colour."}]
    reply = embedded.post("/v2/chat/completions", chat(messages=[{"role": "user", "content": parts}]))
    assert_valid("CreateChatCompletionResponse", reply.json)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_context_is_refused_before_any_header(embedded: Service, stream: bool) -> None:
    reply = embedded.post("/v2/chat/completions", chat(messages=HUGE, stream=stream))
    assert reply.status == 400
    error = assert_valid("ErrorResponse", reply.json)["error"]
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        "messages",
        "context_length_exceeded",
    )
    assert error["message"].startswith("This model's maximum context length is 2048 tokens. However, your messages")


def test_every_answer_has_a_request_id_of_its_own(embedded: Service) -> None:
    replies = [
        embedded.post("/v2/chat/completions", chat(max_tokens=1)),
        embedded.post("/v2/chat/completions", chat(max_tokens=1, stream=True)),
        embedded.post("/v2/completions", {"model": MODEL, "prompt": "a", "max_tokens": 1}),
        embedded.request("GET", "/v2/models"),
        embedded.request("GET", f"/v2/models/{MODEL}"),
        embedded.request("GET", "/v2/models/unknown"),
        embedded.request("GET", "/v2/chat/completions"),
        embedded.request("GET", "/v2/unknown"),
        embedded.request("GET", "/nowhere"),
        embedded.post("/v2/chat/completions", b"{"),
        embedded.post("/v2/chat/completions", {}, key=None),
        embedded.request("GET", "/health/live", key=None),
        embedded.request("GET", "/health/ready", key=None),
    ]
    assert [reply.status for reply in replies] == [200] * 5 + [404, 405, 404, 404, 400, 401, 200, 200]
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert len(set(ids)) == len(ids)


def test_the_conversation_leaves_no_trace_on_disk(embedded: Service) -> None:
    words = {"secretword": "zyxwvutsrq", "system": "qqprompt"}
    messages = [{"role": "system", "content": words["system"]}, {"role": "user", "content": words["secretword"]}]
    embedded.post("/v2/chat/completions", chat(messages=messages))
    embedded.post("/v2/chat/completions", chat(messages=messages, temperature=9))
    embedded.post("/v2/chat/completions", json.dumps(chat(messages=messages)).encode() + b"}")
    for file in embedded.directory.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(word.encode() in content for word in words.values()), file
