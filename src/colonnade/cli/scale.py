"""`colonnade scale`: more or fewer instances of a service."""

from typing import Annotated

import typer

from colonnade.cli.data import DEFAULT_DATA, Data
from colonnade.cli.of_fleet import act_on_fleet
from colonnade.cli.output import AsJson
from colonnade.system.admin.operations import MOST_INSTANCES, ScaleService

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def scale(
    numbers: Annotated[
        list[str], typer.Argument(metavar="SERVICE=NUMBER...", help="How many instances it has from now on.")
    ],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Let a service of a fleet that runs have more or fewer instances.

    They share its work. Those that go first finish what they do; no request is lost. It ends when all are ready.

    [bold]Examples[/bold]

        colonnade scale ordering=3

        colonnade scale ordering=1 payments=2 --data /var/lib/grocer
    """
    operations = [_operation(given) for given in numbers]
    for operation in operations:
        act_on_fleet(data, operation, title=f"Scaling {operation.service}", as_json=as_json)


def _operation(given: str) -> ScaleService:
    service, _, number = given.partition("=")
    if not service or not number.isdecimal() or not 1 <= int(number) <= MOST_INSTANCES:
        raise typer.BadParameter(f"{given}: give a service and a number from 1 to {MOST_INSTANCES}, like ordering=3.")
    return ScaleService(service, int(number))
