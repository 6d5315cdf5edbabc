"""The scripted upstream for mixed load: answers at once, slowly, with an error or half, as the model's name says.

A process of its own (`python -m benchmarks.mixed_upstream PORT`). Reads no more of a request than its path, its model
and how it wants the answer. Like many servers it closes a connection that was idle for 5 s.
"""

import asyncio
import json
import sys

import uvloop

from benchmarks import wire
from benchmarks.sse_upstream import STREAM_END, STREAM_HEAD, Connection, chunked

STEADY, SLOW, FAILING, BREAKING = "steady", "slow", "failing", "breaking"
MODELS = (STEADY, SLOW, FAILING, BREAKING)
CHUNKS = 10
COMPLETION_TEXT = " jumps over the lazy dog."
_STEADY_PACE_S = 0.004
_SLOW_PACE_S = 0.1
_SLOW_CHUNKS = 300  # half a minute: who asks for them does not stay so long
_BREAKS_AFTER = 4
_IDLE_S = 5.0


class Answers:
    """All that is ever said, made once."""

    def __init__(self) -> None:
        self.chat = _whole(200, wire.answer())
        usage = {"prompt_tokens": 24, "completion_tokens": 6, "total_tokens": 30}
        self.completion = _whole(200, json.dumps(_completion(COMPLETION_TEXT, "stop") | {"usage": usage}))
        texts = [_completion(text, None) for text in wire.stream_texts(CHUNKS - 1)] + [_completion("", "stop")]
        last = [b"data: %b\n\n" % json.dumps({**_completion("", None), "choices": [], "usage": usage}).encode()]
        events = [b"data: %b\n\n" % json.dumps(text).encode() for text in texts]
        self._completion_streams = {
            usage: chunked([*events, *last * usage, b"data: [DONE]\n\n"]) for usage in (False, True)
        }
        error = {"message": "out of order", "type": "server_error", "param": None, "code": None}
        self.failure = _whole(500, json.dumps({"error": error}))
        self._streams = {
            (model, usage): chunked(wire.stream_events(with_usage=usage, count=count))
            for model, count in ((STEADY, CHUNKS), (BREAKING, CHUNKS), (SLOW, _SLOW_CHUNKS))
            for usage in (False, True)
        }

    def stream(self, model: str, *, chat: bool, usage: bool) -> list[bytes]:
        return self._streams[model, usage] if chat else self._completion_streams[usage]


class MixedUpstream(Connection):
    """One connection of the service."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers
        self._later: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self._forget()

    def answer(self, head: bytes, body: bytes) -> None:
        self._forget()
        chat = b"/chat/" in head[:64]
        model = next(model for model in MODELS if b'"model":"%b"' % model.encode() in body)
        if model == FAILING:
            self._end(self._answers.failure)
        elif b'"stream":true' in body:
            self.transport.write(STREAM_HEAD)
            self._write(model, self._answers.stream(model, chat=chat, usage=b"include_usage" in body), 0)
        elif model == BREAKING:
            self.transport.write(self._answers.chat[:-20])
            self.transport.close()
        elif model == SLOW:
            self._later = self.loop.call_later(_SLOW_CHUNKS * _SLOW_PACE_S, self._end, self._answers.chat)
        else:
            self._end(self._answers.chat if chat else self._answers.completion)

    def _write(self, model: str, chunks: list[bytes], position: int) -> None:
        if position == len(chunks):
            self._end(STREAM_END)
        elif model == BREAKING and position == _BREAKS_AFTER:
            self.transport.close()
        else:
            self.transport.write(chunks[position])
            pace_s = _SLOW_PACE_S if model == SLOW else _STEADY_PACE_S
            self._later = self.loop.call_later(pace_s, self._write, model, chunks, position + 1)

    def _end(self, data: bytes) -> None:
        self.transport.write(data)
        self._later = self.loop.call_later(_IDLE_S, self.transport.close)

    def _forget(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None


def _whole(status: int, body: str) -> bytes:
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def _completion(text: str, finish_reason: str | None) -> dict[str, object]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    named = {"id": "cmpl-AbCdEfGhIjKl", "object": "text_completion", "created": 1790000000, "model": STEADY}
    return {**named, "choices": [choice]}


async def serve(port: int) -> None:
    answers = Answers()
    server = await asyncio.get_running_loop().create_server(lambda: MixedUpstream(answers), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
