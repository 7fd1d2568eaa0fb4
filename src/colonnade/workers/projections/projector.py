"""One projection at work: it is kept up with the log, filled anew beside the build that is read, and switched."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from colonnade.application.projection import Projection
from colonnade.messages.codec import MessageCodec
from colonnade.observability.health import HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.persistence.failures import StoreConflict
from colonnade.persistence.store import Store, Touched
from colonnade.persistence.tables.build import Build, FilledBy, told_of_held
from colonnade.persistence.tables.declared import shape_of
from colonnade.persistence.tables.models import Projected, ReadModels
from colonnade.persistence.unit import Effect, Unit
from colonnade.workers.projections.filling import Filling
from colonnade.workers.projections.pace import Pace
from colonnade.workers.waking import Waking
from colonnade.world import World

__all__ = ["Progress", "Projector"]

CONFLICT_WAIT_SECONDS = 0.2

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build of a projection is, in positions of its service's log.

    `stopped` says what it cannot get over, `held` which streams it leaves out, both with the remedy. A rebuild comes on
    by `events_per_second` since it began.
    """

    projection: str
    position: int
    end: int
    stopped: str | None = None
    held: str | None = None
    events_per_second: float = 0.0


class Projector:
    """Keeps one projection up with its service's log.

    Two builds may be filled at a time: the one that is read, and a newer one beside it, which is read instead from
    the transaction on in which it has come as far. Older builds are removed in small steps.
    """

    def __init__(
        self,
        projection: Projection[Any],
        names: Sequence[str],
        store: Store,
        codec: MessageCodec,
        models: ReadModels,
        world: World,
    ) -> None:
        self.name = type(projection).__name__
        self._projection = projection
        self._names = tuple(names)
        self._tables = tuple(projection.tables)
        self._table_names = [str(table.name) for table in self._tables]
        self._shape = shape_of(self._tables)
        self._filled_by = FilledBy(projection.version, tuple(sorted(names)))
        kind = f"{projection.version} {self._shape} {' '.join(sorted(names))}"
        self.identity = f"{self.name}.{crc32(kind.encode()):08x}"
        """Of all instances with the same code."""
        self._store = store
        self._codec = codec
        self._models = models
        self._builds = models.builds
        self._world = world
        self._waking = Waking(Touched.EVENTS, world.clock)
        store.watch(self._waking.touched)
        self._turn = asyncio.Lock()
        self._opened = False
        # The build that is read; of other code, it is not filled here. Then the one beside it, and the useless ones
        self._read: Build | None = None
        self._live: Filling | None = None
        self._shadow: Filling | None = None
        self._old: list[Build] = []
        self._old_pace = Pace()
        self._told: set[str] = set()
        models.declare(Projected(self.name, self._names, self._tables))

    def health(self) -> Sequence[HealthState]:
        """What it cannot get over, and whether its tables are not what they should be yet."""
        place = f"{self._models.service}.projection.{self.name}"
        states = []
        for filling in (self._live, self._shadow):
            if filling is None:
                continue
            name = place if filling is self._live else f"{place}.rebuild"
            if filling.stopped is not None:
                states.append(HealthState(name, Severity.DEGRADED, str(filling.stopped)))
            if held := told_of_held(filling.held.values()):
                states.append(HealthState(f"{name}.held", Severity.DEGRADED, held))
        if self._live is None and self._shadow is not None:
            reading = "see what there was before" if self._models.readable(self.name) else "are told to try again"
            states.append(
                HealthState(
                    f"{place}.building",
                    Severity.DEGRADED,
                    f"{self.name} is being filled for its present code and has come to event {self._shadow.position}; "
                    f"until it has caught up, queries {reading}.",
                )
            )
        return states

    async def progress(self) -> Progress:
        """How far it is; of a projection that cannot be kept up, how far its next build is."""
        filling = self._live or self._shadow
        end = await self._store.log.end()
        if filling is None:
            return Progress(self.name, 0, end)
        return _progress(filling, end)

    async def open(self) -> None:
        """Find the builds in the store, and make what is missing; to be called before anything reads the tables."""
        active, builds = await self._builds.of(self.name)
        self._read = next((build for build in builds if build.number == active), None)
        present = [build for build in builds if (build.shape, build.filling) == (self._shape, self._filled_by)]
        self._live = await self._fill(self._read) if self._read is not None and self._read in present else None
        beside = [build for build in present if self._read is None or build.number > self._read.number]
        self._shadow = await self._fill(beside[-1]) if beside else None
        if self._live is None and self._shadow is None:
            await self._make()
        kept = [filling.build for filling in (self._live, self._shadow) if filling is not None]
        self._old = [build for build in builds if build not in kept and build != self._read]
        await self._models.look_again(self.name)
        self._opened = True
        # Who wrote them last may not have come to telling it
        await self._models.changed(self._table_names)

    async def look(self) -> None:
        """Find the tables that another instance fills, where there have been none to read yet."""
        if not self._models.readable(self.name) and (build := await self._models.look_again(self.name)) is not None:
            self._models.read_from(build)

    async def run(self) -> None:
        """Project until cancelled; a poisonous event stops it, with a named state of health."""
        try:
            while True:
                self._waking.clear()
                try:
                    more = await self.step()
                except StoreConflict:
                    # Somebody else fills the same build: look again how far that is
                    self._opened = False
                    await self._world.sleep(CONFLICT_WAIT_SECONDS)
                    continue
                self._tell_poison()
                if not more:
                    await self._waking.wait()
        finally:
            # Whatever ended it, the store knows best what was committed
            self._opened = False

    async def rebuild(self) -> AsyncGenerator[Progress, None]:
        """Fill new tables from the whole log beside the ones that are read, then read those; tells how far it is.

        One that is under way already is joined; where `run` runs too, it goes on without its caller. Raises the
        `PoisonEvent` that it cannot get over.
        """
        async with self._turn:
            if not self._opened:
                await self.open()
            if self._live is not None and self._live.stopped is not None:
                await self._live.retry()
            if self._shadow is None:
                await self._make()
            else:
                await self._shadow.retry()
            shadow = self._shadow
        if shadow is None:  # there is nothing in the log yet
            return
        self._waking.wake()
        number, first, started = shadow.build.number, shadow.position, self._world.clock.monotonic()
        while self._shadow is not None and self._shadow.build.number == number:
            shadow = self._shadow
            await self.step()
            if shadow.stopped is not None:
                raise shadow.stopped
            seconds = self._world.clock.monotonic() - started
            rate = (shadow.position - first) / seconds if seconds > 0 else 0.0
            yield _progress(shadow, await self._store.log.end(), rate)
        while self._old:
            await self.step()

    async def step(self) -> bool:
        """Do a bounded piece of all that there is to do; whether there is more."""
        async with self._turn:
            if not self._opened:
                await self.open()
            more = False
            if self._live is not None and self._live.stopped is None:
                more |= await self._page_of(self._live)
            if self._shadow is not None and self._shadow.stopped is None:
                more |= await self._page_beside(self._shadow)
            if self._old:
                more |= await self._remove_some(self._old[0])
            return more

    def _tell_poison(self) -> None:
        causes = {
            cause
            for filling in (self._live, self._shadow)
            if filling is not None
            for cause in (filling.stopped and str(filling.stopped), *(each.cause for each in filling.held.values()))
            if cause
        }
        for cause in sorted(causes - self._told):
            _log.error("event not projected", service=self._models.service, projection=self.name, cause=cause)
        self._told = causes

    async def _page_of(self, live: Filling) -> bool:
        try:
            return (await live.page()).more
        finally:
            if live.written:
                live.written = False
                await self._models.changed(self._table_names)

    async def _page_beside(self, shadow: Filling) -> bool:
        read = self._read
        behind = 0
        if self._live is not None:
            behind = self._live.checkpoint
        elif read is not None:
            behind = await self._store.checkpoint(read.checkpoint)

        def closing(reach: int, at_end: bool) -> Sequence[Effect]:
            met = reach >= behind if read is not None else at_end
            return self._builds.switched(shadow.build, read) if met else ()

        page = await shadow.page(closing)
        if page.closed:
            self._read, self._live, self._shadow = shadow.build, shadow, None
            self._models.read_from(shadow.build)
            await self._models.changed(self._table_names)
            if read is not None:
                self._old.append(read)
        return page.more or page.closed

    async def _make(self) -> None:
        """Make a new build, to be filled; of an empty log it is full already."""
        build = Build(
            await self._builds.next_number(),
            self.name,
            self._shape,
            self._filled_by,
            {str(table.name): tuple(str(column.name) for column in table.primary_key) for table in self._tables},
        )
        effects = [*self._builds.made(build, self._tables)]
        full = self._read is None and await self._store.log.end() == 0
        if full:
            effects += self._builds.switched(build, None)
        await self._store.commit(self._unit(effects))
        filling = await self._fill(build)
        if full:
            self._read, self._live = build, filling
        else:
            self._shadow = filling

    async def _fill(self, build: Build) -> Filling:
        filling = Filling(build, self._projection, self._names, self._store, self._codec, self._builds, self._world)
        await filling.open()
        await filling.retry()
        return filling

    async def _remove_some(self, build: Build) -> bool:
        """Remove some rows of a build that nobody reads, or the build once it has none; whether there is more."""
        for table in build.tables:
            if not await self._builds.is_empty(build, table):
                started = self._world.clock.monotonic()
                await self._store.commit(self._unit(self._builds.emptied(build, table, self._old_pace.size)))
                self._old_pace.took(self._world.clock.monotonic() - started)
                return True
        await self._store.commit(self._unit(self._builds.dropped(build)))
        self._old.remove(build)
        return bool(self._old)

    def _unit(self, effects: Sequence[Effect]) -> Unit:
        return Unit(self._world.clock.micros(), self._world.ids.new(), effects=[*effects])


def _progress(filling: Filling, end: int, rate: float = 0.0) -> Progress:
    stopped = str(filling.stopped) if filling.stopped is not None else None
    return Progress(filling.build.projection, filling.position, end, stopped, told_of_held(filling.held.values()), rate)
