"""`fundament usage`: shows what contracts have used, beside a running service or without one.

It knows how usage is shown. What is counted is in the ledger (`fundament.storage.usage`).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import typer
from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncEngine

from fundament.cli.config import ConfigOption, DataDirOption
from fundament.cli.database import fail, with_database
from fundament.cli.shown import print_rows
from fundament.errors import FundamentError
from fundament.gateway.usage import UsageQuery, usage_query
from fundament.gateway.usage_csv import columns_of, csv_of, sums_of
from fundament.protocol.answers import UsageReport, UsageTotals
from fundament.settings import Config
from fundament.storage.usage import UsageRepository

app = typer.Typer(help="Show what was used.", no_args_is_help=True)


@app.callback()
def usage() -> None:
    """Show what was used."""


@app.command()
def report(  # noqa: PLR0917 - each is a flag; typer passes them by name
    by: Annotated[str, typer.Option(help="What to sum by: day, contract, key, model, with commas between.")] = "day",
    since: Annotated[str | None, typer.Option(help="The first day (UTC).", metavar="YYYY-MM-DD")] = None,
    until: Annotated[str | None, typer.Option(help="The last day.", metavar="YYYY-MM-DD")] = None,
    contract: Annotated[str | None, typer.Option(help="Only this contract, by name or id.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this key, by name or id.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model, by id.")] = None,
    format_: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print it.")] = "table",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Requests, tokens and cost. A request is in it a second or two after its end."""
    written = {"by": by, "since": since, "until": until, "contract": contract, "key": key, "model": model}
    try:
        query = usage_query(written)
    except FundamentError as error:
        fail(error)

    async def work(engine: AsyncEngine, config: Config) -> UsageReport:
        totals = await UsageRepository(engine).report(query)
        return UsageReport(object="list", currency=config.billing.currency, data=list(totals))

    found = with_database(config, data_dir, work)
    if format_ == "json":
        typer.echo(msgspec.json.encode(found))
    elif format_ == "csv":
        typer.echo(csv_of(query, found), nl=False)
    else:
        titles = [*(dimension.capitalize() for dimension in query.by), *_titles(found.currency)]
        print_rows(titles, [[*_names(query, totals), *sums_of(totals)] for totals in found.data], folded=titles[:1])


def _titles(currency: str) -> Sequence[str]:
    return ("Requests", "Input", "Cached", "Output", "Reasoning", currency)


def _names(query: UsageQuery, totals: UsageTotals) -> list[str]:
    """The names of contracts and keys, the ids of those that are gone."""
    shown = [[getattr(totals, name) for name in reversed(columns_of(dimension))] for dimension in query.by]
    return [next(text for text in texts if text not in {None, UNSET}) for texts in shown]
