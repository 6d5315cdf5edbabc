"""Each parameter that docs/parameters.md calls honoured or emulated changes the embedded model's answer as it should.

Every test here fails if its parameter is ignored, and the page's rows and the tests are held against each other. What
the model says is never looked at, only how it differs.
"""

import json
from typing import Any

import pytest

from effects import (
    BOTH,
    PATHS,
    SAID,
    SEEDS,
    USER,
    answer,
    effect_of,
    message,
    prompt_tokens,
    request,
    text,
    texts,
    token_ids,
)
from parameter_table import Row, parameters
from service import Service
from specification import read_sse

ALIAS = "Llama-3.3-70B-Instruct"
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}
OTHER = {**FUNCTION, "name": "listen"}
TOOLS = [{"type": "function", "function": FUNCTION}, {"type": "function", "function": OTHER}]


def test_every_parameter_with_an_effect_has_its_test() -> None:
    def has_effect(row: Row) -> bool:
        return row.embedded in {"honoured", "emulated"}

    shown = set[tuple[str, str]]().union(*(getattr(test, "shows", ()) for test in globals().values()))
    assert shown == {(row.endpoint, row.name) for row in parameters() if has_effect(row)}


# Sampling


@effect_of("temperature", *BOTH)
def test_temperature_zero_repeats_itself_and_two_does_not(embedded: Service, endpoint: str) -> None:
    assert len({text(embedded, endpoint, temperature=0, seed=seed) for seed in SEEDS}) == 1
    assert len({text(embedded, endpoint, temperature=2, seed=seed) for seed in SEEDS}) > 1


@effect_of("top_p", *BOTH)
def test_a_tiny_top_p_is_as_greedy_as_temperature_zero(embedded: Service, endpoint: str) -> None:
    greedy = text(embedded, endpoint)
    assert {text(embedded, endpoint, temperature=2, top_p=1e-6, seed=seed) for seed in SEEDS} == {greedy}


@effect_of("seed", *BOTH)
def test_a_seed_decides_the_text(embedded: Service, endpoint: str) -> None:
    drawn = [text(embedded, endpoint, temperature=1, seed=seed) for seed in (*SEEDS, *SEEDS)]
    assert drawn[: len(SEEDS)] == drawn[len(SEEDS) :]
    assert len(set(drawn)) > 1


@effect_of("logit_bias", *BOTH)
def test_a_bias_of_a_hundred_forces_a_token_and_one_of_minus_a_hundred_bans_it(
    embedded: Service, endpoint: str
) -> None:
    (zebra,) = token_ids(embedded, " zebra")
    assert text(embedded, endpoint, logit_bias={str(zebra): 100}, max_tokens=3) == " zebra zebra zebra"
    greedy = text(embedded, endpoint, max_tokens=1)
    (first,) = token_ids(embedded, greedy)
    assert text(embedded, endpoint, logit_bias={str(first): -100}, max_tokens=1) != greedy


# "zebra" is three times in the text, "piano" never; so far back that a window of 64 tokens would not see it.
REPEATING = "A zebra, a zebra, a zebra." + " One two three four five six seven eight nine ten." * 12


class Rivals:
    """Two tokens that no other can beat: " zebra", which is in the text three times, and " piano", which is not."""

    def __init__(self, service: Service, endpoint: str) -> None:
        self._service = service
        self._endpoint = endpoint
        (self._repeated,), (self._new,) = token_ids(service, " zebra"), token_ids(service, " piano")
        low, high = -40.0, 40.0
        while high - low > 0.02:
            middle = (low + high) / 2
            low, high = (low, middle) if self.repeats(middle) else (middle, high)
        self.tie = high

    def repeats(self, margin: float, **fields: Any) -> bool:
        """Whether " zebra" wins with so much more bias (in logits) than " piano"."""
        said: dict[str, Any] = {"prompt": REPEATING}
        if self._endpoint == "chat":
            said = {"messages": [{"role": "user", "content": REPEATING}]}
        bias = {str(self._repeated): 50 + margin, str(self._new): 50}
        won = text(self._service, self._endpoint, logit_bias=bias, max_tokens=1, **said, **fields)
        assert won in {" zebra", " piano"}
        return won == " zebra"


@effect_of("presence_penalty", *BOTH)
def test_presence_is_penalised_once_however_often(embedded: Service, endpoint: str) -> None:
    rivals = Rivals(embedded, endpoint)
    assert rivals.repeats(rivals.tie + 0.5)
    assert not rivals.repeats(rivals.tie + 0.5, presence_penalty=1)
    assert rivals.repeats(rivals.tie + 1.5, presence_penalty=1)
    assert rivals.repeats(rivals.tie - 0.5, presence_penalty=-1)


