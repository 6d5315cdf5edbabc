"""A client of the event stream that believes deltas: it puts a response together and holds every `done` against that.

It knows OpenAI's description of the events and nothing of the code that makes them.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

DELTAS = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.mcp_call_arguments": "arguments",
    "response.code_interpreter_call_code": "code",
}
# What is not told in pieces stands in the item when it is done.
WHOLE = {
    "mcp_list_tools": {"tools", "error"},
    "mcp_call": {"output", "error"},
    "reasoning": {"encrypted_content"},
    "web_search_call": {"action"},
    "file_search_call": {"queries", "results"},
    "code_interpreter_call": {"outputs"},
    "image_generation_call": {"result"},
    "apply_patch_call": {"operation"},
}


def fold_events(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The response that the events amount to."""
    response: dict[str, Any] = {}
    for sent in events:
        event = deepcopy(sent)
        if "response" in event:
            built = response.get("output", [])
            response = event["response"]
            assert response["output"] == built, f"{event['type']} has other items than were told"
        else:
            _apply(event, response["output"])
    return response


def _apply(event: dict[str, Any], output: list[dict[str, Any]]) -> None:
    match event["type"].rpartition("."):
        case "response.output_item", _, "added":
            assert event["output_index"] == len(output)
            assert event["item"].get("status", "in_progress") == "in_progress"
            output.append(event["item"])
        case "response.output_item", _, "done":
            built = output[event["output_index"]]
            later = {"status"} | WHOLE.get(built["type"], set())
            assert event["item"] == built | {name: event["item"][name] for name in later & event["item"].keys()}
            output[event["output_index"]] = event["item"]
        case name, _, _ if name.removeprefix("response.") == output[event["output_index"]]["type"]:
            assert event["item_id"] == output[event["output_index"]]["id"]
        case "response.output_text.annotation", _, "added":
            annotations = _place(event, output)["annotations"]
            assert event["annotation_index"] == len(annotations)
            annotations.append(event["annotation"])
        case "response.shell_call_command", _, happened:
            _apply_command(event, happened, output[event["output_index"]]["action"]["commands"])
        case "response.content_part", _, "added":
            content = output[event["output_index"]]["content"]
            assert event["content_index"] == len(content)
            content.append(event["part"])
        case "response.reasoning_summary_part", _, "added":
            summary = output[event["output_index"]]["summary"]
            assert event["summary_index"] == len(summary)
            summary.append(event["part"])
        case (("response.content_part" | "response.reasoning_summary_part"), _, "done"):
            assert _place(event, output) == event["part"]
        case name, _, "delta":
            place = _place(event, output)
            place[DELTAS[name]] += event["delta"]
            if "logprobs" in event:
                place["logprobs"] += event["logprobs"]
        case name, _, "done":
            place = _place(event, output)
            shown = {key: value for key, value in event.items() if key in {DELTAS[name], "logprobs", "name"}}
            assert shown == {key: place[key] for key in shown}
            assert DELTAS[name] in shown


def _apply_command(event: dict[str, Any], happened: str, commands: list[str]) -> None:
    index = event["command_index"]
    if happened == "added":
        assert index == len(commands)
        commands.append(event["command"])
    elif happened == "delta":
        commands[index] += event["delta"]
    else:
        assert commands[index] == event["command"]


def _place(event: dict[str, Any], output: list[dict[str, Any]]) -> dict[str, Any]:
    item = output[event["output_index"]]
    if "summary_index" in event:
        return item["summary"][event["summary_index"]]
    return item["content"][event["content_index"]] if "content_index" in event else item
