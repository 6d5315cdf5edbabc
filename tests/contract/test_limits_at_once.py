"""One contract, three keys, fifty clients, four workers and one counter store: no more passes than the limit says.

`LIMITED_REQUESTS=2000` is the acceptance run; less is enough to see a limit that multiplies with its workers.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from catalogues import UPSTREAM_ENVIRONMENT, scripted_config
from counter_stores import RedisServer
from customers import Customer
from fundament.gateway.usage import UsageQuery
from fundament.storage.usage import UsageRepository
from scripted_answers import Answer, Hang, chat_answer, chat_events, sse_answer
from scripted_upstream import Request, ScriptedUpstream
from service import Service, wait_until

REQUESTS = int(os.environ.get("LIMITED_REQUESTS", "300"))
CLIENTS = 50
CONFIG = """
[storage]
counters = "%s"

[[plans.hundred.limits]]
model = "*"
rpm = 100

[[plans.tokens.limits]]
model = "*"
input_tpm = 1_000_000
output_tpm = 2000
"""
CHAT = {"model": "open-model", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
SAID = 20  # tokens in each half of an answer


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream, running_redis: RedisServer
) -> Iterator[Service]:
    config = scripted_config(running_upstream.base_url) + CONFIG % running_redis.url
    directory = tmp_path_factory.mktemp("limits-at-once")
    with Service(directory, config, workers=4, environment=UPSTREAM_ENVIRONMENT) as service:
        yield service


def test_exactly_as_many_requests_pass_as_the_limit_says(
    service: Service, upstream: ScriptedUpstream, redis_server: RedisServer
) -> None:
    upstream.default(chat_answer("four"))
    customer = Customer(service, "hundred")
    keys = [customer.key, customer.new_key(), customer.new_key()]

    def ask(number: int) -> int:
        return service.post("/v2/chat/completions", CHAT, key=keys[number % 3]).status

    started = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as clients:
        statuses = Counter(clients.map(ask, range(REQUESTS)))
    assert time.monotonic() - started < 60, "the machine is too slow to see one window"
    assert statuses == {200: 100, 429: REQUESTS - 100}
    assert len(upstream.requests) == 100


def test_tokens_never_pass_their_limit_and_what_was_reserved_is_what_was_used(
    service: Service, upstream: ScriptedUpstream, redis_server: RedisServer
) -> None:
    events = chat_events(["a"] * 2 * SAID, usage_asked=True)

    def answer(request: Request) -> Answer:
        if request.json["messages"][0]["content"] == "half":
            return sse_answer([b"".join(events[: 1 + SAID]), Hang()])
        return sse_answer([b"".join(events), b"data: [DONE]\n\n"])

    upstream.default(answer)
    customer = Customer(service, "tokens")
    window = f"fundament:window:{customer.contract.id}:open-model"

    def ask(number: int) -> int:
        """Every second client leaves when half of the answer is there. Gives what is reserved at that moment."""
        content = "half" if number % 2 else "all"
        chat: dict[str, Any] = CHAT | {"messages": [{"role": "user", "content": content}], "stream": True}
        with customer.send("/chat/completions", chat) as exchange:
            if exchange.status == 429:
                exchange.read()
                return 0
            for seen, _ in enumerate(exchange.events(), 1):
                if number % 2 and seen == 1 + SAID:
                    break
            return int(str(redis_server.ask("HGET", window, "output")))

    with ThreadPoolExecutor(CLIENTS) as clients:
        reserved = list(clients.map(ask, range(REQUESTS)))
    assert max(reserved) <= 2000
    assert 2000 // (2 * SAID) <= sum(output > 0 for output in reserved) <= 2000 // SAID

    def used() -> tuple[int, int]:
        rows = customer.ask(lambda engine: UsageRepository(engine).report(UsageQuery(by=("contract",))))
        [mine] = [row for row in rows if row.contract_id == customer.contract.id] or [None]
        return (0, 0) if mine is None else (mine.requests, mine.output_tokens)

    def counted() -> tuple[int, int]:
        return tuple(int(str(redis_server.ask("HGET", window, name))) for name in ("requests", "output"))

    assert wait_until(lambda: used() == counted(), 10, every_s=0.5), (used(), counted())
    assert counted()[0] == sum(output > 0 for output in reserved)
