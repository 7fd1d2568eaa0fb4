"""`colonnade replace`: the instances of a fleet started anew, with the code that is there now."""

from typing import Annotated

import typer

from colonnade.cli.data import DEFAULT_DATA, Data
from colonnade.cli.of_fleet import act_on_fleet
from colonnade.cli.output import AsJson
from colonnade.system.admin.operations import ReplaceInstances

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def replace(
    services: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Of these services only.", show_default=False)
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Start the instances of a fleet that runs anew, one after the other.

    Each first finishes what it does. The others of its service answer meanwhile: where there are two or more no request
    is lost. A new process has the code that is on the disk when it starts, so that this also brings a new version.

    [bold]Examples[/bold]

        colonnade replace

        colonnade replace ordering --data /var/lib/grocer
    """
    for service in services or (None,):
        title = f"Replacing {service or 'all'}"
        act_on_fleet(data, ReplaceInstances(service), title=title, as_json=as_json)
