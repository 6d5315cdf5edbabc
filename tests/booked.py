"""What a service has recorded of its requests: in the journal, or in the ledger, where records are moved to.

It knows the journal's lines and the ledger's rows, and that what leaves the one is in the other before.
"""

import json
from typing import Any

from sqlalchemy import select

from databases import in_a_thread
from fundament.config import load
from fundament.storage.database import open_database, reading
from fundament.storage.tables import usage
from service import Service

Json = dict[str, Any]


def database_url(service: Service) -> str:
    return load(service.config, environ={}, flags={"server.data_dir": service.data}).config.database_url


def rows(service: Service) -> list[Json]:
    """The rows of the ledger."""
    found: list[Json] = []

    async def read() -> None:
        engine = open_database(database_url(service))
        async with reading(engine).connect() as connection:
            found.extend(dict(row) for row in (await connection.execute(select(usage))).mappings())
        await engine.dispose()

    in_a_thread(read())
    return found


def records(service: Service) -> list[Json]:
    """The rows, and the records that are still to come."""
    journal = [line for file in (service.data / "usage").glob("*.jsonl") for line in file.read_bytes().splitlines()]
    defaults = {"outcome": "failed", "error_code": None}  # what is by default is left out of a line
    found = [defaults | json.loads(line) for line in journal] + rows(service)
    return list({record["request_id"]: record for record in found}.values())