@effect_of("frequency_penalty", *BOTH)
def test_frequency_is_penalised_each_time(embedded: Service, endpoint: str) -> None:
    rivals = Rivals(embedded, endpoint)
    assert rivals.repeats(rivals.tie + 2.5)
    assert not rivals.repeats(rivals.tie + 2.5, frequency_penalty=1)
    assert rivals.repeats(rivals.tie + 3.5, frequency_penalty=1)
    assert rivals.repeats(rivals.tie - 2.5, frequency_penalty=-1)


# Length and number


@effect_of("max_tokens", *BOTH)
def test_max_tokens_is_the_length(embedded: Service, endpoint: str) -> None:
    for limit in (1, 3, 7):
        got = answer(embedded, endpoint, max_tokens=limit)
        assert (got["usage"]["completion_tokens"], got["choices"][0]["finish_reason"]) == (limit, "length")


@effect_of("max_completion_tokens", "chat")
def test_max_completion_tokens_is_the_length(embedded: Service, endpoint: str) -> None:
    for limit in (1, 3, 7):
        got = answer(embedded, endpoint, max_tokens=None, max_completion_tokens=limit)
        assert (got["usage"]["completion_tokens"], got["choices"][0]["finish_reason"]) == (limit, "length")


@effect_of("n", *BOTH)
def test_n_is_the_number_of_different_choices(embedded: Service, endpoint: str) -> None:
    got = answer(embedded, endpoint, n=3, temperature=2, seed=1)
    assert sorted(choice["index"] for choice in got["choices"]) == [0, 1, 2]
    assert got["usage"]["completion_tokens"] > 12
    assert len(set(texts(embedded, endpoint, n=3, temperature=2, seed=1))) > 1


@effect_of("stop", *BOTH)
def test_a_text_ends_before_what_stops_it(embedded: Service, endpoint: str) -> None:
    greedy = text(embedded, endpoint)
    stop = greedy[10:14]
    before = greedy.partition(stop)[0]
    assert before != greedy
    assert text(embedded, endpoint, stop=stop) == before
    unseen = ["\x01", "\x02", "\x03"]
    for place in range(4):
        got = answer(embedded, endpoint, stop=[*unseen[:place], stop, *unseen[place:]])["choices"][0]
        assert got["finish_reason"] == "stop"
        assert (got["text"] if endpoint == "completions" else got["message"]["content"]) == before


# What is asked


@effect_of("model", *BOTH)
def test_the_model_is_found_by_its_id_and_its_aliases_alone(embedded: Service, endpoint: str) -> None:
    assert answer(embedded, endpoint, model=ALIAS)["model"] == ALIAS
    assert text(embedded, endpoint, model=ALIAS) == text(embedded, endpoint)
    reply = embedded.post(PATHS[endpoint], request(endpoint, model="unknown"))
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


HOOK = "You are a pirate captain."
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "WORDS"}'}}
OLDER_CALL = {"name": "listen", "arguments": '{"to": "WORDS"}'}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "system": [{"role": "system", "content": "WORDS"}, USER],
    "developer": [{"role": "developer", "content": "WORDS"}, USER],
    "user": [{"role": "user", "content": "WORDS"}],
    "part": [{"role": "user", "content": [{"type": "text", "text": "Say:"}, {"type": "text", "text": "WORDS"}]}],
    "assistant": [USER, {"role": "assistant", "content": "WORDS"}, USER],
    "refusal": [USER, {"role": "assistant", "refusal": "WORDS"}, USER],
    "call": [
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
    ],
    "result": [
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "WORDS"},
    ],
    "older call": [USER, {"role": "assistant", "content": None, "function_call": OLDER_CALL}, USER],
    "older result": [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "listen", "arguments": "{}"}},
        {"role": "function", "name": "listen", "content": "WORDS"},
    ],
}


@effect_of("messages", "chat")
@pytest.mark.parametrize("role", CONVERSATIONS)
def test_every_message_is_in_the_prompt(embedded: Service, endpoint: str, role: str) -> None:
    def with_words(words: str) -> int:
        said = json.loads(json.dumps(CONVERSATIONS[role]).replace("WORDS", words))
        return prompt_tokens(embedded, endpoint, messages=said)

    assert with_words("a tree and a house") - with_words("a tree") >= 3


@pytest.mark.parametrize("role", ["developer", "system"])
def test_a_developer_is_heard_as_the_system_and_parts_as_one_text(embedded: Service, role: str) -> None:
    said = [{"role": "system", "content": HOOK}, USER]
    parts = [{"type": "text", "text": HOOK}]
    for content in (HOOK, parts):
        same = [{"role": role, "content": content}, {**USER, "content": [{"type": "text", "text": SAID}]}]
        assert prompt_tokens(embedded, "chat", messages=same) == prompt_tokens(embedded, "chat", messages=said)
        assert text(embedded, "chat", messages=same) == text(embedded, "chat", messages=said)
    more = [{**USER, "content": [*parts, {"type": "text", "text": SAID}]}]
    assert prompt_tokens(embedded, "chat", messages=more) > prompt_tokens(embedded, "chat", messages=[USER])


