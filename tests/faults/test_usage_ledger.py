"""The usage ledger while processes are killed and the database is away: what a client saw answered is in it, once.

KILLS in the environment says how often the workers and the whole service are killed; the acceptance run has 20.
"""

import http.client
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from booked import rows
from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from databases import PostgreSQL
from fundament.storage.mover import moved_until
from scripted_answers import Answer, chat_answer
from scripted_upstream import Request, ScriptedUpstream
from service import Service, wait_until

KILLS = int(os.environ.get("KILLS", "3"))
CLIENTS = 6
CHAT = "/v2/chat/completions"


class Clients:
    """Clients that ask without a pause. The number of each question comes back as its count of input tokens."""

    def __init__(self, service: Service) -> None:
        self.asked: set[int] = set()
        self.answered: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._service = service
        self._key = service.key
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_answered(self, more: int) -> None:
        wanted = len(self.answered) + more
        assert wait_until(lambda: len(self.answered) >= wanted, 30), "nobody is answered any more"

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            self.asked.add(number)
            body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": str(number)}]}
            try:
                reply = self._service.post(CHAT, body, key=self._key, timeout_s=10)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            if reply.status == 503:  # a new worker that cannot look up keys while the database is away
                assert reply.error["message"].startswith("API keys cannot be checked"), reply.body
                time.sleep(0.02)
            else:
                assert (reply.status, reply.json["usage"]["prompt_tokens"]) == (200, number)
                self.answered[reply.headers["x-request-id"]] = number


def counting(request: Request) -> Answer:
    return chat_answer("yes", prompt_tokens=int(request.json["messages"][0]["content"]))


@contextmanager
def asking(service: Service, upstream: ScriptedUpstream) -> Iterator[Clients]:
    upstream.default(counting)
    clients = Clients(service)
    clients.start()
    try:
        yield clients
    finally:
        clients.stop()


def assert_booked(service: Service, clients: Clients) -> None:
    """What was seen answered is in the ledger as it was, nothing twice, and nothing that was not asked."""
    every = rows(service)
    completed = [row for row in every if row["outcome"] == "completed"]
    booked = {row["request_id"]: row["input_tokens"] for row in completed}
    assert clients.answered.items() <= booked.items(), "lost"
    assert {row["output_tokens"] for row in completed} == {3}
    numbers = list(booked.values())
    assert len(numbers) == len(set(numbers)), "twice"
    # A process may die between its record and its answer; nobody was told of the record then.
    assert set(numbers) - set(clients.answered.values()) <= clients.asked - set(clients.answered.values())
    assert len(numbers) - len(clients.answered) <= CLIENTS * 2 * KILLS
    done = service.command("usage", "report", "--by", "model", "--format", "json")
    assert done.returncode == 0, done.stderr
    [total] = json.loads(done.stdout)["data"]
    assert (total["requests"], total["input_tokens"]) == (len(every), sum(numbers))


def kill_all(service: Service) -> None:
    service.destroy()
    service.start().wait_ready()


def test_workers_the_ledger_and_the_whole_service_are_killed(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    service = Service(
        tmp_path / "service", scripted_config(upstream.base_url), environment=UPSTREAM_ENVIRONMENT, workers=2
    )
    with service, asking(service, upstream) as clients:
        for number in range(KILLS):
            clients.wait_answered(20)
            service.workers()[0].kill()
            clients.wait_answered(20)
            [ledger] = [process for process in service.processes() if "fundament.ledger" in process.command]
            ledger.kill()
            clients.wait_answered(5 * number)
            kill_all(service)
        clients.wait_answered(20)
        clients.stop()
        service.stop()
        assert list((service.data / "usage").glob("*.jsonl")) == [], "an orderly end leaves nothing to move"
        assert_booked(service, clients)


def test_the_database_goes_away_meanwhile(
    tmp_path: Path, upstream: ScriptedUpstream, postgresql: PostgreSQL, cleared_url: str
) -> None:
    postgresql.clear(cleared_url)
    config = f'[storage]\ndatabase = "{cleared_url}"\n' + scripted_config(upstream.base_url)
    service = Service(tmp_path / "service", config, environment=UPSTREAM_ENVIRONMENT, workers=2)
    with service, asking(service, upstream) as clients:
        for outages in range(1, KILLS + 1):
            clients.wait_answered(20)
            postgresql.stop()
            try:
                noticed = wait_until(lambda told=outages: service.log_text().count("usage_ledger_down") == told, 10)
                assert noticed, service.log_text()
                clients.wait_answered(50)
                service.workers()[0].kill()
                clients.wait_answered(5)
            finally:
                postgresql.start()
            kill_all(service)
            service.workers()[1].kill()
        clients.wait_answered(20)
        clients.stop()
        wait_moved(service)
        service.stop()
        assert_booked(service, clients)


def wait_moved(service: Service) -> None:
    now = time.time()
    assert wait_until(lambda: (moved_until(service.data / "usage") or 0) > now, 20), service.log_text()


def test_the_ledger_yields_to_who_serves_requests(scripted: Service) -> None:
    [ledger] = [process for process in scripted.processes() if "fundament.ledger" in process.command]
    [worker] = scripted.workers()
    assert [niceness(pid) for pid in (ledger.pid, worker.pid)] == [19, 0]
    group = Path(f"/proc/{ledger.pid}/autogroup")
    if group.exists():
        assert group.read_text().endswith("nice 19\n")


def niceness(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
