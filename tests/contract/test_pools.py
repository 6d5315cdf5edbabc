"""Models with several upstreams on the real service: no client notices that one is away; circuits open and close."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from booked import records
from native_answers import PATH as NATIVE_PATH
from native_answers import answering, message
from scripted_answers import (
    DONE,
    Answer,
    Hang,
    Reset,
    chat_answer,
    chat_events,
    chat_stream,
    completion_answer,
    completion_stream,
    error_answer,
    sse_answer,
)
from scripted_upstream import ScriptedUpstream
from service import Reply, Service, free_port, wait_until
from specification import assert_valid, read_sse
from telemetry.counting import samples

BOTH = pytest.mark.parametrize("stream", [False, True])
MESSAGES = [{"role": "user", "content": "x"}]

# An upstream as a process of its own, which can be killed: each answer is one write.
PROGRAM = """
import asyncio, sys
BODY = sys.argv[1].encode()
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY) + BODY
async def serve(reader, writer):
    while True:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\\r\\n")[0]))
        await asyncio.sleep(0.005)
        writer.write(ANSWER)
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Process:
    """An upstream that answers every chat with `content`, until it is killed."""

    def __init__(self, content: str) -> None:
        [body] = chat_answer(content).steps
        assert isinstance(body, bytes)
        command = [sys.executable, "-c", PROGRAM, body.decode()]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self.base_url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def model(id: str, *base_urls: str, **settings: Any) -> str:
    rows = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    return f'[[models]]\nid = "{id}"\n' + "".join(
        f'[[models.upstreams]]\nbase_url = "{base_url}"\n{rows}\n' for base_url in base_urls
    )


@pytest.fixture(scope="module")
def running_second() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def processes() -> Iterator[list[Process]]:
    started = [Process("from the first"), Process("from the second")]
    yield started
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def pooled_service(
    tmp_path_factory: pytest.TempPathFactory,
    running_upstream: ScriptedUpstream,
    running_second: ScriptedUpstream,
    processes: list[Process],
) -> Iterator[Service]:
    first, second, nobody = running_upstream.base_url, running_second.base_url, f"http://127.0.0.1:{free_port()}/v1"
    config = "".join(
        [
            model("half-dead", nobody, second, responses=False),
            model("half-dead-native", nobody, second),
            model("failing", first, second, responses=False),
            model("breaking", first, second, responses=False),
            model("alone", first, responses=False),
            model("refusing", first, responses=False),
            model("lost", nobody, responses=False),
            model("killed", *(process.base_url for process in processes), responses=False),
            model("narrow", first, second, responses=False, max_in_flight=1),
        ]
    )
    with Service(tmp_path_factory.mktemp("pools"), config) as service:
        yield service


@pytest.fixture
def second(running_second: ScriptedUpstream) -> ScriptedUpstream:
    running_second.reset()
    return running_second


@pytest.fixture
def pooled(pooled_service: Service, upstream: ScriptedUpstream, second: ScriptedUpstream) -> Service:
    return pooled_service


def chat(service: Service, model: str, **fields: Any) -> Reply:
    return service.post("/v2/chat/completions", {"model": model, "messages": MESSAGES} | fields)


def shown(service: Service, name: str, **labels: str) -> float | None:
    body = service.request("GET", "/metrics", key=None).body
    return samples(body).get((f"fundament_{name}", frozenset(labels.items())))


def logged(service: Service, event: str, model: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in service.log_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event and line.get("model") == model]


def records_of(service: Service, model: str) -> list[dict[str, Any]]:
    return [record for record in records(service) if record["model"] == model]


@BOTH
@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/responses", "native /responses"])
def test_no_client_notices_that_one_of_two_is_dead(
    pooled: Service, second: ScriptedUpstream, path: str, stream: bool
) -> None:
    second.default(chat_stream(["Hello"]) if stream else chat_answer("Hello"), path="/v1/chat/completions")
    second.default(completion_stream(["Hello"]) if stream else completion_answer("Hello"), path="/v1/completions")
    second.default(answering(message("Hello")), path=NATIVE_PATH)
    body: dict[str, Any] = {"model": "half-dead-native" if path.startswith("native") else "half-dead", "stream": stream}
    body |= {"/chat/completions": {"messages": MESSAGES}, "/completions": {"prompt": "x"}}.get(path, {"input": "x"})
    before = len(records_of(pooled, body["model"]))
    for _ in range(4):
        reply = pooled.post("/v2" + path.removeprefix("native "), body)
        assert reply.status == 200, reply.body
        assert b"Hello" in reply.body
        assert b"error" not in reply.body.replace(b'"error":null', b"")
    assert wait_until(lambda: len(records_of(pooled, body["model"])) == before + 4, 10)
    assert {record["outcome"] for record in records_of(pooled, body["model"])} == {"completed"}


def test_a_circuit_opens_on_a_dead_upstream_is_shown_and_nobody_waits_for_it(
    pooled: Service, second: ScriptedUpstream
) -> None:
    second.default(chat_answer("Hello"))
    for _ in range(6):
        assert chat(pooled, "half-dead").status == 200
    assert shown(pooled, "upstream_circuit_open", model="half-dead", upstream="0") == 1
    assert shown(pooled, "upstream_circuit_open", model="half-dead", upstream="1") == 0
    moved = shown(pooled, "upstream_moved_total", model="half-dead", upstream="0")
    assert moved is not None
    assert moved >= 5
    assert shown(pooled, "upstream_failures_total", model="half-dead", kind="upstream_error") == 0
    [line] = logged(pooled, "circuit_opened", "half-dead")
    assert (line["level"], line["upstream"]) == ("warning", 0)
    assert line["host"].startswith("127.0.0.1:")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@BOTH