@effect_of("prompt", "completions")
def test_a_prompt_may_be_a_text_or_its_tokens_or_several(embedded: Service, endpoint: str) -> None:
    one, other = SAID, "1, 2, 3, 4, 5, 6,"
    ids, other_ids = token_ids(embedded, one), token_ids(embedded, other)
    said = {prompt: text(embedded, endpoint, prompt=prompt) for prompt in (one, other)}
    assert said[one] != said[other]
    for prompt in (one, [one], ids, [ids]):
        assert prompt_tokens(embedded, endpoint, prompt=prompt) == len(ids)
        assert texts(embedded, endpoint, prompt=prompt) == [said[one]]
    for prompts in ([one, other], [ids, other_ids]):
        assert prompt_tokens(embedded, endpoint, prompt=prompts) == len(ids) + len(other_ids)
        assert texts(embedded, endpoint, prompt=prompts) == [said[one], said[other]]


# How it is answered


@effect_of("stream", *BOTH)
def test_a_stream_is_events_and_the_rest_is_one_body(embedded: Service, endpoint: str) -> None:
    for stream, kind in ((True, "text/event-stream"), (False, "application/json")):
        reply = embedded.post(PATHS[endpoint], request(endpoint, stream=stream))
        assert reply.headers["content-type"].partition(";")[0] == kind
    *_, done = read_sse(embedded.post(PATHS[endpoint], request(endpoint, stream=True)).body)
    assert done == "[DONE]"


@effect_of("stream_options", *BOTH)
def test_a_stream_tells_its_usage_when_it_is_asked_to(embedded: Service, endpoint: str) -> None:
    for wanted in (True, False):
        body = request(endpoint, stream=True, stream_options={"include_usage": wanted})
        *events, _ = read_sse(embedded.post(PATHS[endpoint], body).body)
        assert any(json.loads(event).get("usage") for event in events) is wanted


@effect_of("logprobs", "chat")
def test_log_probabilities_come_when_asked_for(embedded: Service, endpoint: str) -> None:
    for absent in (None, False):
        assert answer(embedded, endpoint, logprobs=absent)["choices"][0]["logprobs"] is None
    (choice,) = answer(embedded, endpoint, logprobs=True)["choices"]
    tokens = choice["logprobs"]["content"]
    assert len(tokens) == 12
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    assert all(token["logprob"] <= 0 for token in tokens)


@effect_of("top_logprobs", "chat")
@pytest.mark.parametrize("wanted", [0, 1, 4, 20])
def test_so_many_of_the_likeliest_tokens_are_named(embedded: Service, endpoint: str, wanted: int) -> None:
    (choice,) = answer(embedded, endpoint, logprobs=True, top_logprobs=wanted)["choices"]
    assert len(choice["logprobs"]["content"]) == 12
    for token in choice["logprobs"]["content"]:
        likeliest = [one["logprob"] for one in token["top_logprobs"]]
        assert (len(likeliest), likeliest) == (wanted, sorted(likeliest, reverse=True))
        if wanted:
            assert (token["top_logprobs"][0]["token"], likeliest[0]) == (token["token"], token["logprob"])


@effect_of("response_format", "chat")
def test_a_format_holds_the_answer(embedded: Service, endpoint: str) -> None:
    plain = text(embedded, endpoint)
    assert text(embedded, endpoint, response_format={"type": "text"}) == plain
    assert not plain.startswith("{")
    assert text(embedded, endpoint, response_format={"type": "json_object"}).startswith("{")
    for word in ("one", "two"):
        schema = {"type": "object", "properties": {"a": {"const": word}}, "required": ["a"]}
        named = {"name": "a", "strict": True, "schema": {**schema, "additionalProperties": False}}
        got = text(embedded, endpoint, response_format={"type": "json_schema", "json_schema": named})
        assert json.loads(got) == {"a": word}


# Functions


@effect_of("tools", "chat")
def test_the_model_is_told_of_the_tools_and_calls_no_other(embedded: Service, endpoint: str) -> None:
    without, one, both = (
        prompt_tokens(embedded, endpoint, **({"tools": TOOLS[:count]} if count else {})) for count in (0, 1, 2)
    )
    assert without < one < both
    described = {**FUNCTION, "description": "Looks at what is there and says what was seen"}
    assert prompt_tokens(embedded, endpoint, tools=[{"type": "function", "function": described}]) > one
    for tool in TOOLS:
        (call,) = message(embedded, tools=[tool], tool_choice="required", parallel_tool_calls=False)["tool_calls"]
        assert call["function"]["name"] == tool["function"]["name"]


