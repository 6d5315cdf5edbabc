"""Chats as Hypothesis makes them: what a model says, cut into chunks anywhere, and the items that it should become.

It knows OpenAI's chat chunks and the items of responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

TEXT_KINDS = {"content": "output_text", "refusal": "refusal", "reasoning_content": "reasoning_text"}


@dataclass(frozen=True)
class Said:
    """One thing that the model says: text of a kind or a call, in pieces."""

    kind: str
    pieces: tuple[str, ...]
    name: str = ""
    repeats_id: bool = False
    logprobs: bool = False

    @property
    def whole(self) -> str:
        return "".join(self.pieces)


pieces = st.lists(st.text(max_size=4), min_size=1, max_size=4).map(tuple)
nonempty = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4).map(tuple)
texts = st.builds(Said, st.sampled_from([*TEXT_KINDS]), nonempty)
probable = st.builds(Said, st.just("content"), nonempty, logprobs=st.just(True))
calls = st.builds(Said, st.sampled_from(["function", "custom"]), pieces, st.sampled_from("fg"), st.booleans())
chats = st.lists(texts | probable | calls, max_size=6)


def chunk(finish_reason: str | None = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def chunks_of(chat: Sequence[Said]) -> list[dict[str, Any]]:
    """The chat as a server sends it; calls are numbered in order."""
    made, call_index = [chunk(role="assistant", content="")], 0
    for said in chat:
        if said.kind in TEXT_KINDS:
            made += [
                chunk(logprobs=chat_logprobs(piece) if said.logprobs else None, **{said.kind: piece})
                for piece in said.pieces
            ]
        else:
            made += [chunk(tool_calls=[piece]) for piece in _call_pieces(said, call_index)]
            call_index += 1
    return made


def _call_pieces(said: Said, index: int) -> list[dict[str, Any]]:
    field = "arguments" if said.kind == "function" else "input"
    first = {"index": index, "id": f"call_{index}", "type": said.kind, said.kind: {"name": said.name, field: ""}}
    again = {"id": f"call_{index}"} if said.repeats_id else {}
    return [first, *({"index": index, **again, said.kind: {field: piece}} for piece in said.pieces)]


def chat_logprobs(token: str) -> dict[str, Any]:
    other = {"token": "é", "logprob": -2.0, "bytes": None}
    return {"content": [{"token": token, "logprob": -0.5, "bytes": [1, 2], "top_logprobs": [other]}], "refusal": None}


def _response_logprob(token: str) -> dict[str, Any]:
    other = {"token": "é", "logprob": -2.0, "bytes": [0xC3, 0xA9]}
    return {"token": token, "logprob": -0.5, "bytes": [1, 2], "top_logprobs": [other]}


def expected_output(chat: Sequence[Said], last_status: str = "completed") -> list[dict[str, Any]]:
    """The items without their ids: what stands next to its like is one part, texts of one message are one item."""
    output: list[dict[str, Any]] = []
    for index, said in enumerate(chat):
        if said.kind in TEXT_KINDS:
            _expect_text(output, said)
        else:
            number = sum(earlier.kind not in TEXT_KINDS for earlier in chat[:index])
            type, field = ("function_call", "arguments") if said.kind == "function" else ("custom_tool_call", "input")
            output.append({"type": type, "call_id": f"call_{number}", "name": said.name, field: said.whole})
    for item in output:
        item["status"] = last_status if item is output[-1] else "completed"
    return output


def _expect_text(output: list[dict[str, Any]], said: Said) -> None:
    part_type = TEXT_KINDS[said.kind]
    item_type = "reasoning" if said.kind == "reasoning_content" else "message"
    if not output or output[-1]["type"] != item_type:
        more: dict[str, Any] = {"summary": []} if item_type == "reasoning" else {"role": "assistant"}
        output.append({"type": item_type, "content": [], **more})
    content = output[-1]["content"]
    field = "refusal" if said.kind == "refusal" else "text"
    if not content or content[-1]["type"] != part_type:
        more = {"annotations": [], "logprobs": []} if part_type == "output_text" else {}
        content.append({"type": part_type, field: "", **more})
    content[-1][field] += said.whole
    if said.logprobs:
        content[-1]["logprobs"] += [_response_logprob(piece) for piece in said.pieces]
