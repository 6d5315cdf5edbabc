"""However a stream is cut on its way, the same bytes go out, the same usage is noted, and no half event leaves."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.played import CUTS, MODEL, Played, Refused, call, cut, refused, run
from fundament.backends.relay import EVENT_LIMIT_BYTES, RelayedAnswer
from fundament.errors import RequestError, UpstreamFailure
from fundament.protocol.usage import Usage
from scripted_answers import DONE, chat_answer, chat_events, encode, event, usage

TRICKY = [
    '"model":"evil","usage":{"prompt_tokens":9},"error":{"message":"x"}',
    "data: [DONE]\n\n",
    '\\"error\\":',
    ' "usage":null, ',
    "Grüezi 🙂",
    "\r\n\r\n",
    "",
]
TEXTS = st.lists(st.sampled_from(TRICKY) | st.text(max_size=8), max_size=4)


def relayed(pieces: Sequence[bytes], ends: RequestError | None = None, **changes: Any) -> RelayedAnswer:
    return RelayedAnswer(call(**changes), Played(pieces, ends).response, refused, lambda: None)


def renaming(pieces: Sequence[bytes], **changes: Any) -> RelayedAnswer:
    return RelayedAnswer(call(**changes), Played(pieces).response, refused, lambda: None, thoughts="reasoning")


async def drain(answer: RelayedAnswer) -> tuple[bytes, RequestError | None]:
    """All that goes out, and the failure at its end."""
    parts: list[bytes] = []
    try:
        while part := await answer.read():
            assert part.endswith(b"\n\n"), "half an event left"
            parts.append(part)
    except RequestError as failure:
        return b"".join(parts), failure
    return b"".join(parts), None


def with_usage(events: list[bytes], placing: str) -> list[bytes]:
    """The events of one stream as servers of different habits send them."""
    if placing == "none":
        return events
    if placing == "last choice":
        body = json.loads(events[-1].removeprefix(b"data: ")) | {"usage": usage(9, 5)}
        return [*events[:-1], event(body)]
    body = json.loads(events[-1].removeprefix(b"data: ")) | {"usage": usage(9, 5), "choices": []}
    if placing == "own chunk":
        return [*events, event(body)]
    nulls = [event(json.loads(one.removeprefix(b"data: ")) | {"usage": None}) for one in events]
    return [*nulls, event(body)]


PLACINGS = ["none", "last choice", "own chunk", "null on each"]
EXPECTED = {"none": None, "last choice": (9, 5), "own chunk": (9, 5), "null on each": (9, 5)}


@given(
    texts=TEXTS,
    cuts=CUTS,
    placing=st.sampled_from(PLACINGS),
    asked=st.booleans(),
    upstream_model=st.sampled_from([MODEL, "org/other", 'we"ird\\']),
    crlf=st.booleans(),
    comments=st.booleans(),
)
@example(
    texts=[],
    cuts=range(10_000),
    placing="null on each",
    asked=True,
    upstream_model=MODEL,
    crlf=True,
    comments=True,
)
def test_any_cut_of_a_stream_gives_the_same_events_and_usage(
    *, texts: list[str], cuts: Sequence[int], placing: str, asked: bool, upstream_model: str, crlf: bool, comments: bool
) -> None:
    events = with_usage(chat_events(texts, model=upstream_model), placing)
    sent = [b": ping\n\n", *events] if comments else events
    wire = b"".join([*sent, DONE])
    if crlf:
        wire = wire.replace(b"\n", b"\r\n")

    expected = [json.loads(one.removeprefix(b"data: ")) | {"model": MODEL} for one in events]
    if not asked:
        expected = [body for body in expected if body["choices"]]
        for body in expected:
            body.pop("usage", None)
    answer = relayed(cut(wire, cuts), include_usage=asked)
    out, failure = run(lambda: drain(answer))

    assert failure is None
    assert answer.complete
    assert out == b"".join([b": ping\n\n"] * comments + [event(body) for body in expected] + [DONE])
    noted = answer.usage
    assert (noted and (noted.prompt_tokens, noted.completion_tokens)) == EXPECTED[placing]


@given(
    texts=TEXTS,
    cuts=CUTS,
    good=st.integers(0, 6),
    error=st.sampled_from(
        [{"error": {"message": "boom", "code": 500}}, {"error": "boom"}, {"object": "error", "error": {"message": "x"}}]
    ),
    hidden=st.booleans(),
)
@example([], [], 1, {"error": "boom"}, True)
def test_an_error_frame_is_the_failure_after_the_events_before_it(
    texts: list[str], cuts: Sequence[int], good: int, error: dict[str, Any], hidden: bool
) -> None:
    events = chat_events(texts, model=MODEL)[:good]
    usage_only = [event({"model": MODEL, "choices": [], "usage": usage(9, 5)})] if hidden else []
    wire = b"".join([*events, *usage_only, event(error), DONE])
    answer = relayed(cut(wire, cuts))
    out, failure = run(lambda: drain(answer))
    assert out == b"".join(events)
    assert isinstance(failure, Refused)
    assert json.loads(failure.message) == error
    assert not answer.complete


async def test_an_error_frame_is_told_at_once_though_the_stream_stays_open() -> None:
    hidden = event({"model": MODEL, "choices": [], "usage": usage(9, 5)})
    answer = relayed([hidden + event({"error": "boom"})], UpstreamFailure("waited for more"))
    _, failure = await drain(answer)
    assert isinstance(failure, Refused)


@given(texts=TEXTS, cuts=CUTS, keep=st.integers(0, 10_000))
def test_a_stream_that_ends_before_done_is_a_failure_after_its_whole_events(
    texts: list[str], cuts: Sequence[int], keep: int
) -> None:
    events = chat_events(texts, model=MODEL)
    wire = b"".join([*events, DONE])
    wire = wire[: keep % len(wire)]
    answer = relayed(cut(wire, cuts) if wire else [])
    out, failure = run(lambda: drain(answer))
    assert type(failure) is UpstreamFailure
    assert out == wire[: wire.rfind(b"\n\n") + 2] if b"\n\n" in wire else out == b""
    assert not answer.complete


@given(st.lists(st.sampled_from([b"\n", b": bye\n\n", b"data: {}\n\n", b"\r\n", b"data: [DONE]\n\n"])), CUTS)
@example([b"\n"], [])
def test_nothing_that_follows_done_goes_out_or_matters(trailer: list[bytes], cuts: Sequence[int]) -> None:
    events = chat_events(["x"], model=MODEL)
    answer = relayed(cut(b"".join([*events, DONE, *trailer]), cuts))
    assert run(lambda: drain(answer)) == (b"".join([*events, DONE]), None)
    assert answer.complete


@pytest.mark.parametrize("text", TRICKY)
async def test_what_looks_like_a_field_inside_a_text_is_text(text: str) -> None:
    events = chat_events([text], model="other")
    out, failure = await drain(relayed([b"".join([*events, DONE])]))
    assert failure is None
    assert out == b"".join([*chat_events([text], model=MODEL), DONE])


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"usage": {"prompt_tokens": "many"}}\n\n',
        b'data: {"usage": {"prompt_tokens": 1}\n\n',
        b'data: {"error": {"message": "x"}\n\n',
        b'data: {"usage": "\xff"}\n\n',
        b'data: {"error": "\xff"}\n\n',
        b'data: {"usage": ' + b"[" * 100_000 + b"\n\n",
    ],
)
async def test_an_event_that_cannot_be_read_though_it_must_is_the_upstreams_failure(frame: bytes) -> None:
    good = chat_events([], model=MODEL)[0]
    out, failure = await drain(relayed([good, frame, DONE]))
    assert type(failure) is UpstreamFailure
    assert failure.code == "upstream_error"
    assert out == good


async def test_an_event_without_end_is_a_failure_and_not_a_growing_heap() -> None:
    piece = b"x" * (EVENT_LIMIT_BYTES // 4 + 1)
    out, failure = await drain(relayed([b"data: "] + [piece] * 6))
    assert type(failure) is UpstreamFailure
    assert "too large" in str(failure)
    assert out == b""


# Whole answers


@given(text=st.sampled_from(TRICKY) | st.text(), model=st.sampled_from([MODEL, "other", 'we"ird\\']))
def test_a_whole_answer_is_untouched_but_for_the_models_name(text: str, model: str) -> None:
    body = b"".join(step for step in chat_answer(text, model=model).steps if isinstance(step, bytes))
    answer = relayed([body], stream=False)
    out = run(answer.whole)
    assert out == (body if model == MODEL else encode(json.loads(body) | {"model": MODEL}))
    assert answer.complete
    assert answer.usage == Usage(
        9, len(text), 9 + len(text), answer.usage.prompt_tokens_details, answer.usage.completion_tokens_details
    )  # type: ignore[union-attr]


NESTED = [{"metadata": {"model": "a value"}}, {"metadata": {"model": "upstream's"}}, {"tools": [{"model": "asked"}]}]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("nested", NESTED)
async def test_a_model_within_another_object_is_not_the_answers(nested: dict[str, Any], first: bool) -> None:
    body = {**nested, "model": "upstream's"} if first else {"model": "upstream's", **nested}
    whole = await relayed([encode(body)], stream=False).whole()
    assert whole == encode(body | {"model": MODEL})
    assert await relayed([encode(nested)], stream=False).whole() == encode(nested)


@pytest.mark.parametrize("first", [True, False])
async def test_a_model_within_another_object_of_a_chunk_is_not_the_streams(first: bool) -> None:
    nested = {"metadata": {"model": "a value"}}
    body = {**nested, "model": "upstream's"} if first else {"model": "upstream's", **nested}
    out, failure = await drain(relayed([event(nested) + event(body), event(body) + DONE]))
    right = event(body | {"model": MODEL})
    assert (out, failure) == (event(nested) + right + right + DONE, None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"model": 5}', b'{"model": "\xff"}', b'{"usage": []}', b"[" * 100_000]
)
async def test_a_whole_answer_that_is_no_json_object_is_the_upstreams_failure(body: bytes) -> None:
    answer = relayed([body] if body else [], stream=False)
    with pytest.raises(UpstreamFailure) as caught:
        await answer.whole()
    assert caught.value.code == "upstream_error"
    assert not answer.complete


@pytest.mark.parametrize("error", [{"message": "x"}, "x"])
async def test_an_error_with_status_200_is_a_refusal(error: object) -> None:
    body = encode({"error": error})
    with pytest.raises(Refused) as caught:
        await relayed([body], stream=False).whole()
    assert json.loads(caught.value.message) == {"error": error}


async def test_a_null_error_is_none() -> None:
    assert await relayed([b'{"model":"asked","error":null}'], stream=False).whole()


# Thoughts under a server's own name


def thinking(key: str, text: str, **more: Any) -> list[bytes]:
    deltas = [{"role": "assistant", "content": ""}, {key: text, **more}, {"content": text}]
    return [event({"model": MODEL, "choices": [{"index": 0, "delta": delta}]}) for delta in deltas]


@given(text=st.sampled_from([*TRICKY, '"reasoning":', '{"reasoning": "x"}']) | st.text(), cuts=CUTS)
def test_thoughts_that_stream_have_the_clients_name_however_they_are_cut(text: str, cuts: Sequence[int]) -> None:
    answer = renaming(cut(b"".join([*thinking("reasoning", text), DONE]), cuts))
    assert run(lambda: drain(answer)) == (b"".join([*thinking("reasoning_content", text), DONE]), None)


@pytest.mark.parametrize("thought", ["hm", None, '"reasoning":'])
async def test_thoughts_of_a_whole_answer_have_the_clients_name(thought: str | None) -> None:
    def body(key: str, model: str) -> bytes:
        return encode({"model": model, "choices": [{"message": {"content": '"reasoning":', key: thought}}]})

    answer = renaming([body("reasoning", "other")], stream=False)
    assert await answer.whole() == body("reasoning_content", MODEL)


async def test_a_server_that_sends_both_names_is_left_alone() -> None:
    wire = b"".join([*thinking("reasoning", "hm", reasoning_content="hm"), DONE])
    assert await drain(renaming([wire])) == (wire, None)
    body = encode({"model": MODEL, "choices": [{"message": {"reasoning": "hm", "reasoning_content": "hm"}}]})
    assert await renaming([body], stream=False).whole() == body


async def test_a_server_without_a_name_of_its_own_is_untouched() -> None:
    wire = b"".join([*thinking("reasoning", "hm"), DONE])
    assert await drain(relayed([wire])) == (wire, None)


@pytest.mark.parametrize("complete", [True, False])
async def test_closing_says_whether_all_was_wanted_and_frees_once(complete: bool) -> None:
    freed: list[None] = []
    played = Played([b"".join([*chat_events([]), DONE])])
    answer = RelayedAnswer(call(), played.response, refused, lambda: freed.append(None))
    if complete:
        await drain(answer)
    answer.close()
    assert (played.closed_with, len(freed)) == ([complete], 1)
