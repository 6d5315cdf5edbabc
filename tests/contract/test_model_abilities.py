"""What only some models can: think before they answer, fill in the middle. And what the others say to that."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service import Service
from specification import assert_valid

TEMPLATE = Path(__file__).with_name("think.jinja")
MIDDLE = {"pre": 3, "suf": 4, "mid": 5}  # any tokens: the model was not trained for it, only its file says so
ASKED: list[Any] = [{"role": "user", "content": "What is 2 + 2?"}]
THOUGHTS = ["choices[].message.reasoning_content", "choices[].delta.reasoning_content"]


def with_middle_tokens(source: Path, target: Path) -> Path:
    """A copy of a model's file that names tokens for filling in the middle; its other bytes stay as they are."""
    weights = source.read_bytes()
    version, tensors, keys = struct.unpack_from("<IQQ", weights, 4)
    named = [(f"tokenizer.ggml.fim_{place}_token_id".encode(), token) for place, token in MIDDLE.items()]
    added = b"".join(struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, token) for key, token in named)
    filler = b"general.comment"
    missing = -(len(added) + 8 + len(filler) + 4 + 8) % 32  # the weights must stay aligned
    added += struct.pack("<Q", len(filler)) + filler + struct.pack("<IQ", 8, missing) + b" " * missing
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys + len(named) + 1)
    target.write_bytes(head + added + weights[24:])
    return target


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("abilities")
    infiller = with_middle_tokens(model_path, directory / "infiller.gguf")
    config = f"""
[[models]]
id = "thinker"
source = "{model_path}"
chat_template = "{TEMPLATE}"
context = 512
slots = 2
[[models]]
id = "infiller"
source = "{infiller}"
context = 512
slots = 2
"""
    with Service(directory / "service", config) as service:
        yield service


def ask(service: Service, **fields: Any) -> dict[str, Any]:
    body = {"model": "thinker", "messages": ASKED, "temperature": 0, "max_tokens": 24, **fields}
    reply = service.post("/v2/chat/completions", body)
    assert reply.status == 200, reply.body
    return assert_valid("CreateChatCompletionResponse", reply.json, undeclared=THOUGHTS)


def test_a_model_that_thinks_shows_its_thoughts_beside_the_answer_and_counts_them(service: Service) -> None:
    answer = ask(service, reasoning_effort="high")
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"]
    assert "<think>" not in message["reasoning_content"] + message["content"]
    used = answer["usage"]
    assert 0 < used["completion_tokens_details"]["reasoning_tokens"] <= used["completion_tokens"]


def test_the_thoughts_are_streamed_as_they_come(service: Service) -> None:
    stream = service.client().chat.completions.create(
        model="thinker",
        messages=ASKED,
        temperature=0,
        max_tokens=24,
        stream=True,
        reasoning_effort="high",
        stream_options={"include_usage": True},
    )
    *chunks, last = [chunk.model_dump(exclude_unset=True) for chunk in stream]
    for chunk in chunks:
        assert_valid("CreateChatCompletionStreamResponse", chunk, undeclared=THOUGHTS)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    whole = ask(service, reasoning_effort="high")
    thoughts = [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta]
    assert "".join(thoughts) == whole["choices"][0]["message"]["reasoning_content"]
    assert len(thoughts) > 1
    details = last["usage"]["completion_tokens_details"]
    assert details == whole["usage"]["completion_tokens_details"]


@pytest.mark.parametrize(
    "fields",
    [{"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}],
    ids=["effort", "own"],
)
def test_a_model_that_shall_not_think_answers_at_once(service: Service, fields: dict[str, Any]) -> None:
    answer = ask(service, **fields)
    assert "reasoning_content" not in answer["choices"][0]["message"]
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_a_form_is_held_to_whether_it_shall_think_or_not(service: Service) -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    choice = ask(service, reasoning_effort="high", tools=[tool], tool_choice="required", parallel_tool_calls=False)[
        "choices"
    ][0]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert choice["finish_reason"] == "tool_calls"


def test_thoughts_that_clients_send_back_are_in_the_prompt(service: Service) -> None:
    def prompt_tokens(**fields: Any) -> int:
        messages = [*ASKED, {"role": "assistant", "content": "4", **fields}, *ASKED]
        return ask(service, messages=messages, max_tokens=1)["usage"]["prompt_tokens"]

    assert prompt_tokens(reasoning_content="Two and two make four") > prompt_tokens()


def test_a_suffix_is_in_the_prompt_of_a_model_that_can_fill_in(service: Service) -> None:
    def complete(**fields: Any) -> dict[str, Any]:
        body = {"model": "infiller", "max_tokens": 4, "temperature": 0, **fields}
        reply = service.post("/v2/completions", body)
        assert reply.status == 200, reply.body
        return assert_valid("CreateCompletionResponse", reply.json)

    def tokens(prompt: str) -> int:
        return complete(prompt=prompt)["usage"]["prompt_tokens"]

    before, after = "def add(a, b):", "return c"
    filled = complete(prompt=before, suffix=after)
    assert filled["usage"]["prompt_tokens"] == tokens(before) + tokens(after) + len(MIDDLE)
    ids = [MIDDLE["pre"], *token_ids(service, before), MIDDLE["suf"], *token_ids(service, after), MIDDLE["mid"]]
    assert complete(prompt=ids)["choices"][0]["text"] == filled["choices"][0]["text"]
    echoed = complete(prompt=before, suffix=after, echo=True)["choices"][0]["text"]
    assert echoed == before + filled["choices"][0]["text"]


def token_ids(service: Service, text: str) -> list[int]:
    return service.ask_engine("infiller", "/tokenize", {"content": text})["tokens"]
