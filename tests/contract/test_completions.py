"""Completions of the embedded model: raw text in, raw text out, no chat template between."""

from typing import Any

import openai
import pytest

from service import Service
from specification import assert_valid, assert_valid_stream

MODEL = "SmolLM2-135M-Instruct"
ALIAS = "Llama-3.3-70B-Instruct"


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize("model", [MODEL, ALIAS])
def test_a_completion_is_answered_under_the_name_that_was_asked(embedded: Service, base: str, model: str) -> None:
    body = {"model": model, "prompt": "Once upon a time", "stream": False, "temperature": 0.2, "max_tokens": 16}
    reply = embedded.post(f"{base}/completions", body)
    assert reply.status == 200, reply.body
    answer = assert_valid("CreateCompletionResponse", reply.json)
    assert answer["model"] == model
    assert answer["choices"][0]["text"].strip()
    assert reply.headers["x-request-id"]


def test_the_text_is_continued_without_a_template(embedded_client: openai.OpenAI) -> None:
    completion = embedded_client.completions.create(
        model=MODEL, prompt="1, 2, 3, 4, 5, 6, 7,", temperature=0, max_tokens=2
    )
    assert completion.choices[0].text.startswith(" 8")
    assert completion.usage is not None
    chat = embedded_client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "word"}], max_tokens=1
    )
    bare = embedded_client.completions.create(model=MODEL, prompt="word", max_tokens=1)
    assert bare.usage is not None
    assert bare.usage.prompt_tokens <= 2
    assert chat.usage is not None
    assert chat.usage.prompt_tokens > bare.usage.prompt_tokens + 5


def test_the_default_length_is_openais_sixteen_tokens(embedded: Service) -> None:
    answer = embedded.post("/v2/completions", {"model": MODEL, "prompt": "Once upon a time, there was"}).json
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_of_text_has_openais_order(embedded: Service, usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    body = {"model": ALIAS, "prompt": "Once upon a time", "max_tokens": 12, "stream": True, **options}
    with embedded.send("POST", "/v2/completions", body) as reply:
        assert reply.status == 200
        chunks = assert_valid_stream("completions", list(reply.events()), usage=usage)
    assert len(chunks) > 3
    assert {chunk["model"] for chunk in chunks} == {ALIAS}
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"]).strip()


def test_the_official_sdk_streams_text(embedded_client: openai.OpenAI) -> None:
    stream = embedded_client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=12, stream=True)
    texts = [chunk.choices[0].text for chunk in stream]
    assert len(texts) > 3
    assert "".join(texts).strip()


def test_each_of_several_prompts_has_its_choice(embedded: Service) -> None:
    body = {"model": MODEL, "prompt": ["1, 2, 3, 4, 5, 6, 7,", "Once upon a time"], "temperature": 0, "max_tokens": 2}
    answer = assert_valid("CreateCompletionResponse", embedded.post("/v2/completions", body).json)
    choices = {choice["index"]: choice["text"] for choice in answer["choices"]}
    assert sorted(choices) == [0, 1]
    assert choices[0].startswith(" 8")


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_context_is_refused_before_any_header(embedded: Service, stream: bool) -> None:
    reply = embedded.post("/v2/completions", {"model": MODEL, "prompt": "far too long " * 16_000, "stream": stream})
    assert reply.status == 400
    error = assert_valid("ErrorResponse", reply.json)["error"]
    assert (error["param"], error["code"]) == ("prompt", "context_length_exceeded")
