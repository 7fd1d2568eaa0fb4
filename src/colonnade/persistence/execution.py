"""One command, one commit: a handler runs, and all that it changed is committed together or not at all."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, TypeVar

import msgspec

from colonnade.application.outbox import Deferred
from colonnade.domain import Refusal
from colonnade.domain.aggregate import AnyAggregate
from colonnade.messages import Event
from colonnade.messages.codec import MessageCodec
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence.addresses import Routes, events_of
from colonnade.persistence.envelopes import enveloped
from colonnade.persistence.failures import VersionConflict
from colonnade.persistence.kinds import AggregateKind
from colonnade.persistence.repository import AggregateCache
from colonnade.persistence.store import Committed, Store
from colonnade.persistence.streams import StreamQueues
from colonnade.persistence.unit import (
    Answer,
    Append,
    Deliver,
    Effect,
    Expect,
    Fence,
    NewEvent,
    Publish,
    Snapshot,
    Unit,
    at_once,
)
from colonnade.persistence.work import StreamBusy, Work, current_work, work_before
from colonnade.world import World, datetime_of

__all__ = ["Done", "Execution", "Outcome", "Refused"]

R = TypeVar("R")

RUNS_AFTER_CONFLICT = 10
"""How often a handler runs when other processes keep writing its streams first.

