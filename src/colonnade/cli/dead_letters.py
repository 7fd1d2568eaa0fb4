"""`colonnade dead-letters`: messages that failed for good."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from colonnade.cli.acting import act
from colonnade.cli.data import DEFAULT_DATA, READING_FAILURES, Data, OfService, OfTenant, of_tenant, reading
from colonnade.cli.failure import fail, told
from colonnade.cli.output import AsJson, console, json_of, moment, print_json, print_table, visible
from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.messages.undecodable import UNDECODABLE
from colonnade.persistence.store import InboxRows, KeptAside, ParkedMessage
from colonnade.system.admin.operations import DiscardDeadLetters, RetryDeadLetters
from colonnade.world import datetime_of

__all__ = ["app"]

PAGE_ROWS = 200

R = TypeVar("R", KeptAside, ParkedMessage)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="See messages that failed for good; retry or discard them.",
)

_Service = Annotated[str, typer.Argument(help="The service whose inbox holds them.", show_default=False)]
_Consumer = Annotated[
    str | None, typer.Option(help="Of this consumer only, like saga:FulfilOrder or handlers.", show_default=False)
]
_Key = Annotated[str | None, typer.Option(help="Of this key only, like Order/0192….", show_default=False)]


@app.command("list")
def list_dead_letters(
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    service: OfService = None,
    consumer: _Consumer = None,
    key: _Key = None,
    malformed: Annotated[
        bool, typer.Option(help="List what was kept aside instead: no messages, or of a lost history.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the parked messages, each with its cause and how many wait behind it.

    [bold]Examples[/bold]

        colonnade dead-letters list

        colonnade dead-letters list --service payments --json
    """
    with told(*READING_FAILURES):
        if malformed:
            _print_kept(
                asyncio.run(_all(of_tenant(data, tenant), service, lambda inbox: inbox.kept_aside)),
                as_json=as_json,
            )
            return
        parked = [
            (each, message)
            for each, message in asyncio.run(_all(of_tenant(data, tenant), service, lambda inbox: inbox.parked))
            if consumer in (None, message.consumer) and key in (None, message.key)
        ]
    if as_json:
        for each, message in parked:
            print_json(_as_json(each, message))
        return
    columns = ("service", "row#", "consumer", "key", "message", "attempts#", "parked", "behind#", "cause")
    rows = [
        (
            each,
            message.row,
            message.consumer,
            message.key,
            _type(message),
            message.attempts,
            moment(message.parked_at),
            message.behind,
            message.cause,
        )
        for each, message in parked
    ]
    print_table(columns, rows, "No message is parked.")


@app.command()
def show(
    service: _Service,
    row: Annotated[int, typer.Argument(help="Its row, as listed.", show_default=False)],
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Show one parked message with its envelope and cause.

    [bold]Example[/bold]

        colonnade dead-letters show payments 17
    """
    with told(*READING_FAILURES):
        message = asyncio.run(_one(of_tenant(data, tenant), service, row))
    if message is None:
        fail(f"Message {row} of {service} is not parked.")
    fields = _as_json(service, message)
    if as_json:
        print_json(fields)
        return
    envelope = fields.pop("envelope")
    out = console()
    for field, value in fields.items():
        out.print(f"{field:<13}{visible(value)}", markup=False)
    out.print_json(data=envelope, default=str)


@app.command()
def retry(
    service: _Service,
    rows: Annotated[list[int] | None, typer.Argument(help="Their rows, as listed.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    consumer: _Consumer = None,
    key: _Key = None,
    edit: Annotated[
        Path | None,
        typer.Option(
            help="A file with the JSON that replaces the message of the one row.", exists=True, dir_okay=False
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Put parked messages back in line: first of their key, in order, with all attempts before them.

    [bold]Examples[/bold]

        colonnade dead-letters retry payments 17 18

        colonnade dead-letters retry payments --key Payment/0192…

        colonnade dead-letters retry payments 17 --edit mended.json

        colonnade dead-letters retry payments --all
    """
    chosen = sum((bool(rows), every, consumer is not None or key is not None))
    if chosen != 1:
        raise typer.BadParameter("Choose what to retry: rows, or --consumer and --key, or --all.")
    mended = _json_in(edit) if edit is not None else None
    if mended is not None and len(rows or ()) != 1:
        raise typer.BadParameter("--edit replaces one message; name one row.")
    operation = RetryDeadLetters(service, tuple(rows or ()), consumer, key, mended)
    act(of_tenant(data, tenant), operation, title="Retrying", as_json=as_json)


@app.command()
def discard(
    service: _Service,
    rows: Annotated[list[int], typer.Argument(help="Their rows, as listed.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Give parked messages up for good; what waits behind them goes on.

    [bold]Example[/bold]

        colonnade dead-letters discard payments 17
    """
    count = len(rows)
    if not yes:
        typer.confirm(f"Discard {count} {'message' if count == 1 else 'messages'} of {service} for good?", abort=True)
    act(of_tenant(data, tenant), DiscardDeadLetters(service, tuple(rows)), title="Discarding", as_json=as_json)


async def _all(
    data: Path, service: str | None, pages: Callable[[InboxRows], Callable[[int, int], Awaitable[Sequence[R]]]]
) -> list[tuple[str, R]]:
    """All rows of the services' inboxes, that are read in pages."""
    found: list[tuple[str, R]] = []
    async with reading(data, service) as stores:
        for each, store in stores.items():
            after = 0
            while page := await pages(store.inbox)(after, PAGE_ROWS):
                after = page[-1].row
                found.extend((each, row) for row in page)
    return found


async def _one(data: Path, service: str, row: int) -> ParkedMessage | None:
    async with reading(data, service) as stores:
        return await stores[service].inbox.parked_message(row)


def _json_in(path: Path) -> msgspec.Raw:
    try:
        content = path.read_bytes()
        msgspec.json.decode(content)
    except UNDECODABLE as error:
        raise typer.BadParameter(f"{path} holds no JSON: {error}.") from None
    return msgspec.Raw(content.strip())


def _type(message: ParkedMessage) -> str:
    try:
        return Envelope.decode(message.envelope).type
    except MalformedEnvelope:
        return "?"


def _print_kept(kept: list[tuple[str, KeptAside]], *, as_json: bool) -> None:
    if as_json:
        for service, each in kept:
            print_json(
                {
                    "service": service,
                    "row": each.row,
                    "origin": each.origin,
                    "reason": each.reason,
                    "data": each.data,
                    "received_at": datetime_of(each.received_at),
                }
            )
        return
    rows = [
        (service, each.row, moment(each.received_at), each.origin, each.reason, each.data[:40])
        for service, each in kept
    ]
    print_table(("service", "row#", "received", "origin", "reason", "data"), rows, "Nothing malformed was received.")


def _as_json(service: str, message: ParkedMessage) -> dict[str, Any]:
    return {
        "service": service,
        "row": message.row,
        "consumer": message.consumer,
        "key": message.key,
        "attempts": message.attempts,
        "cause": message.cause,
        "received_at": datetime_of(message.received_at),
        "parked_at": datetime_of(message.parked_at),
        "held": message.held,
        "behind": message.behind,
        "envelope": json_of(message.envelope),
    }
