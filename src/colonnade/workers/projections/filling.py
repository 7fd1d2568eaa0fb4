"""Filling one build of a projection from the log, page by page."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from colonnade.application.projection import Projection
from colonnade.application.writes import RowWrite, Write
from colonnade.messages import Metadata
from colonnade.messages.codec import MessageCodec
from colonnade.persistence.failures import MissedRow, WriteFailed
from colonnade.persistence.store import Store, StoredEvent
from colonnade.persistence.tables.build import Build, HeldStream
from colonnade.persistence.tables.builds import Builds
from colonnade.persistence.tables.compiling import Unwritable, WriteCompiler
from colonnade.persistence.tables.folding import fold
from colonnade.persistence.unit import Advance, Effect, Unit
from colonnade.workers.projections.pace import Pace
from colonnade.world import World, datetime_of

__all__ = ["Filling", "Page", "PoisonEvent"]

CHECKPOINT_EVERY_POSITIONS = 1_024
"""A checkpoint lags behind events of others by less than this: those need no transaction each."""

BREATH_EVENTS = 32
"""After how many events other tasks get their turn: about a millisecond."""


# The driver's own word for a value that it cannot bind is one of Python's
REFUSALS = (WriteFailed, MissedRow, Unwritable, TypeError, ValueError, OverflowError)
"""What is raised for rows that cannot be written, however often it is tried."""


class PoisonEvent(Exception):
    """An event that its projection cannot take."""

    def __init__(self, projection: str, event: StoredEvent, cause: str) -> None:
        super().__init__(projection, event.position, event.stream, event.version, cause)
        self.projection, self.cause = projection, cause
        self.position, self.stream, self.version = event.position, event.stream, event.version

    def __str__(self) -> str:
        return (
            f"The projection {self.projection} cannot take event {self.position} of {self.stream}: {self.cause}. "
            "Mend its code and restart, or rebuild it."
        )


class Page(NamedTuple):
    """What became of one page: whether there is more to project, and whether what closes it was committed."""

    more: bool
    closed: bool


Closing = Callable[[int, bool], Sequence[Effect]]
"""What is to be committed with a page that reaches a position, which is the log's end or is not."""


def _nothing(reach: int, at_end: bool) -> Sequence[Effect]:
    return ()


