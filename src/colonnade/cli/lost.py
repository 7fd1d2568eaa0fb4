"""`colonnade lost`: messages that no producer has any more, and passing over them."""

import asyncio
import os
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer

from colonnade.cli.acting import act
from colonnade.cli.data import DEFAULT_DATA, READING_FAILURES, Data, OfService, OfTenant, of_tenant, reading
from colonnade.cli.failure import told
from colonnade.cli.output import AsJson, moment, print_json, print_table
from colonnade.persistence.store import Loss
from colonnade.system.admin.operations import PassOverLost
from colonnade.world import datetime_of

__all__ = ["app"]

_PAGE_ROWS = 200

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="See messages that no producer has any more; pass over them.",
)


@app.command("list")
def list_lost(
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    service: OfService = None,
    passed: Annotated[bool, typer.Option(help="List what was passed over instead, when and by whom.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is missing and will not come: of which chain, since when, and how many messages wait behind it.

    [bold]Examples[/bold]

        colonnade lost list

        colonnade lost list --passed --json
    """
    with told(*READING_FAILURES):
        found = asyncio.run(_all(of_tenant(data, tenant), service))
    chosen = [(each, loss) for each, loss in found if (loss.passed_at is not None if passed else loss.is_open)]
    if as_json:
        for each, loss in chosen:
            print_json(_as_json(each, loss))
        return
    columns = ["service", "row#", "source", "history", "topic", "partition#", "after#", "up to#", "since"]
    columns += ["passed over", "by"] if passed else ["behind#", "cause"]
    rows = [
        (
            each,
            loss.row,
            loss.chain.source,
            loss.chain.history,
            loss.chain.topic,
            loss.chain.partition,
            loss.after,
            loss.up_to,
            moment(loss.since),
            *((moment(loss.passed_at), loss.passed_by) if loss.passed_at is not None else (loss.behind, loss.reason)),
        )
        for each, loss in chosen
    ]
    print_table(columns, rows, "Nothing was passed over." if passed else "Nothing is lost.")


@app.command("pass-over")
def pass_over(
    service: Annotated[str, typer.Argument(help="The service that waits for them.", show_default=False)],
    rows: Annotated[list[int], typer.Argument(help="The rows, as listed.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Let what waits behind lost messages go on without them; who did it, and when, is kept.

    Should one of them come after all, it is kept aside: see dead-letters list --malformed.

    [bold]Example[/bold]

        colonnade lost pass-over payments 3
    """
    if not yes:
        typer.confirm(f"Let {service} go on without what is lost? Its effects will be missing.", abort=True)
    operation = PassOverLost(service, tuple(rows), _who())
    act(of_tenant(data, tenant), operation, title="Passing over", as_json=as_json)


async def _all(data: Path, service: str | None) -> list[tuple[str, Loss]]:
    found: list[tuple[str, Loss]] = []
    async with reading(data, service) as stores:
        for each, store in stores.items():
            after = 0
            while page := await store.losses.page(after, _PAGE_ROWS):
                after = page[-1].row
                found.extend((each, loss) for loss in page)
    return found


def _who() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"user {os.getuid()}"


def _as_json(service: str, loss: Loss) -> dict[str, Any]:
    return {
        "service": service,
        "row": loss.row,
        "source": loss.chain.source,
        "history": loss.chain.history,
        "topic": loss.chain.topic,
        "partition": loss.chain.partition,
        "after": loss.after,
        "up_to": loss.up_to,
        "cause": loss.reason,
        "since": datetime_of(loss.since),
        "behind": loss.behind,
        "passed_at": datetime_of(loss.passed_at) if loss.passed_at is not None else None,
        "passed_by": loss.passed_by,
    }
