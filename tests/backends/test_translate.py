"""The engine's stream becomes OpenAI's, or one body that is the fold of it, however it is cut on its way."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.played import CUTS, MODEL, Played, Refused, call, cut, refused, run
from fundament.backends.call import Call
from fundament.backends.refusal import ENGINE_BROKE
from fundament.backends.translate import TranslatedAnswer
from fundament.errors import RequestError, ServerFailure, UpstreamFailure, UpstreamTimeout
from scripted_answers import DONE
from specification import assert_valid, read_sse

# What llama.cpp's server sends, field by field as it was recorded.

ENGINE = {"created": 1, "id": "chatcmpl-engine", "model": "/weights/model.gguf", "system_fingerprint": "b0-unknown"}


def engine_chunk(made: int | None = None, **fields: Any) -> bytes:
    """A chunk as it comes; `made` is how many tokens the choice has by now."""
    timings = {} if made is None else {"timings": {"cache_n": 0, "predicted_n": made}}
    return b"data: %b\n\n" % json.dumps({**fields, **ENGINE, **timings}).encode()


def chat_choice(index: int, finish: str | None = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    rest = {} if logprobs is None else {"logprobs": logprobs}
    return {"finish_reason": finish, "index": index, "delta": delta, **rest}


def text_choice(index: int, text: str, finish: str | None = None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def engine_usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def token(text: str) -> dict[str, Any]:
    known = {"id": 7, "token": text, "bytes": list(text.encode()), "logprob": -0.5}
    return {**known, "top_logprobs": [known, {**known, "logprob": -1.5}]}


def progress(kind: str, index: int, total: int) -> list[bytes]:
    choice = chat_choice(index, role="assistant", content=None) if kind == "chat" else text_choice(index, "")
    return [
        engine_chunk(choices=[choice], prompt_progress={"total": total, "cache": 0, "processed": done, "time_ms": 1})
        for done in (0, total)
    ]


def one_choice(
    kind: str, index: int, prompt: int, texts: Sequence[str], finish: str = "stop", *, logprobs: bool = False
) -> list[bytes]:
    """The chunks of one choice, in their order."""
    chunks = progress(kind, index, prompt)
    used = engine_usage(prompt, len(texts))
    if kind == "completions":
        chunks += [engine_chunk(made, choices=[text_choice(index, text)]) for made, text in enumerate(texts, 1)]
        return [*chunks, engine_chunk(choices=[text_choice(index, "", finish)], usage=used)]
    chunks.append(engine_chunk(choices=[chat_choice(index, role="assistant", content=None)]))
    for made, text in enumerate(texts, 1):
        known = {"content": [token(text)]} if logprobs else None
        chunks.append(engine_chunk(made, choices=[chat_choice(index, logprobs=known, content=text)]))
    # These two come together: the second does not say whose it is.
    return [*chunks, engine_chunk(choices=[chat_choice(index, finish)]) + engine_chunk(choices=[], usage=used)]


def woven(streams: list[list[bytes]], order: Sequence[int]) -> bytes:
    """Several choices decoded together: their chunks come in any order, each choice's own in its order."""
    left = [list(stream) for stream in streams]
    chunks: list[bytes] = []
    position = 0
    while any(left):
        alive = [stream for stream in left if stream]
        turn = order[position % len(order)] if order else 0
        chunks.append(alive[turn % len(alive)].pop(0))
        position += 1
    return b"".join([*chunks, DONE])


