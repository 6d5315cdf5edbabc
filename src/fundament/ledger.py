"""The ledger process: moves this machine's usage journal into the database, and sweeps what is older than it is kept.

Run as `python -m fundament.ledger` by the supervisor, with its instructions on stdin. It is not on any request's way:
while it is away, or the database is, the journal grows.
"""

import asyncio
import contextlib
import os
import signal

from fundament.errors import Unavailable
from fundament.gateway.retention import Retention
from fundament.lifeline import receive_instructions
from fundament.settings import Config
from fundament.storage.database import open_database
from fundament.storage.mover import Mover
from fundament.storage.usage import UsageRepository
from fundament.telemetry.logs import configure_logging

# Workers go first where both want a core. Not the weakest: who starves while it holds SQLite's lock makes them wait.
NICENESS = 10
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
    running = [asyncio.create_task(work.run()) for work in (mover, Retention(ledger, config.storage.usage_days))]
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
    os.nice(NICENESS)
    asyncio.run(keep(config))


if __name__ == "__main__":
    main()
