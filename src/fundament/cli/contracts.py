"""`fundament contracts`: creates, lists, changes, closes and erases contracts, beside a running service or without one.

It knows how contracts are shown. What they are is `fundament.gateway.contracts`' knowledge, where they are `storage`'s.
"""

from typing import Annotated

import typer
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.cli.config import ConfigOption, DataDirOption
from fundament.cli.database import os_user, with_database
from fundament.cli.shown import print_rows, when
from fundament.gateway.contracts import Contract, amount_of, nanos_of
from fundament.settings import Config
from fundament.storage.contracts import ContractRepository
from fundament.storage.erasure import Erased, Erasure

app = typer.Typer(help="Create, list, change, close and erase contracts.", no_args_is_help=True)

PlanOption = typer.Option("--plan", help="A plan of the configuration.", metavar="PLAN")
Reference = Annotated[str, typer.Argument(metavar="CONTRACT", help="The contract's name or id.")]


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Who the contract is with.")],
    plan: Annotated[str, PlanOption],
    monthly_budget: Annotated[
        str | None, typer.Option("--monthly-budget", help="What it may spend in a month.", metavar="AMOUNT")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a contract; its id is alone on stdout."""

    async def work(engine: AsyncEngine, config: Config) -> Contract:
        budget = None if monthly_budget is None else nanos_of(monthly_budget)
        return await ContractRepository(engine, config.plans, os_user()).create(name, plan, budget)

    contract = with_database(config, data_dir, work)
    typer.echo(f"Created the contract '{name}' on the plan '{plan}'.", err=True)
    typer.echo(contract.id)


@app.command(name="list")
def list_(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Show all contracts: a table on a terminal, else tab-separated id, name, plan, monthly budget, created, closed."""
    contracts = with_database(config, data_dir, lambda engine, config: ContractRepository(engine, config.plans).list())
    rows = [
        (
            contract.id,
            contract.name,
            contract.plan,
            "" if contract.monthly_budget_nanos is None else amount_of(contract.monthly_budget_nanos),
            when(contract.created_at),
            when(contract.closed_at),
        )
        for contract in contracts
    ]
    print_rows(("Id", "Name", "Plan", "Monthly budget", "Created", "Closed"), rows, folded=("Name",))


@app.command(name="set")
def set_(
    contract: Reference,
    plan: Annotated[str | None, PlanOption] = None,
    monthly_budget: Annotated[
        str | None,
        typer.Option("--monthly-budget", help="What it may spend in a month; 'none' is no bound.", metavar="AMOUNT"),
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Give a contract another plan or budget. A running service obeys within a second."""

    async def work(engine: AsyncEngine, config: Config) -> Contract:
        budget: int | UnsetType | None = UNSET
        if monthly_budget is not None:
            budget = None if monthly_budget == "none" else nanos_of(monthly_budget)
        repository = ContractRepository(engine, config.plans, os_user())
        return await repository.change(contract, plan=plan or UNSET, monthly_budget_nanos=budget)

    changed = with_database(config, data_dir, work)
    nanos = changed.monthly_budget_nanos
    budget = "no monthly budget" if nanos is None else f"a monthly budget of {amount_of(nanos)}"
    typer.echo(f"The contract '{changed.name}' is on the plan '{changed.plan}' with {budget}.", err=True)


@app.command()
def close(contract: Reference, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Close a contract for good, and revoke its keys. A running service refuses them within a second."""

    async def work(engine: AsyncEngine, config: Config) -> Contract:
        return await ContractRepository(engine, config.plans, os_user()).close(contract)

    closed = with_database(config, data_dir, work)
    typer.echo(f"Closed the contract '{closed.name}'; its keys are revoked.", err=True)


@app.command()
def erase(
    contract: Reference,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Close a contract and delete all that it has: responses, conversations, usage, keys, its name."""
    if not yes:
        question = (
            f"Delete all that '{contract}' has, its usage too, for good? A report of its usage can be made first."
        )
        typer.confirm(question, abort=True, err=True)

    async def work(engine: AsyncEngine, _: Config) -> tuple[Contract, Erased]:
        return await Erasure(engine, os_user()).erase(contract)

    gone, erased = with_database(config, data_dir, work)
    typer.echo(
        f"Erased {gone.id}: {erased.responses} responses, {erased.conversations} conversations, {erased.requests} "
        "requests of the usage ledger.",
        err=True,
    )
