"""One command, one commit: a handler runs, and all that it changed is committed together or not at all."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from colonnade.application.outbox import Deferred
from colonnade.domain import Refusal
from colonnade.domain.aggregate import AnyAggregate
from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence.addresses import Routes, events_of
from colonnade.persistence.kinds import AggregateKind
from colonnade.persistence.repository import AggregateCache
from colonnade.persistence.store import Store, VersionConflict
from colonnade.persistence.streams import StreamQueues
from colonnade.persistence.unit import (
    Append,
    Deliver,
    Effect,
    Fence,
    NewEvent,
    Publish,
    Snapshot,
    Unit,
)
from colonnade.persistence.work import StreamBusy, Work, current_work
from colonnade.world import World, datetime_of

__all__ = ["Done", "Execution", "Outcome", "Refused"]

R = TypeVar("R")

RUNS_AFTER_CONFLICT = 5
"""How often a handler runs when other processes keep writing its streams first."""


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
    """Runs the command handlers of one service, each run in a unit of work of its own."""

    def __init__(
        self,
        store: Store,
        codec: MessageCodec,
        routes: Routes,
        kinds: Sequence[AggregateKind[AnyAggregate]],
        cache: AggregateCache,
        world: World,
    ) -> None:
        self._store = store
        self._codec = codec
        self._routes = routes
        self._kinds = {kind.type: kind for kind in kinds}
        self._cache = cache
        self._world = world
        self._queues = StreamQueues()

    async def run(
        self,
        handle: Callable[[], Awaitable[R]],
        *,
        context: Context,
        base: Sequence[Effect] = (),
        close: Callable[[Outcome[R]], Sequence[Effect]] | None = None,
        fence: Fence | None = None,
    ) -> Outcome[R]:
        """Run `handle` and commit its unit of work, with `base` and what `close` makes of the outcome.

        A `Refusal` is an outcome: what was recorded is dropped, `base` and `close`'s effects are committed. Any other
        exception commits nothing and is raised; so is a `StoreConflict` that another run cannot mend. The handler
        runs again when its streams were taken in an order that could block others, or written by another process.
        """
        ahead: frozenset[str] = frozenset()
        runs = 0
        in_context = current_context.set(context)
        try:
            while True:
                runs += 1
                work = Work(self._queues)
                at_hand = current_work.set(work)
                try:
                    if ahead:
                        await work.take_all(ahead)
                    outcome: Outcome[R]
                    try:
                        value = await handle()
                    except Refusal as refusal:
                        outcome = Refused(refusal)
                    else:
                        deferred = value.key if isinstance(value, Deferred) else None
                        outcome = Done(value, deferred=deferred)
                    position = await self._commit(work, outcome, context, base, close, fence)
                except StreamBusy as busy:
                    ahead |= busy.streams
                    runs -= 1
                    continue
                except VersionConflict as conflict:
                    if runs >= RUNS_AFTER_CONFLICT or conflict.expected == 0:
                        raise
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
        if close is not None:
            unit.effects.extend(close(outcome))
        if not unit.effects:
            self._keep(work)
            return await self._store.log.end()
        committed = await self._store.commit(unit)
        if isinstance(outcome, Done):
            for aggregate in work.aggregates.values():
                aggregate.stored()
        self._keep(work)
        return committed.position

    def _keep(self, work: Work) -> None:
        for stream, aggregate in work.aggregates.items():
            if aggregate.version and not aggregate.recorded:
                self._cache.put(stream, aggregate)

    def _collect(self, work: Work, unit: Unit, context: Context) -> None:
        first_stream = ""
        for stream, aggregate in work.aggregates.items():
            recorded = aggregate.recorded
            if not recorded:
                continue
            first_stream = first_stream or stream
            self._append(stream, aggregate, unit, context)
        unit.effects.extend(work.effects)
        if work.later:
            key = first_stream or str(self._world.ids.new())
            unit.effects.extend(make(key) for make in work.later)

    def _append(self, stream: str, aggregate: AnyAggregate, unit: Unit, context: Context) -> None:
        service, events = self._routes.service, []
        effects = unit.effects
        new_id = self._world.ids.new
        for event in aggregate.recorded:
            id = new_id()
            name, schema, data = self._codec.encode(event)
            events.append(NewEvent(id, name, schema, data))
            route = self._routes.events.get(type(event))
            if route is None:
                continue
            envelope = Envelope(
                specversion="1.0",
                id=id,
                source=service,
                type=name,
                subject=stream,
                time=datetime_of(unit.time),
                data=msgspec.Raw(data),
                dataversion=schema,
                correlationid=context.correlation_id,
                causationid=context.causation_id,
                principal=context.principal,
                traceparent=context.traceparent,
            ).encode()
            if route.published:
                effects.append(Publish(events_of(service), stream, id, envelope))
            effects.extend(Deliver(consumer, stream, envelope) for consumer in route.consumers)
        before = aggregate.version
        after = before + len(events)
        effects.append(Append(stream, before, events))
        kind = self._kinds.get(type(aggregate))
        if (
            kind is not None
            and kind.snapshots is not None
            and before // kind.snapshot_every != after // kind.snapshot_every
        ):
            effects.append(Snapshot(stream, after, kind.snapshots.schema, kind.snapshots.encode(aggregate)))
