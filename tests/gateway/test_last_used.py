"""When keys were used last: many uses are one write, none is lost to an outage, and no request waits."""

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from fundament.errors import Unavailable
from fundament.gateway import last_used as last_used_module
from fundament.gateway.last_used import LastUsed


class MemoryStore:
    """Keeps what it is told; fails or stalls when told."""

    def __init__(self) -> None:
        self.writes: list[dict[str, int]] = []
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.written = asyncio.Event()

    async def used(self, times: Mapping[str, int]) -> None:
        await self.gate.wait()
        if self.down:
            raise Unavailable("the store is down")
        self.writes.append(dict(times))
        self.written.set()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_a_thousand_uses_are_one_write_of_the_last_of_each(store: MemoryStore) -> None:
    last_used = LastUsed(store)
    for second in range(1000):
        last_used.note(f"key_{second % 2}", second + 0.9)
    await last_used.flush()
    await last_used.flush()
    assert store.writes == [{"key_0": 998, "key_1": 999}]


async def test_what_an_outage_kept_back_is_written_after_it(store: MemoryStore) -> None:
    last_used = LastUsed(store)
    last_used.note("key_1", 1)
    last_used.note("key_2", 1)
    store.down = True
    with capture_logs() as logs:
        await last_used.flush()
    assert [line["event"] for line in logs] == ["last_use_not_kept"]
    last_used.note("key_1", 2)
    store.down = False
    await last_used.flush()
    assert store.writes == [{"key_1": 2, "key_2": 1}]


async def test_what_is_noted_during_a_write_is_written_the_next_time(store: MemoryStore) -> None:
    last_used = LastUsed(store)
    last_used.note("key_1", 1)
    store.gate.clear()
    writing = asyncio.create_task(last_used.flush())
    await asyncio.sleep(0)
    last_used.note("key_1", 2)
    store.gate.set()
    await writing
    await last_used.flush()
    assert store.writes == [{"key_1": 1}, {"key_1": 2}]


async def test_it_is_written_at_intervals_and_when_the_worker_stops(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_used = LastUsed(store)
    monkeypatch.setattr(last_used_module, "FLUSH_INTERVAL_S", 0.02)
    last_used.note("key_1", 1)
    running = asyncio.create_task(last_used.run())
    await asyncio.wait_for(store.written.wait(), timeout=2)
    monkeypatch.setattr(last_used_module, "FLUSH_INTERVAL_S", 60)
    await asyncio.sleep(0.05)
    last_used.note("key_2", 2)
    running.cancel()
    await asyncio.wait([running])
    assert store.writes == [{"key_1": 1}, {"key_2": 2}]


async def test_a_store_that_stalls_does_not_keep_the_worker_from_stopping(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_used_module, "LAST_FLUSH_TIMEOUT_S", 0.05)
    last_used = LastUsed(store)
    store.gate.clear()
    running = asyncio.create_task(last_used.run())
    await asyncio.sleep(0)
    last_used.note("key_1", 1)
    running.cancel()
    with capture_logs() as logs:
        done, _ = await asyncio.wait([running], timeout=1)
    assert done == {running}
    assert [line["event"] for line in logs] == ["last_use_lost"]
