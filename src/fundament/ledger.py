"""The ledger process: moves this machine's usage journal into the database, sweeps what is older than it is
kept, and deletes what is left of contracts that were erased.

Run as `python -m fundament.ledger` by the supervisor, with its instructions on stdin. It is not on any request's way:
while it is away, or the database is, the journal grows.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from fundament.errors import Unavailable
from fundament.gateway.retention import Retention
from fundament.lifeline import receive_instructions
from fundament.settings import Config
from fundament.storage.database import open_database
from fundament.storage.erasure import Erasure
from fundament.storage.mover import Mover
from fundament.storage.usage import UsageRepository
from fundament.telemetry.logs import configure_logging

NICENESS = 19  # where all cores are busy, requests go first: what is left still moves a thousand records a second
LAST_MOVE_INTERVAL_S = 0.05


async def keep(config: Config) -> None:
    """Keeps the ledger until SIGTERM; then until the workers have written their last record and it is moved, too."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    database = open_database(config.database_url)
    ledger = UsageRepository(database)
    mover = Mover(config.journal_dir, ledger)
    works = (mover, Retention(ledger, config.storage.usage_days), Erasure(database))
    running = [asyncio.create_task(work.run()) for work in works]
    try:
        await asyncio.wait([asyncio.create_task(stop.wait()), *running], return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        with contextlib.suppress(Unavailable):  # the next start moves the rest
            while not await mover.move():  # noqa: ASYNC110 - it waits for other processes, which tell it nothing
                await asyncio.sleep(LAST_MOVE_INTERVAL_S)
    finally:
        await database.dispose()


def main() -> None:
    config = receive_instructions(Config)
    configure_logging(config.server.log_level)
    _yield_to_others()
    asyncio.run(keep(config))


def _yield_to_others() -> None:
    os.nice(NICENESS)
    # Linux may weigh whole sessions against each other, and this process is one of its own: then only this counts.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


if __name__ == "__main__":
    main()
