"""The OpenAI Agents SDK on our Responses API: tools, a handoff and a forced call, streamed and not.

The scripted upstream plays the model's part as chat completions; the embedded model shows that a real one can, too.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import openai
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    RunResult,
    RunResultStreaming,
    function_tool,
    set_trace_processors,
)
from agents.items import HandoffOutputItem, RunItem, ToolCallItem, ToolCallOutputItem

from scripted_answers import DONE, MODEL, Answer, event, sse_answer, usage
from scripted_upstream import Request, ScriptedUpstream
from service import Service

CHAT = "/v1/chat/completions"
WITHOUT_TRACING = RunConfig(tracing_disabled=True)
QUESTION = "What should I wear in Bern this evening?"


@pytest.fixture(autouse=True)
def nothing_is_traced() -> Iterator[None]:
    """The SDK would send its traces to OpenAI: without a processor there is nobody who could."""
    set_trace_processors([])
    yield


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"Rain in {city}, 7 degrees."


@function_tool
def local_time(city: str) -> str:
    """The local time of a city."""
    return f"18:30 in {city}."


@function_tool
def forecast(city: Literal["Bern", "Basel"]) -> str:
    """The weather of tomorrow."""
    return f"Rain in {city}."


def called(*calls: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for index, (id, name, arguments) in enumerate(calls)
    ]


SCRIPT: list[dict[str, Any]] = [
    {
        "content": "I look it up.",
        "tool_calls": called(
            ("call_weather", "weather", {"city": "Bern"}), ("call_time", "local_time", {"city": "Bern"})
        ),
    },
    {"content": None, "tool_calls": called(("call_handoff", "transfer_to_stylist", {}))},
    {"content": "A raincoat."},
]
"""What the model says, turn by turn: both tools at once, the handoff, the stylist's answer."""


