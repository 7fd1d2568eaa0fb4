"""`colonnade projections`: how far read models are, and filling them anew."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from colonnade.cli.acting import OfCode, act
from colonnade.cli.data import DEFAULT_DATA, READING_FAILURES, Data, OfService, OfTenant, chosen, of_tenant, reading
from colonnade.cli.failure import told
from colonnade.cli.output import AsJson, print_json, print_table
from colonnade.system.admin.operations import ListProjections, RebuildProjection
from colonnade.system.admin.perform import Administered, perform
from colonnade.system.admin.reports import Finished, ProjectionStatus
from colonnade.system.admin.socket import HostNotRunning, ask_host
from colonnade.world import real_world

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="See how far read models are, and rebuild them.",
)


@app.command("list")
def list_projections(
    data: Data = DEFAULT_DATA, tenant: OfTenant = None, service: OfService = None, as_json: AsJson = False
) -> None:
    """List the projections with the position of the log that each has reached.

    [bold]Examples[/bold]

        colonnade projections list

        colonnade projections list --service ordering --json
    """
    with told(*READING_FAILURES):
        directory = of_tenant(data, tenant)
        found = [each for name in chosen(directory, service) for each in _statuses(directory, name)]
    if as_json:
        for each in found:
            print_json(each)
        return
    rows = [(each.service, each.projection, each.position, each.end, _state(each)) for each in found]
    print_table(("service", "projection", "position#", "log's end#", "state"), rows, "There are no projections.")


@app.command()
def rebuild(
    service: Annotated[str, typer.Argument(help="The service that it belongs to.", show_default=False)],
    projection: Annotated[str, typer.Argument(help="Its name, as listed.", show_default=False)],
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    code: OfCode = None,
    as_json: AsJson = False,
) -> None:
    """Fill a projection's tables anew from the whole log, beside those that are read, and switch.

    Readers see the old rows until the new ones have caught up. Ctrl-C leaves everything as it was.

    [bold]Examples[/bold]

        colonnade projections rebuild ordering OrderHistory

        colonnade projections rebuild ordering OrderHistory --system grocer.system:grocer
    """
    operation = RebuildProjection(service, projection)
    directory, title = of_tenant(data, tenant), f"Rebuilding {projection}"
    act(directory, operation, title=title, as_json=as_json, code=code, needs_code=True)


def _statuses(data: Path, service: str) -> tuple[ProjectionStatus, ...]:
    operation = ListProjections(service)
    with suppress(HostNotRunning):
        for report in ask_host(data, operation):
            if isinstance(report, Finished):
                return report.projections
    # No host, or one that has no such service: a store that is left from before
    return asyncio.run(_stored(data, operation))


async def _stored(data: Path, operation: ListProjections) -> tuple[ProjectionStatus, ...]:
    async with reading(data, operation.service) as stores:
        services = {name: Administered(store) for name, store in stores.items()}
        reports = [report async for report in perform(operation, services, real_world())]
    return tuple(each for report in reports if isinstance(report, Finished) for each in report.projections)


def _state(status: ProjectionStatus) -> str:
    if status.stopped is not None:
        return f"stopped: {status.stopped}"
    behind = status.end - status.position
    told = "up to date" if behind <= 0 else f"{behind} {'event' if behind == 1 else 'events'} behind"
    if not status.running:
        told = f"not running, {told}"
    return told if status.held is None else f"{told}. {status.held}"
