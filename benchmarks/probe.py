"""Asks a server once before it is loaded, and compares with what the scripted upstream says."""

import http.client
import json

from benchmarks import UnmeasurableError, wire
from benchmarks.servers import Server


def check_answer(server: Server) -> None:
    """Raises `UnmeasurableError` unless the upstream's text and usage arrive in a chat completion."""
    answer = json.loads(_ask(server, stream=False)[1])
    text = answer["choices"][0]["message"]["content"]
    if answer["object"] != "chat.completion" or text != wire.ANSWER_TEXT or answer["usage"]["total_tokens"] != 45:
        raise UnmeasurableError(f"{server.name} changed the answer: {answer}")


def check_stream(server: Server) -> None:
    """Raises `UnmeasurableError` unless each of the 200 texts has an event of its own, and `[DONE]` is last."""
    events = _ask(server, stream=True)[1].decode().split("\n\n")
    if events[-2:] != ["data: [DONE]", ""]:
        raise UnmeasurableError(f"{server.name} ended a stream with {events[-2:]}")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    texts = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    if [text for text in texts if text] != wire.stream_texts():
        raise UnmeasurableError(f"{server.name} changed the stream: {texts}")


def tells_limits(server: Server) -> bool:
    """Whether an answer has the headers of limits."""
    return "x-ratelimit-remaining-requests" in _ask(server, stream=False)[0]


def _ask(server: Server, *, stream: bool) -> tuple[set[str], bytes]:
    """The names of the answer's headers, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", wire.request(stream=stream), headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise server.process.failure(f"did not answer ({error})") from error
    finally:
        connection.close()
    if response.status != 200:
        raise server.process.failure(f"answered {response.status}: {body[:500]!r}")
    return {name.lower() for name in response.headers}, body