def played(message: dict[str, Any], *, stream: bool) -> Answer:
    """A turn of the script as an upstream sends it; as a stream, the arguments of each call come in two pieces."""
    reason = "tool_calls" if "tool_calls" in message else "stop"
    body = {"id": "chatcmpl-scripted", "created": 1767225600, "model": MODEL}
    if not stream:
        whole = {"role": "assistant", "refusal": None, **message}
        choice = {"index": 0, "message": whole, "logprobs": None, "finish_reason": reason}
        answer = {**body, "object": "chat.completion", "choices": [choice], "usage": usage(20, 10)}
        return Answer([json.dumps(answer).encode()])
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": message["content"]}]
    for call in message.get("tool_calls", ()):
        function, arguments = call["function"], call["function"]["arguments"]
        deltas += [
            {"tool_calls": [call | {"function": function | {"arguments": arguments[:1]}}]},
            {"tool_calls": [{"index": call["index"], "function": {"arguments": arguments[1:]}}]},
        ]
    body["object"] = "chat.completion.chunk"
    chunks = [
        {**body, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None} for delta in deltas
    ]
    chunks.append({**body, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": None})
    chunks.append({**body, "choices": [], "usage": usage(20, 10)})
    return sse_answer([*map(event, chunks), DONE])


@pytest.fixture
async def client(scripted: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with scripted.async_client() as client:
        yield client


def team(client: openai.AsyncOpenAI) -> Agent[Any]:
    """A greeter with two tools, who hands over to a stylist."""
    responses = OpenAIResponsesModel(model="gpt-4.1", openai_client=client)
    stylist = Agent(name="Stylist", instructions="Advise on clothes.", model=responses)
    return Agent(
        name="Greeter",
        instructions="Find out what the stylist must know.",
        model=responses,
        tools=[weather, local_time],
        handoffs=[stylist],
    )


def play(upstream: ScriptedUpstream) -> None:
    turns = iter(SCRIPT)

    def next_turn(request: Request) -> Answer:
        return played(next(turns), stream=bool(request.json.get("stream")))

    upstream.default(next_turn, CHAT)


async def run(client: openai.AsyncOpenAI, *, stream: bool, **options: Any) -> RunResult | RunResultStreaming:
    starting = team(client)
    if not stream:
        return await Runner.run(starting, QUESTION, run_config=WITHOUT_TRACING, **options)
    running = Runner.run_streamed(starting, QUESTION, run_config=WITHOUT_TRACING, **options)
    async for _ in running.stream_events():
        pass
    return running


def outputs(items: list[RunItem]) -> list[Any]:
    return [item.output for item in items if isinstance(item, ToolCallOutputItem)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_agent_uses_two_tools_and_hands_over(
    client: openai.AsyncOpenAI, upstream: ScriptedUpstream, stream: bool
) -> None:
    play(upstream)
    result = await run(client, stream=stream)
    assert result.final_output == "A raincoat."
    assert result.last_agent.name == "Stylist"
    assert outputs(result.new_items) == ["Rain in Bern, 7 degrees.", "18:30 in Bern."]
    (handoff,) = [item for item in result.new_items if isinstance(item, HandoffOutputItem)]
    assert (handoff.source_agent.name, handoff.target_agent.name) == ("Greeter", "Stylist")
    assert result.context_wrapper.usage.total_tokens == 3 * 30


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_model_reads_what_the_agents_did(
    client: openai.AsyncOpenAI, upstream: ScriptedUpstream, stream: bool
) -> None:
    play(upstream)
    await run(client, stream=stream)
    first, second, third = (request.json for request in upstream.requests)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["weather", "local_time", "transfer_to_stylist"]
    assert all(tool["function"]["strict"] for tool in first["tools"])
    calls = [(call["id"], call["function"]["name"]) for call in second["messages"][-3]["tool_calls"]]
    assert calls == [("call_weather", "weather"), ("call_time", "local_time")]
    assert second["messages"][-3]["content"] == "I look it up."
    results = {message["tool_call_id"]: message["content"] for message in second["messages"][-2:]}
    assert results == {"call_weather": "Rain in Bern, 7 degrees.", "call_time": "18:30 in Bern."}
    assert third["messages"][0] == {"role": "system", "content": "Advise on clothes."}
    assert "tools" not in third


async def test_an_agent_goes_on_from_the_response_before(
    client: openai.AsyncOpenAI, upstream: ScriptedUpstream
) -> None:
    play(upstream)
    await run(client, stream=False, auto_previous_response_id=True)
    last = upstream.requests[-1].json["messages"]
    assert [message["role"] for message in last] == ["system", "user", "assistant", "tool", "tool", "assistant", "tool"]
    assert last[0]["content"] == "Advise on clothes."


async def test_each_event_of_a_streamed_run_reaches_the_agent(
    client: openai.AsyncOpenAI, upstream: ScriptedUpstream
) -> None:
    play(upstream)
    running = Runner.run_streamed(team(client), QUESTION, run_config=WITHOUT_TRACING)
    events = [seen async for seen in running.stream_events()]
    raw = [seen.data for seen in events if seen.type == "raw_response_event"]
    assert [part.type for part in raw].count("response.completed") == 3
    text = "".join(part.delta for part in raw if part.type == "response.output_text.delta")
    assert text == "I look it up.A raincoat."
    names = [seen.name for seen in events if seen.type == "run_item_stream_event"]
    assert names.count("tool_output") == 2
    assert {"handoff_requested", "handoff_occured"} <= set(names)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_real_model_calls_the_tool_that_it_must(embedded: Service, stream: bool) -> None:
    async with embedded.async_client() as client:
        agent: Agent[Any] = Agent(
            name="Forecaster",
            instructions="Use the tool.",
            model=OpenAIResponsesModel(model="smollm2", openai_client=client),
            tools=[forecast],
            tool_use_behavior="stop_on_first_tool",
            model_settings=ModelSettings(
                tool_choice="required", parallel_tool_calls=False, temperature=0, max_tokens=160
            ),
        )
        result: RunResult | RunResultStreaming
        if stream:
            result = Runner.run_streamed(agent, "The weather in Bern?", run_config=WITHOUT_TRACING, max_turns=1)
            async for _ in result.stream_events():
                pass
        else:
            result = await Runner.run(agent, "The weather in Bern?", run_config=WITHOUT_TRACING, max_turns=1)
    (call,) = [item for item in result.new_items if isinstance(item, ToolCallItem)]
    city = json.loads(call.raw_item.arguments)["city"]
    assert result.final_output == f"Rain in {city}."