def test_no_client_notices_that_one_of_two_refuses(
    pooled: Service, upstream: ScriptedUpstream, second: ScriptedUpstream, status: int, stream: bool
) -> None:
    upstream.answer(error_answer(status, "Not now."))
    upstream.default(chat_answer("Hello"))
    second.default(chat_stream(["Hello"]) if stream else chat_answer("Hello"))
    reply = chat(pooled, "failing", stream=stream)
    assert (reply.status, b"Hello" in reply.body) == (200, True)
    assert (len(upstream.requests), len(second.requests)) == (1, 1)
    chat(pooled, "failing")  # a success between, so that no circuit opens


def test_the_last_failure_is_told_when_all_fail(
    pooled: Service, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.answer(error_answer(500, "The first failed."))
    second.answer(error_answer(400, "It is the request.", param="messages"))
    reply = chat(pooled, "failing")
    assert (reply.status, reply.error["message"], reply.error["param"]) == (400, "It is the request.", "messages")


def test_a_stream_that_breaks_is_not_begun_again(
    pooled: Service, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.default(sse_answer([*chat_events(["a"])[:2], Reset()]))
    second.default(chat_stream(["b"]))
    reply = chat(pooled, "breaking", stream=True)
    *_, frame = read_sse(reply.body)
    assert assert_valid("ErrorResponse", json.loads(frame))["error"]["type"] == "server_error"
    assert DONE not in reply.body
    assert (len(upstream.requests), len(second.requests)) == (1, 0)


def test_the_circuit_of_a_single_upstream_refuses_at_once_and_closes_again(
    pooled: Service, upstream: ScriptedUpstream
) -> None:
    upstream.default(error_answer(500, "no"))
    assert [chat(pooled, "alone", stream=bool(i % 2)).status for i in range(5)] == [502] * 5
    for _ in range(3):
        reply = chat(pooled, "alone")
        assert (reply.status, reply.error["code"]) == (503, "upstream_unavailable")
        assert reply.headers["retry-after"] == "1"
        assert_valid("ErrorResponse", reply.json)
    assert len(upstream.requests) == 5
    assert shown(pooled, "upstream_circuit_open", model="alone", upstream="0") == 1
    upstream.default(chat_answer("Hello"))
    time.sleep(float(reply.headers["retry-after"]))
    assert chat(pooled, "alone").status == 200
    assert shown(pooled, "upstream_circuit_open", model="alone", upstream="0") == 0
    assert [len(logged(pooled, f"circuit_{what}", "alone")) for what in ("opened", "closed")] == [1, 1]
    assert shown(pooled, "upstream_failures_total", model="alone", kind="upstream_unavailable") == 3
    assert wait_until(lambda: len(records_of(pooled, "alone")) == 9, 10)


def test_a_request_at_fault_never_opens_a_circuit(pooled: Service, upstream: ScriptedUpstream) -> None:
    upstream.default(error_answer(400, "no"))
    assert [chat(pooled, "refusing").status for _ in range(12)] == [400] * 12
    upstream.default(error_answer(429, "no"))
    assert [chat(pooled, "refusing").status for _ in range(12)] == [429] * 12


def test_the_service_is_ready_without_an_upstream(pooled: Service) -> None:
    for _ in range(7):
        chat(pooled, "lost")
    assert shown(pooled, "upstream_circuit_open", model="lost", upstream="0") == 1
    assert pooled.request("GET", "/health/ready", key=None).status == 200


def test_lines_of_all_upstreams_are_counted(
    pooled: Service, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    for server in (upstream, second):
        server.default(Answer([Hang()]))
    exchanges = [
        pooled.send("POST", "/v2/chat/completions", {"model": "narrow", "messages": MESSAGES}) for _ in range(7)
    ]
    assert wait_until(lambda: shown(pooled, "requests_waiting", model="narrow") == 5, 5)
    for exchange in exchanges:
        exchange.leave()
    assert wait_until(lambda: shown(pooled, "requests_waiting", model="narrow") == 0, 5)


def test_killing_one_of_two_under_load_fails_no_request(pooled: Service, processes: list[Process]) -> None:
    replies: list[Reply] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            replies.append(chat(pooled, "killed"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert wait_until(lambda: len(replies) > 100, 20)
        processes[0].kill()
        killed_after = len(replies)
        assert wait_until(lambda: len(replies) > killed_after + 150, 20)
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)
    assert [reply.body for reply in replies if reply.status != 200] == []
    before, after = replies[:killed_after], replies[killed_after + 20 :]
    assert any(b"from the first" in reply.body for reply in before)
    assert all(b"from the second" in reply.body for reply in after)
    assert shown(pooled, "upstream_circuit_open", model="killed", upstream="0") == 1
    assert wait_until(lambda: len(records_of(pooled, "killed")) == len(replies), 10, 0.2)
    assert {record["outcome"] for record in records_of(pooled, "killed")} == {"completed"}
    assert len({record["request_id"] for record in records_of(pooled, "killed")}) == len(replies)