@st.composite
def engine_answers(draw: st.DrawFn) -> tuple[bytes, Call, dict[str, int]]:
    """What an engine sends for a call, the call, and the usage that is right."""
    kind = draw(st.sampled_from(["chat", "completions"]))
    n = draw(st.integers(1, 3))
    prompts = [draw(st.integers(1, 50)) for _ in range(1 if kind == "chat" else draw(st.integers(1, 2)))]
    logprobs = kind == "chat" and draw(st.booleans())
    streams: list[list[bytes]] = []
    generated = 0
    for index in range(n * len(prompts)):
        texts = draw(st.lists(st.text(min_size=1, max_size=6) | st.just("\n\ndata: [DONE]\n\n"), max_size=4))
        generated += len(texts)
        finish = draw(st.sampled_from(["stop", "length"]))
        streams.append(one_choice(kind, index, prompts[index // n], texts, finish, logprobs=logprobs))
    asked = call(
        kind=kind,
        n=n,
        kept=n,
        prompts=len(prompts),
        include_usage=draw(st.booleans()),
        id="chatcmpl-1" if kind == "chat" else "cmpl-1",
    )
    wire = woven(streams, draw(st.lists(st.integers(0, 5), max_size=12)))
    read = sum(prompts)
    return wire, asked, {"prompt_tokens": read, "completion_tokens": generated, "total_tokens": read + generated}


def translated(asked: Call, pieces: Sequence[bytes], ends: RequestError | None = None) -> TranslatedAnswer:
    return TranslatedAnswer(asked, Played(pieces, ends).response, "fp_1", refused, lambda: None)


async def drain(answer: TranslatedAnswer) -> list[bytes]:
    parts: list[bytes] = []
    while part := await answer.read():
        parts.append(part)
    return parts


def folded(asked: Call, chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of the chunks."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            known = choices.setdefault(choice["index"], {"text": "", "logprobs": None, "finish_reason": None})
            known["text"] += choice.get("text") or choice.get("delta", {}).get("content") or ""
            if choice["logprobs"]:
                known["logprobs"] = known["logprobs"] or {"content": [], "refusal": None}
                known["logprobs"]["content"] += choice["logprobs"]["content"]
            known["finish_reason"] = choice["finish_reason"] or known["finish_reason"]
    shaped = []
    for index, known in sorted(choices.items()):
        text = known.pop("text")
        content = {"message": {"role": "assistant", "content": text, "refusal": None}}
        shaped.append({"index": index, **known, **(content if asked.kind == "chat" else {"text": text})})
    return {"choices": shaped}


@given(engine_answers(), CUTS, CUTS)
def test_the_whole_answer_is_the_fold_of_the_streamed_one(
    answer: tuple[bytes, Call, dict[str, int]], stream_cuts: Sequence[int], whole_cuts: Sequence[int]
) -> None:
    wire, asked, right = answer
    chat = asked.kind == "chat"
    streamed, whole = translated(asked, cut(wire, stream_cuts)), translated(asked, cut(wire, whole_cuts))
    *events, done = read_sse(run(lambda: drain(streamed)))
    body = json.loads(run(whole.whole))
    assert done == "[DONE]"

    schema = "CreateChatCompletionStreamResponse" if chat else "CreateCompletionStreamResponse"
    chunks = [assert_valid(schema, json.loads(one)) for one in events]
    assert_valid("CreateChatCompletionResponse" if chat else "CreateCompletionResponse", body)

    head = {"id": asked.id, "created": asked.created, "model": MODEL, "system_fingerprint": "fp_1"}
    for one in (*chunks, body):
        assert {name: one[name] for name in head} == head
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk" if chat else "text_completion"}
    assert body["object"] == ("chat.completion" if chat else "text_completion")

    assert {"choices": body["choices"]} == folded(asked, chunks)
    assert [choice["index"] for choice in body["choices"]] == list(range(asked.choices))

    assert {name: body["usage"][name] for name in right} == right
    if asked.include_usage:
        *chunks, last = chunks
        assert (last["choices"], last["usage"]) == ([], body["usage"])
        assert all(chunk["usage"] is None for chunk in chunks)
    else:
        assert not any("usage" in chunk for chunk in chunks)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks), "progress became visible"
    assert "prompt_progress" not in "".join(events)
    for one in (streamed, whole):
        assert one.complete
        assert one.usage is not None
        assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (
            right["prompt_tokens"],
            right["completion_tokens"],
        )


@given(engine_answers(), CUTS, CUTS)
def test_a_cut_changes_nothing_of_what_goes_out(
    answer: tuple[bytes, Call, dict[str, int]], one: Sequence[int], other: Sequence[int]
) -> None:
    wire, asked, _ = answer
    first = b"".join(run(lambda: drain(translated(asked, cut(wire, one)))))
    assert first == b"".join(run(lambda: drain(translated(asked, cut(wire, other)))))


async def test_each_choice_of_a_chat_begins_with_its_role_alone() -> None:
    wire = woven([one_choice("chat", index, 3, ["a", "b"]) for index in range(2)], [1, 0])
    *events, _ = read_sse(await drain(translated(call(n=2), [wire])))
    for index in range(2):
        deltas = [
            chunk["choices"][0]["delta"] for chunk in map(json.loads, events) if chunk["choices"][0]["index"] == index
        ]
        assert deltas == [{"role": "assistant", "content": "", "refusal": None}, {"content": "a"}, {"content": "b"}, {}]


async def test_thinking_stays_beside_the_content() -> None:
    chunks = one_choice("chat", 0, 3, [])
    thinking = [engine_chunk(choices=[chat_choice(0, reasoning_content=text)]) for text in ("hm", "m")]
    saying = [engine_chunk(choices=[chat_choice(0, content="yes")])]
    wire = b"".join([*chunks[:3], *thinking, *saying, *chunks[3:], DONE])
    message = json.loads(await translated(call(), [wire]).whole())["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "yes", "refusal": None, "reasoning_content": "hmm"}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "frame",
    [
        b'error: {"code":500,"message":"decoding failed","type":"server_error"}\n\n',
        b'data: {"error":{"code":500,"message":"decoding failed","type":"server_error"}}\n\n',
        b'data: {"error":"decoding failed"}\n\n',
    ],
)
async def test_an_error_of_the_engine_is_the_failure(frame: bytes, stream: bool) -> None:
    chunks = one_choice("chat", 0, 3, ["a"])
    answer = translated(call(), [*chunks[:5], frame, DONE])
    with pytest.raises(Refused) as caught:
        await (drain(answer) if stream else answer.whole())
    assert "decoding failed" in caught.value.message
    assert not answer.complete


UNREADABLE = [
    b"data: {\n\n",
    b"data: []\n\n",
    b'data: {"choices": 5}\n\n',
    b'data: {"choices": [{"index": 0, "text": "\xff"}]}\n\n',
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "end",
    [(b"", None), (b"data: {", None), (b"", UpstreamFailure("cut")), *((frame, None) for frame in UNREADABLE)],
)
async def test_an_engine_that_dies_or_raves_is_our_failure_and_worth_a_retry(
    end: tuple[bytes, RequestError | None], stream: bool
) -> None:
    chunks = one_choice("chat", 0, 3, ["a"])
    answer = translated(call(), [*chunks[:4], end[0]], end[1])
    with pytest.raises(ServerFailure) as caught:
        await (drain(answer) if stream else answer.whole())
    assert (caught.value.message, caught.value.code) == (ENGINE_BROKE, "engine_error")
    assert caught.value.retryable


async def test_an_engine_that_is_silent_for_too_long_is_a_timeout() -> None:
    with pytest.raises(UpstreamTimeout):
        await translated(call(), [], UpstreamTimeout("late")).whole()


@given(engine_answers(), st.integers(0, 10_000))
def test_an_answer_that_is_given_up_knows_what_was_read_and_written_so_far(
    answer: tuple[bytes, Call, dict[str, int]], keep: int
) -> None:
    wire, asked, right = answer
    wire = wire[: keep % len(wire)]
    freed: list[None] = []
    played = Played([wire], UpstreamFailure("cut"))
    given_up = TranslatedAnswer(asked, played.response, "fp", refused, lambda: freed.append(None))

    async def read_on() -> None:
        with pytest.raises(RequestError):
            await drain(given_up)
        given_up.close()

    run(read_on)
    assert (played.closed_with, len(freed)) == ([False], 1)
    used = given_up.usage
    assert used is not None
    assert 0 <= used.completion_tokens <= right["completion_tokens"]
    assert 0 <= used.prompt_tokens <= right["prompt_tokens"]
    if asked.choices == 1 and b"prompt_progress" in wire[: wire.rfind(b"\n\n") + 1]:
        assert used.prompt_tokens == right["prompt_tokens"]


@pytest.mark.parametrize("kind", ["chat", "completions"])
async def test_a_stream_tells_the_engines_own_count_and_not_that_of_its_chunks(kind: str) -> None:
    # The token that ends an answer counts and has no text; a character that takes several tokens comes in one chunk.
    chunks = one_choice(kind, 0, 5, ["a", "b"])
    counted = b"".join(chunks).replace(b'"completion_tokens": 2', b'"completion_tokens": 4')
    asked = call(kind=kind, include_usage=True)
    streamed = translated(asked, [counted + DONE])
    *_, last, _done = read_sse(b"".join(await drain(streamed)))
    told = json.loads(last)["usage"]
    whole = translated(call(kind=kind, stream=False), [counted + DONE])
    assert told == json.loads(await whole.whole())["usage"]
    assert told["completion_tokens"] == streamed.usage.completion_tokens == 4


async def test_a_stream_that_breaks_knows_what_was_written_before_it_is_closed() -> None:
    chunks = one_choice("chat", 0, 5, ["a", "b"])[:-1]
    answer = translated(call(include_usage=True), chunks, UpstreamFailure("cut"))
    with pytest.raises(ServerFailure):
        await drain(answer)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 2)
