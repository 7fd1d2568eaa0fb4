"""`colonnade events`: what happened, read from the stores beside a host that may be running."""

import asyncio
import heapq
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from colonnade.cli.data import DEFAULT_DATA, READING_FAILURES, Data, OfService, OfTenant, of_tenant, reading
from colonnade.cli.failure import fail, told
from colonnade.cli.output import AsJson, console, json_of, moment, print_json, print_table, visible
from colonnade.persistence.store import Store, StoredEvent
from colonnade.world import datetime_of, real_world

__all__ = ["app"]

PAGE_EVENTS = 500
POLL_SECONDS = 0.25
"""How often `tail` looks for new events: a read of the log's end, some microseconds."""

SHORT_DATA = 80
"""So many characters of an event's data stand in a list."""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", add_completion=False, help="Read what happened.")

_Names = Annotated[
    list[str] | None,
    typer.Option("--name", "-n", help="Only of this stored name, like ordering.OrderPlaced; may be repeated."),
]

_COLUMNS = ("service", "position#", "time", "stream", "version#", "name", "data")


@app.command("list")
def list_events(
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    service: OfService = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream, like Order/0192….", metavar="STREAM")] = None,
    name: _Names = None,
    after: Annotated[
        int | None, typer.Option(help="Those behind this position (of a stream: version), oldest first.", min=0)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", help="At most so many.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest events, or with --after those that follow.

    [bold]Examples[/bold]

        colonnade events list

        colonnade events list --service ordering --name ordering.OrderPlaced --limit 5

        colonnade events list --service ordering --after 0 --limit 1000 --json
    """
    if after is not None and service is None:
        raise typer.BadParameter("Positions count in one service; name it with --service.")
    if stream is not None and name:
        raise typer.BadParameter("Give --stream or --name, not both.")
    with told(*READING_FAILURES):
        events = asyncio.run(_listed(of_tenant(data, tenant), service, stream, name, after, limit))
    _print(events, as_json=as_json)


@app.command()
def show(
    service: Annotated[str, typer.Argument(help="The service that recorded it.", show_default=False)],
    position: Annotated[int, typer.Argument(help="Its position in the service's log.", min=1, show_default=False)],
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Show one event with all that is known of it.

    [bold]Example[/bold]

        colonnade events show ordering 120
    """
    with told(*READING_FAILURES):
        event = asyncio.run(_shown(of_tenant(data, tenant), service, position))
    if event is None:
        fail(f"The log of {service} has no event {position}.")
    if as_json:
        print_json(_as_json(service, event))
        return
    out = console()
    for field, value in _as_json(service, event).items():
        if field != "data":
            out.print(f"{field:<15}{visible(value)}", markup=False)
    out.print_json(event.data.decode(errors="backslashreplace"))


@app.command()
def tail(
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    service: OfService = None,
    name: _Names = None,
    lines: Annotated[int, typer.Option(help="Begin with so many that happened before.", min=0)] = 10,
    as_json: AsJson = False,
) -> None:
    """Follow what happens, until Ctrl-C.

    [bold]Examples[/bold]

        colonnade events tail

        colonnade events tail --service payments --lines 0 --json
    """
    with told(*READING_FAILURES):
        try:
            asyncio.run(_follow(of_tenant(data, tenant), service, name, lines, as_json=as_json))
        except KeyboardInterrupt:
            return


async def _listed(
    data: Any, service: str | None, stream: str | None, names: list[str] | None, after: int | None, limit: int
) -> list[tuple[str, StoredEvent]]:
    async with reading(data, service) as stores:
        found = []
        for each, store in stores.items():
            if stream is not None:
                events = await _of_stream(store, stream, after, limit)
            elif after is not None:
                events = await _pages(store, after, names, limit)
            else:
                events = await _newest(store, names, limit)
            found.append([(each, event) for event in events])
        merged = list(heapq.merge(*found, key=lambda pair: pair[1].time))
        return merged[:limit] if after is not None else merged[-limit:]


async def _shown(data: Any, service: str, position: int) -> StoredEvent | None:
    async with reading(data, service) as stores:
        events = await stores[service].log.read(position - 1, 1)
        return events[0] if events and events[0].position == position else None


async def _of_stream(store: Store, stream: str, after: int | None, limit: int) -> Sequence[StoredEvent]:
    if after is not None:
        return await store.log.stream(stream, after, limit)
    kept: deque[StoredEvent] = deque(maxlen=limit)
    version = 0
    while page := await store.log.stream(stream, version, PAGE_EVENTS):
        version = page[-1].version
        kept.extend(page)
    return kept


async def _pages(store: Store, after: int, names: list[str] | None, limit: int) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    while len(found) < limit and (page := await store.log.read(after, min(PAGE_EVENTS, limit - len(found)), names)):
        found.extend(page)
        after = page[-1].position
    return found


async def _newest(store: Store, names: list[str] | None, limit: int) -> Sequence[StoredEvent]:
    end = await store.log.end()
    behind = limit if names is None else max(PAGE_EVENTS, limit)
    while True:
        # Wider and wider behind the end, until enough of the names are found
        kept: deque[StoredEvent] = deque(maxlen=limit)
        after = max(0, end - behind)
        position = after
        while page := await store.log.read(position, PAGE_EVENTS, names):
            position = page[-1].position
            kept.extend(page)
        if len(kept) == limit or after == 0:
            return kept
        behind *= 8


async def _follow(data: Any, service: str | None, names: list[str] | None, lines: int, *, as_json: bool) -> None:
    world = real_world()
    async with reading(data, service) as stores:
        seen = {each: await store.log.end() for each, store in stores.items()}
        before: Mapping[str, Sequence[StoredEvent]] = {
            each: [event for event in await _newest(store, names, lines) if event.position <= seen[each]]
            for each, store in stores.items()
            if lines
        }
        pairs = [[(each, event) for event in events] for each, events in before.items()]
        for each, event in list(heapq.merge(*pairs, key=lambda pair: pair[1].time))[-lines:] if lines else ():
            _print_line(each, event, as_json=as_json)
        while True:
            for each, store in stores.items():
                while page := await store.log.read(seen[each], PAGE_EVENTS, names):
                    seen[each] = page[-1].position
                    for event in page:
                        _print_line(each, event, as_json=as_json)
            await world.sleep(POLL_SECONDS)


def _print(events: Sequence[tuple[str, StoredEvent]], *, as_json: bool) -> None:
    if as_json:
        for service, event in events:
            print_json(_as_json(service, event))
        return
    rows = [
        (
            service,
            event.position,
            moment(event.time),
            event.stream,
            event.version,
            event.name,
            _short(event.data),
        )
        for service, event in events
    ]
    print_table(_COLUMNS, rows, "There are no such events.", cut=("data",))


def _print_line(service: str, event: StoredEvent, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(service, event))
    else:
        place = f"{service}/{event.position}"
        line = f"{moment(event.time)}  {place:<18} {event.name:<32} {event.stream}  {_short(event.data)}"
        console().print(visible(line), markup=False, overflow="ellipsis", no_wrap=True)
    sys.stdout.flush()


def _as_json(service: str, event: StoredEvent) -> dict[str, Any]:
    return {
        "service": service,
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "id": event.id,
        "name": event.name,
        "schema": event.schema,
        "time": datetime_of(event.time),
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "principal": event.principal,
        "data": json_of(event.data),
    }


def _short(data: bytes) -> str:
    text = data.decode(errors="backslashreplace")
    return text if len(text) <= SHORT_DATA else f"{text[:SHORT_DATA]}…"
