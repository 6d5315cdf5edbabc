"""Three minutes of mixed load on two workers: the benchmark `endurance`, of an hour, in short.

It knows how much memory may grow in so short a time. The load is known by `benchmarks/endurance.py`, which ends with an
error when an answer, a usage record or a log line is not as expected, or a process was replaced.
"""

import asyncio
from pathlib import Path

from benchmarks.endurance import SHORT, endure
from counter_stores import RedisServer

MOST_GROWTH_MB = 4.0
"""Of a process between the minutes 1 and 3, in which a worker records about 4,000 requests.

Free lists still grow by 0.7 MB then, and the allocator now gives 1.9 MB back to the system, now keeps them. A leak of
2 KB a request is 7 MB or more, and is seen. One below 1 KB is not, but in an hour.
"""

FEWEST_REQUESTS = 9_000  # half of what the load has in mind


async def test_three_minutes_of_mixed_load_leave_nothing_behind(tmp_path: Path, redis_server: RedisServer) -> None:
    endured = await asyncio.to_thread(endure, SHORT, tmp_path, redis_server.url)
    assert endured.tally.requests >= FEWEST_REQUESTS, "the machine was too busy to see a leak"
    assert set(endured.names) == {"supervisor", "worker 1", "worker 2", "ledger"}
    growths_mb = {name: endured.late_mb(name)[0] - endured.early_mb(name)[0] for name in endured.names}
    assert {name: growth for name, growth in growths_mb.items() if growth > MOST_GROWTH_MB} == {}
    for name in endured.names:
        before, after = endured.descriptors(name)
        assert after <= before, f"{name} had {before} descriptors and has {after}"