The waits between add up to some hundred times what a commit takes: whoever wins has its next command ready at once and
goes on winning, until those that wait with it are done.
"""

_SHORTEST_WAIT_SECONDS = 0.001


class Done(msgspec.Struct, Generic[R], frozen=True):
    """The handler returned `value`; what it changed is durable, and the log ends at `position` or later.

    `deferred` is the key under which the outcome will be settled, when the handler returned `Deferred`.
    """

    value: R
    position: int = 0
    deferred: str | None = None


class Refused(msgspec.Struct, frozen=True):
    """The handler refused; nothing that it recorded was kept."""

    refusal: Refusal
    position: int = 0


Outcome = Done[R] | Refused


class Execution:
    """Runs the command handlers of one service, each run in a unit of work of its own.

    `changed` is told the service's own tables that a unit has written, before the command is answered. Where the store
    is `shared` with other processes, an aggregate from memory may have moved: a unit that does not write its stream
    commits only if it has not. `commit` is how units are committed, the store's own way where it is not given.
    """

    def __init__(
        self,
        store: Store,
        codec: MessageCodec,
        routes: Routes,
        kinds: Sequence[AggregateKind[AnyAggregate]],
        cache: AggregateCache,
        world: World,
        changed: Callable[[Collection[str]], Awaitable[None]] | None = None,
        *,
        shared: bool = False,
        commit: Callable[[Unit], Awaitable[Committed]] | None = None,
    ) -> None:
        self._changed = changed
        self._store = store
        self._commit_unit = commit or store.commit
        self._codec = codec
        self._routes = routes
        self._kinds = {kind.type: kind for kind in kinds}
        self._cache = cache
        self._world = world
        self._shared = shared
        self._queues = StreamQueues()
        self._deciding: set[asyncio.Task[Committed]] = set()

    async def run(
        self,
        handle: Callable[[], Awaitable[R]],
        *,
        context: Context,
        base: Sequence[Effect] = (),
        close: Callable[[Outcome[R]], Sequence[Effect]] | None = None,
        fence: Fence | None = None,
        on_refusal: Callable[[], Awaitable[None]] | None = None,
    ) -> Outcome[R]:
        """Run `handle` and commit its unit of work, with `base` and what `close` makes of the outcome.

        `on_refusal` is awaited before a refusal is committed, and may raise instead.

        A `Refusal` is an outcome: what was recorded is dropped, `base` and `close`'s effects are committed. Any other
        exception commits nothing and is raised; so is a `StoreConflict` that another run cannot mend. The handler
        runs again when its streams were taken in an order that could block others, or written by another process.
        Cancelled while its unit is being committed, it keeps its streams until that is decided. For a message that is
        done at once it raises `StreamBusy` rather than wait.
        """
        patient = at_once(base) is None
        ahead: frozenset[str] = frozenset()
        kept: list[str] = []
        monotonic = self._world.clock.monotonic
        begun, took, runs = 0.0, _SHORTEST_WAIT_SECONDS, 0
        in_context = current_context.set(context)
        try:
            while True:
                runs += 1
                work = Work(self._queues, kept, patient=patient, before=None if patient else work_before.get())
                kept = []
                at_hand = current_work.set(work)
                try:
                    if ahead and not work.held:
                        await work.take_all(ahead)
                    outcome = await _outcome_of(handle, work)
                    if on_refusal is not None and isinstance(outcome, Refused):
                        await on_refusal()
                    begun = monotonic()
                    position = await self._commit(work, outcome, context, base, close, fence)
                except StreamBusy as busy:
                    if not patient:
                        raise
                    ahead |= busy.streams
                    runs -= 1
                    continue
                except VersionConflict as conflict:
                    # What was taken for new without a look will be as little new in the next run
                    if (
                        not patient
                        or runs >= RUNS_AFTER_CONFLICT
                        or (conflict.expected == 0 and conflict.stream not in work.held)
                    ):
                        raise
                    # With the streams held: the others of this process would only lose as well
                    took = max(took, monotonic() - begun)
                    await self._world.sleep(took * 2.0 ** (runs - 1) * (0.5 + self._world.randomness.random() / 2))
                    kept, work.held = work.held, []
                    continue
                finally:
                    current_work.reset(at_hand)
                    work.release()
                if isinstance(outcome, Refused):
                    return Refused(outcome.refusal, position)
                return Done(outcome.value, position, outcome.deferred)
        finally:
            current_context.reset(in_context)

    async def _commit(
        self,
        work: Work,
        outcome: Outcome[R],
        context: Context,
        base: Sequence[Effect],
        close: Callable[[Outcome[R]], Sequence[Effect]] | None,
        fence: Fence | None,
    ) -> int:
        now = self._world.clock.micros()
        unit = Unit(now, context.correlation_id, context.causation_id, context.principal, [*base], fence)
        if isinstance(outcome, Done):
            self._collect(work, unit, context)
            work.announce()
        else:
            work.refused = True
        if self._shared and work.remembered:
            unit.effects.extend(_expected(work))
        if close is not None:
            for effect in close(outcome):
                if type(effect) is Answer:
                    # Looked at first: that a request has been answered says more than a stream that it has moved
                    unit.effects.insert(len(base), effect)
                else:
                    unit.effects.append(effect)
        if not unit.effects:
            self._keep(work)
            return await self._store.log.end()
        try:
            committed = await self._commit_unit(unit)
        except asyncio.CancelledError:
            work.release_when(self._decided(unit, work))
            raise
        if isinstance(outcome, Done):
            for stream, aggregate in work.aggregates.items():
                if stream not in work.lent:
                    aggregate.stored()
            if work.changed:
                await self._tell_changed(work)
        self._keep(work)
        return committed.position

    def _decided(self, unit: Unit, work: Work) -> "asyncio.Task[Committed]":
        async def behind_it() -> Committed:
            committed = await self._store.commit(Unit(unit.time, unit.correlation_id))
            await self._tell_changed(work)
            return committed

        # Units are decided in the order in which they come, so that one behind `unit` tells when it has been
        behind = asyncio.ensure_future(behind_it())
        self._deciding.add(behind)
        behind.add_done_callback(self._no_longer_deciding)
        return behind

    async def _tell_changed(self, work: Work) -> None:
        if work.changed and self._changed is not None:
            await self._changed(work.changed)

    def _no_longer_deciding(self, behind: "asyncio.Task[Committed]") -> None:
        self._deciding.discard(behind)
        if not behind.cancelled():
            behind.exception()  # told to the callers of the other units; here only that it is over counts

    def _keep(self, work: Work) -> None:
        for stream, aggregate in work.aggregates.items():
            if aggregate.version and not aggregate.recorded and stream not in work.lent:
                self._cache.put(stream, aggregate)

    def _collect(self, work: Work, unit: Unit, context: Context) -> None:
        first_stream = ""
        for stream, aggregate in work.aggregates.items():
            before, recorded = work.recorded(stream)
            if not recorded:
                continue
            first_stream = first_stream or stream
            self._append(stream, aggregate, before, recorded, unit, context)
        unit.effects.extend(work.effects)
        if work.later:
            key = first_stream or str(self._world.ids.new())
            unit.effects.extend(make(key) for make in work.later)

    def _append(
        self,
        stream: str,
        aggregate: AnyAggregate,
        before: int,
        recorded: Sequence[Event],
        unit: Unit,
        context: Context,
    ) -> None:
        service, events = self._routes.service, []
        effects = unit.effects
        new_id = self._world.ids.new
        time = datetime_of(unit.time)
        for event in recorded:
            id = new_id()
            name, schema, data = self._codec.encode(event)
            events.append(NewEvent(id, name, schema, data))
            route = self._routes.events.get(type(event))
            if route is None:
                continue
            envelope = enveloped(
                context,
                id=id,
                source=service,
                type=name,
                subject=stream,
                time=time,
                data=data,
                version=schema,
            )
            if route.published:
                effects.append(Publish(events_of(service), stream, id, envelope))
            effects.extend(Deliver(consumer, stream, envelope) for consumer in route.consumers)
        after = before + len(events)
        effects.append(Append(stream, before, events))
        kind = self._kinds.get(type(aggregate))
        if (
            kind is not None
            and kind.snapshots is not None
            and before // kind.snapshot_every != after // kind.snapshot_every
        ):
            effects.append(Snapshot(stream, after, kind.snapshots.schema, kind.snapshots.encode(aggregate)))


def _expected(work: Work) -> list[Effect]:
    remembered = [(stream, work.aggregates[stream]) for stream in sorted(work.remembered)]
    return [
        Expect(stream, aggregate.version) for stream, aggregate in remembered if work.refused or not aggregate.recorded
    ]


async def _outcome_of(handle: Callable[[], Awaitable[R]], work: Work) -> Outcome[R]:
    try:
        value = await handle()
    except Exception as error:
        if work.busy is not None:
            raise work.busy from None
        if isinstance(error, Refusal):
            return Refused(error)
        raise
    if work.busy is not None:
        raise work.busy
    return Done(value, deferred=value.key if isinstance(value, Deferred) else None)