class Filling:
    """One build of a projection on its way through the log.

    Rows and checkpoint are committed together. `position` is how far it has looked; the checkpoint follows with the
    next rows, or when it lags far behind.
    """

    def __init__(
        self,
        build: Build,
        projection: Projection[Any],
        names: Sequence[str],
        store: Store,
        codec: MessageCodec,
        builds: Builds,
        world: World,
    ) -> None:
        self.build = build
        self._projection = projection
        self._names = tuple(names)
        self._store = store
        self._codec = codec
        self._builds = builds
        self._compiler = WriteCompiler(store.dialect, build.physical)
        self._world = world
        self._pace = Pace()
        self.position = 0
        self.checkpoint = 0
        self.held: dict[str, HeldStream] = {}
        self.stopped: PoisonEvent | None = None
        self.written = False
        """Whether rows were written since this was last set to False."""

    async def open(self) -> None:
        """Find out how far it came; also to be called when the store disagrees."""
        self.position = self.checkpoint = await self._store.checkpoint(self.build.checkpoint)
        self.held = {held.stream: held for held in await self._builds.held(self.build)}

    async def page(self, closing: Closing = _nothing) -> Page:
        """Project the next events in one transaction.

        Sets `stopped` at an event that it cannot take, once all before it are projected. Raises `StoreConflict` when
        somebody else fills the build too, and `StoreFailed`.
        """
        limit = self._pace.size
        end, events = await self._store.log.page(self.position, limit, self._names)
        # All up to the end that was seen before is read, unless the page is full; the end may go back (row 3 of the
        # guarantees: a writer that stalls before its lock), and what has been projected stays so
        reach = events[-1].position if events else self.position
        if len(events) < limit:
            reach = max(reach, end)
        poison: PoisonEvent | None = None
        writes: list[Write] = []
        for number, event in enumerate(events, 1):
            if event.stream in self.held:
                continue
            try:
                writes += self._writes(event)
            except PoisonEvent as error:
                poison, reach, events = error, event.position - 1, events[: number - 1]
                break
            if len(writes) >= limit:
                reach, events = event.position, events[:number]
                break
            if number % BREATH_EVENTS == 0:
                await self._world.sleep(0)
        last = closing(reach, reach == end)
        try:
            await self._commit(writes, reach, last)
        except REFUSALS:
            last = ()
            poison = await self._one_by_one(events) or poison
        if poison is not None:
            await self._poisoned(poison)
        return Page(self.stopped is None and self.position < end, bool(last))

    async def retry(self) -> None:
        """Try again what could not be taken: the event at which it stopped, and the streams that are held."""
        self.stopped = None
        if self.held:
            # What held streams had up to here is projected now, and must not be again after a crash
            await self._store.commit(self._unit([self._advance(self.position)]))
            self.checkpoint = self.position
        for held in list(self.held.values()):
            await self._retry_stream(held)

    def _writes(self, event: StoredEvent) -> Sequence[Write]:
        try:
            message: Any = self._codec.decode(event.name, event.schema, event.data)
            writes = self._projection.on(message, _metadata(event))
        except Exception as error:  # whatever the author's code raises makes the event a poison
            raise self._poison(event, error) from error
        if isinstance(writes, RowWrite):
            return (writes,)
        if writes is None:
            return ()
        return writes if isinstance(writes, Sequence) else (writes,)

    async def _commit(self, writes: Sequence[Write], reach: int, closing: Sequence[Effect]) -> None:
        lag = reach - self.checkpoint
        if not writes and not closing and lag < CHECKPOINT_EVERY_POSITIONS:
            self.position = reach
            return
        effects = [*self._compiler.compile(fold(writes)), self._advance(reach), *closing]
        started = self._world.clock.monotonic()
        await self._store.commit(self._unit(effects))
        self._pace.took(self._world.clock.monotonic() - started)
        self.position = self.checkpoint = reach
        self.written = self.written or bool(writes)

    async def _one_by_one(self, events: Sequence[StoredEvent]) -> PoisonEvent | None:
        """Find the event whose rows the database refuses, and project all before it."""
        for event in events:
            if event.stream in self.held:
                continue
            try:
                await self._commit(self._writes(event), event.position, ())
            except REFUSALS as error:
                return self._poison(event, error)
        return None

    async def _poisoned(self, poison: PoisonEvent) -> None:
        if self._projection.poison == "stop":
            self.stopped = poison
            return
        held = HeldStream(poison.stream, poison.version, poison.position, poison.cause)
        await self._store.commit(self._unit([*self._builds.holding(self.build, held), self._advance(poison.position)]))
        self.held[held.stream] = held
        self.position = self.checkpoint = poison.position

    async def _retry_stream(self, held: HeldStream) -> None:
        stream, version, size = held.stream, held.version - 1, self._pace.size
        while True:
            page = await self._store.log.stream(stream, version, size)
            page = [event for event in page if event.position <= self.position]
            if not page:
                await self._store.commit(self._unit(self._builds.released(self.build, stream)))
                del self.held[stream]
                return
            last = page[-1]
            try:
                writes = [write for event in page if event.name in self._names for write in self._writes(event)]
                effects = self._compiler.compile(fold(writes))
                ahead = HeldStream(stream, last.version + 1, last.position, held.cause)
                await self._store.commit(self._unit([*effects, *self._builds.holding(self.build, ahead)]))
                self.written = True
            except (PoisonEvent, *REFUSALS) as error:
                if len(page) > 1:
                    size = 1
                    continue
                again = HeldStream(stream, last.version, last.position, _cause(error))
                await self._store.commit(self._unit(self._builds.holding(self.build, again)))
                self.held[stream] = again
                return
            version = last.version

    def _poison(self, event: StoredEvent, error: Exception) -> PoisonEvent:
        return PoisonEvent(self.build.projection, event, _cause(error))

    def _advance(self, reach: int) -> Advance:
        return Advance(self.build.checkpoint, self.checkpoint, reach)

    def _unit(self, effects: Sequence[Effect]) -> Unit:
        return Unit(self._world.clock.micros(), self._world.ids.new(), effects=[*effects])


def _cause(error: Exception) -> str:
    return error.cause if isinstance(error, PoisonEvent) else f"{type(error).__name__}: {error}"


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
