"""A store with one projection on it, driven by hand: no loop runs but those that a test starts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, select

from colonnade.application import Projection, Write, change, increment, insert
from colonnade.messages import Event, Metadata
from colonnade.messages.codec import MessageCodec
from colonnade.messages.names import MessageNames
from colonnade.persistence.store import Store
from colonnade.persistence.tables.models import ReadModels
from colonnade.persistence.tables.reading import StoreReads
from colonnade.persistence.unit import Append, NewEvent, Unit
from colonnade.workers.projections import Progress, Projector
from colonnade.world import World, real_world

from .homes import Home, tables_of_read_models

SERVICE = "tabs"


class Opened(Event):
    """A guest sat down."""

    guest: str


class Served(Event):
    """A guest was served something."""

    pence: int


class Paid(Event):
    """A guest paid and left."""


class Toasted(Event):
    """Something of no interest to accounts."""


NAMES = MessageNames()
NAMES.bind(SERVICE, [Opened, Served, Paid, Toasted], {})
CODEC = MessageCodec(NAMES)

tabs = Table(
    "tabs",
    MetaData(),
    Column("tab", String, primary_key=True),
    Column("guest", String, nullable=False),
    Column("pence", Integer, nullable=False, server_default="0"),
    Column("rounds", Integer, nullable=False, server_default="0"),
    Column("state", String, nullable=False),
    Column("at", Integer, nullable=False),
    Index("tabs_by_guest", "guest"),
)


class Tabs(Projection[Opened | Served | Paid]):
    """One row a tab."""

    tables = (tabs,)

    def on(self, event: Opened | Served | Paid, meta: Metadata) -> Write | Sequence[Write]:
        match event:
            case Opened():
                return insert(tabs, tab=meta.stream, guest=event.guest, state="open", at=meta.position)
            case Served():
                return [
                    increment(tabs, tab=meta.stream, pence=event.pence, rounds=1),
                    change(tabs, tab=meta.stream, at=meta.position),
                ]
            case Paid():
                return change(tabs, tab=meta.stream, state="paid", at=meta.position)


@dataclass
class Desk:
    """An open store, and its projection if it was opened with one."""

    home: Home
    store: Store
    models: ReadModels
    reads: StoreReads
    world: World
    projector: Projector
    versions: dict[str, int] = field(default_factory=dict)

    async def record(self, stream: str, *events: Event) -> int:
        """Append events; the position of the last."""
        before = self.versions.get(stream)
        if before is None:
            before = len(await self.store.log.stream(stream, 0, 1_000_000))
        encoded = [CODEC.encode(event) for event in events]
        new = [NewEvent(self.world.ids.new(), each.name, each.version, each.data) for each in encoded]
        unit = Unit(self.world.clock.micros(), self.world.ids.new(), effects=[Append(stream, before, new)])
        self.versions[stream] = before + len(events)
        return (await self.store.commit(unit)).position

    def at(self, number: int) -> int:
        """The position of the event with that `number` in the log, counted from 1."""
        return self.home.unused + number

    async def a_long_evening(self, tabs: int, rounds: int) -> None:
        """Many tabs, each served many times, in turns."""
        for number in range(tabs):
            await self.record(f"Tab/{number}", Opened(f"guest {number % 7}"))
        for turn in range(rounds):
            for number in range(tabs):
                await self.record(f"Tab/{number}", Served(turn + number))

    async def caught_up(self) -> None:
        """Project until there is nothing more to do, or it stops at an event."""
        while await self.projector.step():
            continue

    async def rebuilt(self) -> list[Progress]:
        """Rebuild; what was told on the way."""
        return [progress async for progress in self.projector.rebuild()]

    async def rows(self, table: Table = tabs) -> list[tuple[Any, ...]]:
        """All rows that readers see."""
        return sorted(tuple(row) for row in await self.reads.all(select(table)))

    async def tables(self) -> list[str]:
        """The physical tables of read models."""
        return await tables_of_read_models(self.store)


def names_of(projection: type[Projection[Any]]) -> Sequence[str]:
    """The stored names of the events that a projection of this desk takes."""
    taken: Sequence[type[Event]] = getattr(projection, "takes", (Opened, Served, Paid))
    return [NAMES.name_of(event) for event in taken]


@asynccontextmanager
async def desk(home: Home, projection: type[Projection[Any]] = Tabs, *, opened: bool = True) -> AsyncIterator[Desk]:
    """A desk on the store in `home`."""
    world = real_world()
    store = await home.open()
    try:
        models = ReadModels(SERVICE, store, world)
        projector = Projector(projection(), names_of(projection), store, CODEC, models, world)
        if opened:
            await projector.open()
        yield Desk(home, store, models, StoreReads(models), world, projector)
    finally:
        await store.close()


@asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[None]:
    """The projector's loop, for the length of the block."""
    loop = asyncio.create_task(projector.run())
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.wait([loop])
