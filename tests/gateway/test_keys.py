"""The rules of keys: their shape, the ring in memory, and how it follows a source that fails or stalls."""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from accounts import CONTRACT
from fundament.errors import InvalidChange, Unavailable
from fundament.gateway import keys as keys_module
from fundament.gateway.keys import KeyRecord, KeyRefresher, KeyRing, new_key, scopes_of

WRONG_KEY = "sk-fundament-" + "x" * 43


class MemorySource:
    """A key source in memory that counts its queries, and stalls or fails when told."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.revision = 0
        self.queries = 0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    def create(self, name: str) -> str:
        record, plaintext = new_key(name, CONTRACT)
        self.records[name] = record
        self.revision += 1
        return plaintext

    def revoke(self, name: str) -> None:
        del self.records[name]
        self.revision += 1

    async def version(self) -> int:
        self.queries += 1
        if self.down:
            raise Unavailable("the source is down")
        revision = self.revision
        await self.gate.wait()
        return revision

    async def load(self) -> tuple[int, list[KeyRecord]]:
        self.queries += 1
        if self.down:
            raise Unavailable("the source is down")
        return self.revision, list(self.records.values())


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> float:
    """Seconds until the condition held; fails after the timeout."""
    start = time.monotonic()
    while not await condition():
        assert time.monotonic() - start < timeout_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def refresher(source: MemorySource) -> KeyRefresher:
    return KeyRefresher(KeyRing(), source)


def test_a_key_has_256_random_bits_and_its_record_only_the_hash_and_a_hint() -> None:
    record, plaintext = new_key("laptop", CONTRACT)
    assert re.fullmatch(r"sk-fundament-[A-Za-z0-9_-]{43}", plaintext)
    assert re.fullmatch(r"key_[0-9a-f]{24}", record.id)
    assert record.digest == hashlib.sha256(plaintext.encode()).digest()
    assert record.hint == plaintext[:16] + "…" + plaintext[-4:]
    assert abs(record.created_at - time.time()) < 2
    assert record.revoked_at is None
    assert plaintext not in repr(record)
    assert new_key("laptop", CONTRACT)[1] != plaintext


@pytest.mark.parametrize("name", ["", " laptop", "a\tb", "a\nb", "a" * 101, "key_1", "sk-fundament-oops", "bell\a"])
def test_a_name_that_would_confuse_a_list_or_a_revocation_is_refused(name: str) -> None:
    with pytest.raises(InvalidChange):
        new_key(name, CONTRACT)


@pytest.mark.parametrize("name", ["laptop", "Ada's phone (work)", "a" * 100, "ключ", "日本"])
def test_a_plain_name_is_kept_as_it_is(name: str) -> None:
    assert new_key(name, CONTRACT)[0].name == name


def test_a_key_that_would_never_work_is_refused() -> None:
    with pytest.raises(InvalidChange, match="future"):
        new_key("laptop", CONTRACT, expires_at=int(time.time()))


@pytest.mark.parametrize("names", [[], ["admin"], ["inference", "admin"]])
def test_a_scope_must_be_there(names: list[str]) -> None:
    with pytest.raises(InvalidChange, match="There are: inference, usage"):
        scopes_of(names)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_the_ring_finds_exactly_the_active_keys_of_its_last_replacement(fates: list[tuple[bool, bool]]) -> None:
    ring = KeyRing(new_key("before", CONTRACT)[0] for _ in range(3))
    made = [(new_key("name", CONTRACT), present, revoked) for present, revoked in fates]
    ring.replace(
        msgspec.structs.replace(r, revoked_at=1 if revoked else None) for (r, _), present, revoked in made if present
    )
    for (record, plaintext), present, revoked in made:
        found = ring.find(plaintext)
        assert (found is not None and found.id == record.id) == (present and not revoked)
    assert len(ring) == sum(present and not revoked for _, present, revoked in made)


@given(st.text(st.characters()))  # lone surrogates included
def test_any_text_can_be_looked_up(text: str) -> None:
    assert KeyRing([new_key("name", CONTRACT)[0]]).find(text) is None


async def test_a_key_works_as_soon_as_it_is_created(source: MemorySource, refresher: KeyRefresher) -> None:
    await refresher.refresh()
    plaintext = source.create("laptop")
    found = await refresher.find(plaintext)
    assert found == source.records["laptop"]


async def test_a_key_in_memory_costs_no_query(source: MemorySource, refresher: KeyRefresher) -> None:
    plaintext = source.create("laptop")
    await refresher.refresh()
    queries = source.queries
    for _ in range(100):
        assert await refresher.find(plaintext) is not None
    assert source.queries == queries


@pytest.mark.parametrize(
    "text", ["", "sk-fundament-", "sk-proj-abc", WRONG_KEY + "x", WRONG_KEY + "\n", WRONG_KEY[:-1] + "é"]
)
async def test_what_cannot_be_a_key_costs_no_query(source: MemorySource, refresher: KeyRefresher, text: str) -> None:
    assert await refresher.find(text) is None
    assert source.queries == 0


async def test_a_thousand_misses_at_once_cause_at_most_two_queries(
    source: MemorySource, refresher: KeyRefresher
) -> None:
    await refresher.refresh()
    source.queries = 0
    fresh = source.create("laptop")
    found = await asyncio.gather(*(refresher.find(fresh if n % 2 else WRONG_KEY) for n in range(1000)))
    assert [record is not None for record in found] == [n % 2 == 1 for n in range(1000)]
    assert source.queries <= 2


async def test_a_miss_does_not_trust_a_refresh_that_started_before_it(
    source: MemorySource, refresher: KeyRefresher
) -> None:
    await refresher.refresh()
    source.gate.clear()
    early = asyncio.create_task(refresher.find(WRONG_KEY))
    await eventually(lambda: asyncio.sleep(0, source.queries == 2), timeout_s=1)  # its refresh has read the version
    fresh = source.create("laptop")
    late = asyncio.create_task(refresher.find(fresh))
    await asyncio.sleep(0)
    source.gate.set()
    assert await early is None
    assert await late is not None


async def test_a_slow_source_is_asked_one_thing_at_a_time(source: MemorySource, refresher: KeyRefresher) -> None:
    # Otherwise an old answer could arrive after a newer one, and bring a revoked key back.
    await refresher.refresh()
    source.queries = 0
    source.gate.clear()
    misses: list[asyncio.Task[KeyRecord | None]] = []
    for _ in range(4):
        misses.append(asyncio.create_task(refresher.find(WRONG_KEY)))
        await asyncio.sleep(keys_module.REFRESH_SPACING_S * 1.2)
    assert source.queries == 1
    source.gate.set()
    assert await asyncio.gather(*misses) == [None] * 4


async def test_wrong_keys_cause_at_most_twenty_refreshes_a_second(
    source: MemorySource, refresher: KeyRefresher
) -> None:
    await refresher.refresh()
    source.queries = 0
    start = time.monotonic()
    waits: list[float] = []

    async def stranger() -> None:
        while time.monotonic() - start < 0.5:
            asked = time.monotonic()
            assert await refresher.find(WRONG_KEY) is None
            waits.append(time.monotonic() - asked)

    await asyncio.gather(*(stranger() for _ in range(50)))
    elapsed_s = time.monotonic() - start
    assert source.queries <= elapsed_s / 0.05 + 1
    assert len(waits) >= 50 * 3  # and the strangers were answered, each within two turns
    assert sorted(waits)[len(waits) // 2] < 0.12


async def test_a_revoked_key_is_refused_within_a_second(source: MemorySource, refresher: KeyRefresher) -> None:
    plaintext = source.create("laptop")
    await refresher.refresh()
    following = asyncio.create_task(refresher.run())
    source.revoke("laptop")

    async def refused() -> bool:
        return await refresher.find(plaintext) is None

    assert await eventually(refused, timeout_s=1) < 1
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_during_an_outage_known_keys_work_and_the_log_has_one_line(
    source: MemorySource, refresher: KeyRefresher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "POLL_INTERVAL_S", 0.01)
    plaintext = source.create("laptop")
    await refresher.refresh()
    with capture_logs() as logs:
        following = asyncio.create_task(refresher.run())
        source.down = True
        with pytest.raises(Unavailable):
            await refresher.find(WRONG_KEY)
        await asyncio.sleep(0.2)
        assert await refresher.find(plaintext) is not None
        assert source.queries > 4  # it kept trying
        source.down = False
        newer = source.create("phone")
        await eventually(lambda: asyncio.sleep(0, refresher._ring.find(newer) is not None), timeout_s=1)
        assert await refresher.find(WRONG_KEY) is None
        following.cancel()
        await asyncio.wait([following])
    assert [line["event"] for line in logs] == ["keys_source_down", "keys_source_back"]
    assert "the source is down" in logs[0]["error"]
    assert plaintext not in str(logs)


async def test_what_a_client_is_told_of_an_outage_does_not_quote_the_source(
    source: MemorySource, refresher: KeyRefresher
) -> None:
    source.down = True
    with capture_logs(), pytest.raises(Unavailable) as caught:
        await refresher.find(WRONG_KEY)
    assert "source" not in caught.value.message
    assert caught.value.retry_after_s == 1


async def test_a_source_that_never_answers_counts_as_down(
    source: MemorySource, refresher: KeyRefresher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refresher.refresh()
    monkeypatch.setattr(keys_module, "REFRESH_TIMEOUT_S", 0.05)
    source.gate.clear()
    with capture_logs(), pytest.raises(Unavailable):
        await asyncio.wait_for(refresher.find(WRONG_KEY), timeout=1)
    source.gate.set()
    assert await refresher.find(source.create("laptop")) is not None


async def test_a_caller_that_gives_up_does_not_take_the_refresh_from_the_others(
    source: MemorySource, refresher: KeyRefresher
) -> None:
    fresh = source.create("laptop")
    impatient = asyncio.create_task(refresher.find(fresh))
    patient = asyncio.create_task(refresher.find(fresh))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient is not None
    assert impatient.cancelled()


async def test_keys_are_found_after_following_has_stopped(source: MemorySource, refresher: KeyRefresher) -> None:
    await refresher.refresh()
    following = asyncio.create_task(refresher.run())
    source.gate.clear()
    misses = [asyncio.create_task(refresher.find(WRONG_KEY))]  # asks, and stalls
    await eventually(lambda: asyncio.sleep(0, source.queries == 2), timeout_s=1)
    misses.append(asyncio.create_task(refresher.find(WRONG_KEY)))  # waits for its turn
    await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait([following, *misses])
    source.gate.set()
    assert await refresher.find(source.create("laptop")) is not None


async def test_stopping_leaves_no_task_behind(source: MemorySource, refresher: KeyRefresher) -> None:
    await refresher.refresh()
    before = asyncio.all_tasks()
    source.gate.clear()
    following = asyncio.create_task(refresher.run())
    await eventually(lambda: asyncio.sleep(0, source.queries == 2), timeout_s=1)
    following.cancel()
    await asyncio.wait([following])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