@effect_of("tool_choice", "chat")
def test_a_choice_of_tools_is_kept(embedded: Service, endpoint: str) -> None:
    assert not message(embedded, tools=TOOLS, tool_choice="none").get("tool_calls")
    assert message(embedded, tools=TOOLS, tool_choice="required")["tool_calls"]
    for name in ("look", "listen"):
        one = {"type": "function", "function": {"name": name}}
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [one]}}
        for choice in (one, allowed):
            calls = message(embedded, tools=TOOLS, tool_choice=choice)["tool_calls"]
            assert {call["function"]["name"] for call in calls} == {name}


@effect_of("parallel_tool_calls", "chat")
def test_several_calls_come_only_where_they_may(embedded: Service, endpoint: str) -> None:
    def several(parallel: bool | None) -> bool:
        fields = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": parallel, "temperature": 1}
        return any(len(message(embedded, **fields, seed=seed)["tool_calls"]) > 1 for seed in range(5))

    assert several(parallel=True)
    assert several(parallel=None)
    assert not several(parallel=False)


@effect_of("functions", "chat")
def test_the_model_is_told_of_the_older_functions(embedded: Service, endpoint: str) -> None:
    for function in (FUNCTION, OTHER):
        got = message(embedded, functions=[function], function_call={"name": function["name"]})
        assert got["function_call"]["name"] == function["name"]
    one, both = (prompt_tokens(embedded, endpoint, functions=[FUNCTION, OTHER][:count]) for count in (1, 2))
    assert prompt_tokens(embedded, endpoint) < one < both


@effect_of("function_call", "chat")
def test_a_choice_of_an_older_function_is_kept(embedded: Service, endpoint: str) -> None:
    functions = [FUNCTION, OTHER]
    assert "function_call" not in message(embedded, functions=functions, function_call="none")
    for function in functions:
        got = message(embedded, functions=functions, function_call={"name": function["name"]})
        assert got["function_call"]["name"] == function["name"]


# Completions alone


@effect_of("echo", "completions")
def test_an_echo_begins_with_the_prompt(embedded: Service, endpoint: str) -> None:
    said = text(embedded, endpoint)
    assert text(embedded, endpoint, echo=False) == said
    assert text(embedded, endpoint, echo=True) == SAID + said
    assert text(embedded, endpoint, echo=True, prompt=token_ids(embedded, SAID)) == SAID + said
    assert texts(embedded, endpoint, echo=True, prompt=[SAID, "1, 2,"], n=2)[2].startswith("1, 2,")
    assert text(embedded, endpoint, echo=True, max_tokens=0) == SAID


@effect_of("logprobs", "completions")
@pytest.mark.parametrize("wanted", [0, 1, 3, 5])
def test_log_probabilities_come_in_their_older_shape(embedded: Service, endpoint: str, wanted: int) -> None:
    assert answer(embedded, endpoint)["choices"][0]["logprobs"] is None
    (choice,) = answer(embedded, endpoint, logprobs=wanted)["choices"]
    known = choice["logprobs"]
    assert "".join(known["tokens"]) == choice["text"]
    assert len(known["tokens"]) == len(known["token_logprobs"]) == len(known["text_offset"]) == 12
    assert all(logprob <= 0 for logprob in known["token_logprobs"])
    assert known["text_offset"] == [len("".join(known["tokens"][:at])) for at in range(12)]
    for token, logprob, likeliest in zip(
        known["tokens"], known["token_logprobs"], known["top_logprobs"] or [{}] * 12, strict=True
    ):
        # OpenAI's document: the token that was drawn is among them, or is one more.
        assert wanted <= len(likeliest) <= max(wanted, 1)
        assert not wanted or (max(likeliest, key=likeliest.__getitem__), max(likeliest.values())) == (token, logprob)


@effect_of("best_of", "completions")
def test_the_best_of_several_is_the_likeliest(embedded: Service, endpoint: str) -> None:
    def likelihood(choice: dict[str, Any]) -> float:
        known = choice["logprobs"]["token_logprobs"]
        return sum(known) / len(known)

    drawn = {"temperature": 1, "seed": 5, "logprobs": 0, "max_tokens": 8}
    candidates = answer(embedded, endpoint, n=4, **drawn)["choices"]
    best = sorted(candidates, key=likelihood, reverse=True)
    (one,) = answer(embedded, endpoint, best_of=4, **drawn)["choices"]
    assert one["text"] == best[0]["text"]
    two = answer(embedded, endpoint, best_of=4, n=2, **drawn)
    assert [choice["text"] for choice in two["choices"]] == [choice["text"] for choice in best[:2]]
    assert [choice["index"] for choice in two["choices"]] == [0, 1]
    assert two["usage"]["completion_tokens"] == 4 * 8
