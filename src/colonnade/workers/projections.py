"""Projections: the log, turned into rows, in pages; and their rebuilding beside the one that is read."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Table

from colonnade.application.projection import Projection
from colonnade.application.writes import RowWrite
from colonnade.messages import Event, Metadata
from colonnade.messages.codec import MessageCodec
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import MissedRow, Store, StoredEvent, StoreFailed, Touched
from colonnade.persistence.tables.folding import fold
from colonnade.persistence.tables.models import Build, ReadModels
from colonnade.persistence.unit import Advance, Effect, Unit, Write
from colonnade.workers.waking import Waking
from colonnade.world import World, datetime_of

__all__ = ["PAGE_EVENTS", "PoisonEvent", "Progress", "Projector"]

PAGE_EVENTS = 256
"""How many events are projected in one transaction: few enough that no command waits long behind them."""

_DROP_ROWS = 2_000

_log = structlog.get_logger()


class PoisonEvent(Exception):
    """An event that its projection cannot take."""

    def __init__(self, projection: str, position: int, stream: str, cause: str) -> None:
        super().__init__(projection, position, stream, cause)
        self.projection, self.position, self.stream, self.cause = projection, position, stream, cause

    def __str__(self) -> str:
        return (
            f"The projection {self.projection} stopped at event {self.position} of {self.stream}: {self.cause}. Mend "
            "its code and restart, or rebuild it."
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a projection is, in positions of its service's log."""

    projection: str
    position: int
    end: int
    stopped: str | None = None


