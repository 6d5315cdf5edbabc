"""A contract of a running service with keys, made beside it as the command line makes them, but without its start.

It knows repositories and the service's data directory; it knows no endpoint.
"""

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from databases import in_a_thread
from fundament import config as configuration
from fundament.gateway.contracts import Contract
from fundament.storage.contracts import ContractRepository
from fundament.storage.database import open_database
from fundament.storage.keys import KeyRepository
from service import Exchange, Reply, Service

NUMBERS = itertools.count(1)


class Customer:
    """A new contract on `plan`, with one key: the one that is used until another is made."""

    def __init__(self, service: Service, plan: str, *, monthly_budget_nanos: int | None = None) -> None:
        self.service = service
        self._config = configuration.load(Path(service.config), {}, {"server.data_dir": service.data}).config
        name = f"customer {next(NUMBERS)}"
        self.contract: Contract = self.ask(
            lambda engine: ContractRepository(engine, self._config.plans).create(name, plan, monthly_budget_nanos)
        )
        self.key = self.new_key()

    def new_key(self) -> str:
        """Another key of the contract."""
        name = f"key {next(NUMBERS)}"
        _, key = self.ask(lambda engine: KeyRepository(engine).create(name, contract=self.contract.name))
        return key

    def ask(self, question: Callable[[AsyncEngine], Awaitable[Any]]) -> Any:
        """What the service's database answers."""
        answers: list[Any] = []

        async def run() -> None:
            engine = open_database(self._config.database_url)
            try:
                answers.append(await question(engine))
            finally:
                await engine.dispose()

        in_a_thread(run())
        return answers[0]

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        return self.service.post(f"/v2{path}", body, key=self.key)

    def send(self, path: str, body: dict[str, Any]) -> Exchange:
        return self.service.send("POST", f"/v2{path}", body, key=self.key)
