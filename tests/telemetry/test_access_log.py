"""One whole line a request, ids and numbers only, however many write to the same pipe."""

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fundament.gateway.trace import continued
from fundament.telemetry.access_log import AccessLog
from fundament.telemetry.exchange import Exchange
from telemetry.counting import record


def exchange(**changes: Any) -> Exchange:
    fields = {"request_id": "req_2", "method": "GET", "path": "/v2/models", "status": 200, "duration_ms": 0.5}
    return Exchange(**fields | changes)


async def lines_of(path: Path) -> list[dict[str, Any]]:
    await asyncio.sleep(0)  # the lines are written at the end of the turn
    return [json.loads(line) for line in path.read_text().splitlines()]  # noqa: ASYNC240 - a small file


async def test_a_request_to_a_model_is_one_line_with_all_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "log"
    trace = continued([])
    with path.open("w") as file:
        log = AccessLog(file)
        one = record(first_byte_ms=1.5, stream=True, cached_tokens=4, reasoning_tokens=2)
        log.begun(one)
        log.settled(one, trace)
        [line] = await lines_of(path)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "req_1",
        "trace_id": trace.trace_id,
        "endpoint": "chat",
        "model": "model",
        "contract_id": "contract_1",
        "key_id": "key_1",
        "stream": True,
        "status": 200,
        "outcome": "completed",
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 5,
        "reasoning_tokens": 2,
        "first_byte_ms": 1.5,
        "duration_ms": 1200.0,
    }


async def test_any_other_request_is_one_line_too_and_a_long_path_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        AccessLog(file).answered(exchange(path="/" + "x" * 5000, status=404))
        [line] = await lines_of(path)
    assert (line["method"], line["status"], line["request_id"]) == ("GET", 404, "req_2")
    assert line["path"] == "/" + "x" * 199


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_what_machines_ask_every_few_seconds_is_not_logged(tmp_path: Path, path: str) -> None:
    with (tmp_path / "log").open("w") as file:
        AccessLog(file).answered(exchange(path=path))
        assert await lines_of(tmp_path / "log") == []


async def test_a_client_cannot_forge_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        AccessLog(file).answered(exchange(path='/x\n{"event":"request","status":200}'))
        assert len(await lines_of(path)) == 1


async def test_lines_of_several_workers_on_one_pipe_stay_whole() -> None:
    reading, writing = os.pipe()
    received: list[bytes] = []
    with os.fdopen(reading, "rb") as pipe:
        reader = threading.Thread(target=lambda: received.append(pipe.read()))
        reader.start()
        loop = asyncio.get_running_loop()

        async def work(file: Any, name: str) -> None:
            log = AccessLog(file)
            for _ in range(20):
                for _ in range(50):  # far more than what a pipe takes at once
                    log.settled(record(model=name * 100), None)
                log.flush()

        def worker(name: str) -> None:
            with os.fdopen(os.dup(writing), "w") as file:
                asyncio.run(work(file, name))

        await asyncio.gather(*(loop.run_in_executor(None, worker, name) for name in "abc"))
        os.close(writing)
        await loop.run_in_executor(None, reader.join)
    lines = [json.loads(line) for line in received[0].splitlines()]
    assert sorted({line["model"] for line in lines}) == ["a" * 100, "b" * 100, "c" * 100]
    assert len(lines) == 3 * 20 * 50


async def test_a_log_that_nobody_reads_ends_no_request() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        log = AccessLog(file)
        log.settled(record(), None)
        log.flush()
        log.settled(record(), None)
        log.flush()


async def test_people_at_a_terminal_get_a_line_for_people() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w") as terminal:
        log = AccessLog(terminal)
        with capture_logs() as logs:
            log.settled(record(), None)
    [line] = logs
    assert (line["event"], line["model"], line["output_tokens"]) == ("request", "model", 5)
