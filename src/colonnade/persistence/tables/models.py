"""The read models of one service: which table stands for which declared one, now."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Table

from colonnade.persistence.reads import StaleRead
from colonnade.persistence.store import Store, Touched
from colonnade.persistence.tables.build import Build
from colonnade.persistence.tables.builds import Builds
from colonnade.persistence.tables.declared import check_table, shape_of
from colonnade.persistence.unit import Unit
from colonnade.world import World

__all__ = ["BeingBuilt", "Projected", "ReadModels", "TableChanged", "TableOwnedTwice", "UnknownTable"]

WAIT_SECONDS = 5.0
"""How long a query waits for its projections to come as far as its caller has seen."""

_OWN_BUILD = 0
"""The number in the names of the service's own tables, which are built once."""


class UnknownTable(LookupError):
    """A statement names a table that the service does not have."""

    def __init__(self, service: str, table: str) -> None:
        super().__init__(service, table)
        self.service, self.table = service, table

    def __str__(self) -> str:
        return (
            f"The service {self.service} has no table {self.table}; give it to a projection as one of its `tables`, or "
            "to the Service in `tables`."
        )


class TableOwnedTwice(ValueError):
    """Two projections, or a projection and the service itself, would write one table."""

    def __init__(self, table: str, first: str, second: str) -> None:
        super().__init__(table, first, second)
        self.table, self.first, self.second = table, first, second

    def __str__(self) -> str:
        return f"Table {self.table} belongs to {self.first} and to {self.second}; give each a table of its own."


class TableChanged(Exception):
    """A table of the service's own has another shape in the store than in the code."""

    def __init__(self, service: str, table: str) -> None:
        super().__init__(service, table)
        self.service, self.table = service, table

    def __str__(self) -> str:
        return (
            f"Table {self.table} of {self.service} was made with other columns, keys or indexes than it is declared "
            "with now, and its rows cannot be made anew from the log: write the next migration in the service's "
            "`migrations` folder and run colonnade migrate, or declare a new table beside it."
        )


class BeingBuilt(StaleRead):
    """The tables of a projection are being filled for the first time, or anew in another shape."""

    def __str__(self) -> str:
        return f"{self.projection} is being filled and cannot be read yet; try again soon."


@dataclass(frozen=True, slots=True)
class Projected:
    """What a projection owns: its tables, filled from events of these stored names."""

    projection: str
    events: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(slots=True)
class _Owner:
    projected: Projected
    read: Build | None = None


Changed = Callable[[Collection[str]], Awaitable[None]]
"""Told the names of tables whose rows have changed, once that is committed."""


class ReadModels:
    """The tables of one service, as they are read and written now."""

    def __init__(self, service: str, store: Store, world: World) -> None:
        self.service = service
        self.store = store
        self.wait_seconds = WAIT_SECONDS
        self._world = world
        self.builds = Builds(store)
        self._owners: dict[str, _Owner] = {}
        self._projections: dict[str, _Owner] = {}
        self._own: dict[str, Table] = {}
        self._listeners: list[Changed] = []
        self.moved = asyncio.Event()
        """Set, and replaced, when a projection has been written further or is read from another build."""
        store.watch(self._touched)

    async def own(self, tables: Sequence[Table], version: int = 0) -> None:
        """Make the tables that no projection owns, where they are not there yet, as code of `version` knows them.

        Raises `UnfitTable`, `TableOwnedTwice` or `TableChanged`.
        """
        for table in tables:
            check_table(table)
            self._claim(table, f"the service {self.service}")
            self._own[table.name] = table
            shape, known = shape_of([table]), await self.builds.own_shapes(table.name)
            if known.get(version) == shape:
                continue
            if version in known or (known and shape not in known.values()):
                raise TableChanged(self.service, table.name)
            # Migrations of other tables have left this one as it was
            noted = self.builds.known(table, version, shape)
            effects = noted if known else self.builds.owned(table, version, shape, self.physical)
            await self.store.commit(Unit(self._world.clock.micros(), self._world.ids.new(), effects=[*effects]))
        # Who wrote them last may not have come to telling it
        await self.changed([str(table.name) for table in tables])

    def declare(self, projected: Projected) -> None:
        """Note what a projection owns; raises `UnfitTable` or `TableOwnedTwice`."""
        owner = self._projections[projected.projection] = _Owner(projected)
        for table in projected.tables:
            check_table(table)
            self._claim(table, projected.projection)
            self._owners[table.name] = owner

    def read_from(self, build: Build) -> None:
        """From now on the tables of its projection are those of `build`."""
        self._projections[build.projection].read = build
        self._wake()

    def readable(self, projection: str) -> bool:
        """Whether there are tables of the declared shape to read."""
        return self._projections[projection].read is not None

    def reader(self, table: str) -> Projected | None:
        """The projection behind a table; None for one of the service's own. Raises `UnknownTable`."""
        owner = self._owners.get(table)
        if owner is not None:
            return owner.projected
        if table not in self._own:
            raise UnknownTable(self.service, table)
        return None

    def read(self, projection: str) -> Build:
        """The build that a projection is read from; raises `BeingBuilt`."""
        build = self._projections[projection].read
        if build is None:
            raise BeingBuilt(projection, 0, 0)
        return build

    def physical(self, table: str) -> str:
        """The table that stands for a declared one; raises `UnknownTable` or `BeingBuilt`."""
        projected = self.reader(table)
        if projected is None:
            return f"{table}__{_OWN_BUILD}"
        return self.read(projected.projection).physical(table)

    def on_change(self, listener: Changed) -> None:
        """Tell `listener` what `changed` is told."""
        self._listeners.append(listener)

    async def changed(self, tables: Collection[str]) -> None:
        """Rows of `tables` have changed: tell all who keep what was made from them.

        A process that dies between a commit and this has told nobody, which is made good when a projection is opened.
        """
        for listener in self._listeners:
            await listener(tables)

    async def look_again(self, projection: str) -> Build | None:
        """Find the build that is read now, which another process may have switched; None while none can be read."""
        owner = self._projections[projection]
        active, builds = await self.builds.of(projection)
        shape = shape_of(owner.projected.tables)
        owner.read = next((build for build in builds if build.number == active and build.shape == shape), None)
        return owner.read

    def _claim(self, table: Table, owner: str) -> None:
        if table.name in self._owners:
            raise TableOwnedTwice(table.name, self._owners[table.name].projected.projection, owner)
        if table.name in self._own:
            raise TableOwnedTwice(table.name, f"the service {self.service}", owner)

    def _touched(self, touched: Touched) -> None:
        if touched & Touched.CHECKPOINTS:
            self._wake()

    def _wake(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()
