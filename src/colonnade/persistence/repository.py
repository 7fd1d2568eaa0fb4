"""Aggregates loaded from their streams, or from memory where the stream has not moved since."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from colonnade.application.repository import AggregateNotFound
from colonnade.domain.aggregate import AnyAggregate
from colonnade.messages.codec import MessageCodec
from colonnade.persistence.kinds import AggregateKind
from colonnade.persistence.store import Log
from colonnade.persistence.work import Work, work_at_hand

__all__ = ["AggregateCache", "EventSourcedRepository"]

A = TypeVar("A", bound=AnyAggregate)


class AggregateCache:
    """The aggregates used last, by stream. Who takes one out owns it until it is put back."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._aggregates: OrderedDict[str, AnyAggregate] = OrderedDict()

    def take(self, stream: str) -> AnyAggregate | None:
        """Take the aggregate of `stream` out."""
        return self._aggregates.pop(stream, None)

    def put(self, stream: str, aggregate: AnyAggregate) -> None:
        """Keep an aggregate that is exactly what its stream holds."""
        self._aggregates[stream] = aggregate
        if len(self._aggregates) > self._capacity:
            self._aggregates.popitem(last=False)


class EventSourcedRepository(Generic[A]):
    """The aggregates of one kind, for the command at hand."""

    def __init__(self, kind: AggregateKind[A], log: Log, codec: MessageCodec, cache: AggregateCache) -> None:
        self._kind = kind
        self._log = log
        self._codec = codec
        self._cache = cache

    async def get(self, id: UUID | str | int) -> A:
        """The aggregate; raises `AggregateNotFound`."""
        aggregate = await self.find(id)
        if aggregate is None:
            raise AggregateNotFound(self._kind.type.__name__, id)
        return aggregate

    async def find(self, id: UUID | str | int) -> A | None:
        """The aggregate, or None."""
        work = work_at_hand()
        stream = self._kind.stream(id)
        await work.begin_loading((stream,))
        try:
            if not self._is_at_hand(stream, work):
                await self._load(((id, stream),), work.aggregates)
        finally:
            work.end_loading()
        return self._known(stream, work)

    async def find_all(self, ids: Iterable[UUID | str | int]) -> list[A | None]:
        """The aggregates in the order of `ids`."""
        work = work_at_hand()
        named = [(id, self._kind.stream(id)) for id in ids]
        await work.begin_loading([stream for _, stream in named])
        try:
            missing = [(id, stream) for id, stream in named if not self._is_at_hand(stream, work)]
            if missing:
                await self._load(missing, work.aggregates)
        finally:
            work.end_loading()
        return [self._known(stream, work) for _, stream in named]

    def add(self, aggregate: A) -> None:
        """Take in a new aggregate."""
        aggregates = work_at_hand().aggregates
        if len(aggregates) == 1 and next(iter(aggregates.values())) is aggregate:
            return  # the one that was found, as a rule: its stream need not be named again
        id = cast(Any, aggregate).id  # AnyAggregate does not know the type of its identity
        aggregates[self._kind.stream(id)] = aggregate

    def _is_at_hand(self, stream: str, work: Work) -> bool:
        if stream in work.aggregates:
            return True
        aggregate = self._cache.take(stream)
        if aggregate is None:
            return False
        work.aggregates[stream] = aggregate
        work.remembered.add(stream)
        return True

    def _known(self, stream: str, work: Work) -> A | None:
        aggregate = work.aggregates[stream]
        return cast(A, aggregate) if aggregate.version or aggregate.recorded else None

    async def _load(self, missing: Sequence[tuple[UUID | str | int, str]], into: dict[str, AnyAggregate]) -> None:
        codec = self._kind.snapshots
        streams = [stream for _, stream in missing]
        decode_all = self._codec.decode_all
        for (id, stream), loaded in zip(
            missing, await self._log.load(streams, snapshots=codec is not None), strict=True
        ):
            aggregate = self._kind.make(id)
            events = loaded.events
            if loaded.snapshot is not None and codec is not None:
                if loaded.snapshot.schema == codec.schema:
                    codec.restore(aggregate, loaded.snapshot.data, loaded.snapshot.version)
                else:
                    # A snapshot of another shape of the state: the events tell all of it
                    (whole,) = await self._log.load((stream,), snapshots=False)
                    events = whole.events
            cast(Any, aggregate).replay(decode_all(events))
            into[stream] = aggregate