class Projector:
    """Keeps one projection up with its service's log."""

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
        self._store = store
        self._codec = codec
        self._models = models
        self._world = world
        self._waking = Waking(Touched.EVENTS, world.clock)
        store.watch(self._waking.touched)
        self._turn = asyncio.Lock()
        self._poison: PoisonEvent | None = None
        self._rebuilding: str | None = None
        self._build = self._numbered(1)
        self._compiler = models.writes(self._build.tables)

    @property
    def build_id(self) -> str:
        """Which of its builds is read."""
        return self._build.id

    def health(self) -> Sequence[HealthState]:
        """Whether it has stopped."""
        if self._poison is None:
            return ()
        return (HealthState(f"{self._models.service}.projection.{self.name}", Severity.DEGRADED, str(self._poison)),)

    async def progress(self) -> Progress:
        """How far it is."""
        position = await self._store.checkpoint(self._build.id)
        end = await self._store.log.end()
        if not self._poison and not await self._store.log.read(position, 1, self._names):
            position = end
        return Progress(self.name, position, end, str(self._poison) if self._poison else None)

    async def open(self) -> None:
        """Make its tables, or find those it was built into; to be called before anything reads them."""
        active = await self._store.snapshot(
            lambda connection: connection.execute("SELECT active FROM projections WHERE name = ?", (self.name,)).get
        )
        fresh = self._build
        if active is not None:
            shape, _, number = str(active).rpartition(".")
            fresh = self._numbered(int(number) if shape == fresh.id.rpartition(".")[0] else int(number) + 1)
        await self._store.define(fresh.create_statements(self._models.dialect))
        if active != fresh.id:
            # Of another version or shape: nobody writes the old tables any more, so the new ones are read at once
            await self._commit(_activated(self.name, fresh.id))
        self._adopt(fresh)

    async def run(self) -> None:
        """Project until cancelled; a poisonous event stops it, with a named state of health."""
        while True:
            self._waking.clear()
            if self._poison is None:
                async with self._turn:
                    await self._catch_up()
            await self._waking.wait()

    async def rebuild(self) -> AsyncGenerator[Progress, None]:
        """Fill new tables from the whole log beside the ones that are read, then read those; tells how far it is."""
        if self._rebuilding is not None:
            raise RuntimeError(f"{self.name} is being rebuilt already; wait for it.")
        shadow = self._numbered(int(self._build.id.rpartition(".")[2]) + 1)
        self._rebuilding = shadow.id
        try:
            await self._store.define([*_dropped(shadow), *shadow.create_statements(self._models.dialect)])
            await self._commit(
                Write("DELETE FROM checkpoints WHERE projection = ?", (shadow.id,)),
            )
            compiler = self._models.writes(shadow.tables)
            position, more = 0, True
            while more:
                position, more = await self._page(shadow, compiler, position)
                yield Progress(self.name, position, await self._store.log.end())
            async with self._turn:
                # The one that is read stands still now, so that the new one meets it
                more = True
                while more:
                    position, more = await self._page(shadow, compiler, position)
                await self._commit(_activated(self.name, shadow.id))
                old = self._build
                self._adopt(shadow)
                self._poison = None
            self._waking.wake()
            yield Progress(self.name, await self._store.log.end(), await self._store.log.end())
            await self._remove(old)
        finally:
            self._rebuilding = None

    def _numbered(self, number: int) -> Build:
        return Build.of(self.name, self._projection.version, self._names, list(self._projection.tables), number)

    def _adopt(self, build: Build) -> None:
        self._build = build
        self._compiler = self._models.writes(build.tables)
        self._models.use(build)

    async def _catch_up(self) -> None:
        position = await self._store.checkpoint(self._build.id)
        more = True
        try:
            while more:
                position, more = await self._page(self._build, self._compiler, position)
                self._models.moved()
        except PoisonEvent as poison:
            self._poison = poison
            _log.error("projection stopped", projection=self.name, position=poison.position, cause=poison.cause)

    async def _page(self, build: Build, compiler: Any, position: int) -> tuple[int, bool]:
        events = await self._store.log.read(position, PAGE_EVENTS, self._names)
        if not events:
            return position, False
        try:
            writes = [write for event in events for write in self._on(event)]
            await self._write(build, compiler, writes, position, events[-1].position)
        except (MissedRow, StoreFailed, PoisonEvent):
            position = await self._one_by_one(build, compiler, events, position)
        return events[-1].position, len(events) == PAGE_EVENTS

    async def _one_by_one(self, build: Build, compiler: Any, events: Sequence[StoredEvent], position: int) -> int:
        for event in events:
            try:
                await self._write(build, compiler, self._on(event), position, event.position)
            except (MissedRow, StoreFailed) as error:
                raise PoisonEvent(self.name, event.position, event.stream, str(error)) from error
            position = event.position
        return position

    async def _write(self, build: Build, compiler: Any, writes: Sequence[RowWrite], before: int, after: int) -> None:
        effects: list[Effect] = [compiler.compile(write) for write in fold(writes)]
        effects.append(Advance(build.id, before, after))
        await self._commit(*effects)

    def _on(self, event: StoredEvent) -> Sequence[RowWrite]:
        try:
            message = self._codec.decode(event.name, event.schema, event.data)
            assert isinstance(message, Event)
            writes = self._projection.on(message, _metadata(event))
        except Exception as error:  # whatever a projection raises makes the event a poison
            raise PoisonEvent(self.name, event.position, event.stream, f"{type(error).__name__}: {error}") from error
        if writes is None:
            return ()
        return (writes,) if isinstance(writes, RowWrite) else writes

    async def _commit(self, *effects: Effect) -> None:
        await self._store.commit(Unit(self._world.clock.micros(), self._world.ids.new(), effects=list(effects)))

    async def _remove(self, build: Build) -> None:
        for table in build.tables.values():
            await self._empty(table)
        await self._store.define(_dropped(build))
        await self._commit(Write("DELETE FROM checkpoints WHERE projection = ?", (build.id,)))

    async def _empty(self, table: Table) -> None:
        count = await self._store.snapshot(
            lambda connection: connection.execute(f'SELECT count(*) FROM "{table.name}"').get
        )
        for _ in range(0, int(count), _DROP_ROWS):
            sql = f'DELETE FROM "{table.name}" WHERE rowid IN (SELECT rowid FROM "{table.name}" LIMIT {_DROP_ROWS})'
            await self._commit(Write(sql, ()))


def _activated(projection: str, build: str) -> Write:
    return Write(
        "INSERT INTO projections VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET active = excluded.active",
        (projection, build),
    )


def _dropped(build: Build) -> list[str]:
    return [f'DROP TABLE IF EXISTS "{table.name}"' for table in build.tables.values()]


def _metadata(event: StoredEvent) -> Metadata:
    return Metadata(
        event.id,
        event.stream,
        event.version,
        event.position,
        datetime_of(event.time),
        event.correlation_id,
        event.causation_id,
        event.principal,
    )
