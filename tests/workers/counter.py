"""A counter where messages are done at once: a store, and a consumer that does what the test tells it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from colonnade.brokers.broker import Carried
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.observability.foreground import Foreground
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.store import DueMessage, Store, Touched
from colonnade.persistence.unit import Append, Effect, Handled, NewEvent, Unit
from colonnade.workers.at_once import AtOnce
from colonnade.workers.receiving import Inbox
from colonnade.workers.refetching import ChainEnd, Refetched
from colonnade.workers.worker import Worker
from colonnade.world import World, datetime_of
from tests.workers.bench import DoneInTheLog, Fault
from tests.workers.hands import (
    START_MICROS,
    WITHIN_SECONDS,
    Commits,
    HandClock,
    delivered,
    envelope,
    opened,
    running,
    world_of,
)

WORK = "work"


@dataclass
class Clerk:
    """Records the data of messages in the log, with whatever else it is told to put into the unit."""

    store: Store
    world: World
    at_once: AtOnce
    holds: bool = True
    joins: bool = True
    tried: list[str] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    sends: dict[str, Sequence[Effect]] = field(default_factory=dict)
    """Effects to go with what is done for a key."""
    contexts: list[Context] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message."""
        try:
            await self._consume(due, envelope, context)
        finally:
            self.ended.set()

    async def _consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        self.tried.append(bytes(envelope.data).decode().strip('"'))
        self.contexts.append(context)
        self.began.set()
        if (gate := self.gates.get(due.key)) is not None:
            await gate.wait()
        if (fault := self.faults.get(due.key)) is not None and (error := fault()) is not None:
            raise error
        stream = f"Done/{due.key}"
        version = len(await self.store.log.stream(stream, limit=1_000))
        event = NewEvent(self.world.ids.new(), "Done", 1, bytes(envelope.data))
        effects = [Handled(due.row), Append(stream, version, [event]), *self.sends.get(due.key, ())]
        await self.at_once.commit(Unit(self.world.clock.micros(), context.correlation_id, effects=effects))

    async def until_tried(self) -> None:
        """Wait until a message has been tried."""
        async with asyncio.timeout(WITHIN_SECONDS):
            await self.began.wait()


@dataclass
class Counter(DoneInTheLog):
    """Everything at the counter."""

    store: SqliteStore
    world: World
    clock: HandClock
    at_once: AtOnce
    clerk: Clerk
    worker: Worker
    inbox: Inbox
    commits: Commits
    foreground: Foreground
    touched: list[Touched] = field(default_factory=list)

    async def do(self, *effects: Effect) -> None:
        """Commit effects as a command's handler does."""
        await self.at_once.commit(Unit(self.clock.micros(), UUID(int=3), effects=[*effects]))

    @property
    def was_in_the_inbox(self) -> bool:
        """Whether any message has been put there."""
        return any(each & Touched.INBOX for each in self.touched)


def message(key: str, said: str, consumer: str = WORK) -> Effect:
    """A message of the service to itself."""
    return delivered(consumer, key, f'"{said}"'.encode())


def sold(seq: int, key: str, *, partition: int = 0, seconds_ago: float = 0.0) -> Carried:
    """A message of another service, the one after `seq` - 1."""
    time = datetime_of(START_MICROS - round(seconds_ago * 1_000_000))
    body = envelope("till.Sold", f'"{seq}"'.encode(), key, time=time)
    return Carried("till", UUID(int=1), "till.events", partition, seq, seq - 1, key, body)


@asynccontextmanager
async def a_counter(
    path: Path, *, worker: bool = False, own: Mapping[str, bool] | None = None, produced: Sequence[Carried] = ()
) -> AsyncIterator[Counter]:
    """A counter that is open; with a `worker` behind it, which looks after what is not done at once.

    The producer of what a broker brings has `produced` these.
    """
    clock = HandClock()
    world = world_of(clock)
    all_lines = own or {"all": True}

    async def refetch(chain: object, after: int) -> Refetched:
        return Refetched([each for each in produced if each.seq > after])

    async with opened(path, world) as store:
        foreground = Foreground()
        at_once = AtOnce(store, world, foreground=foreground)
        clerk = Clerk(store, world, at_once)
        behind = Worker("shop", store, {WORK: clerk}, world, foreground, at_once=at_once)
        inbox = Inbox(
            "shop",
            store,
            world,
            {"till.Sold": [WORK]},
            refetch,
            _no_ends,
            at_once=at_once,
            all_lines=lambda: all_lines["all"],
        )
        counter = Counter(store, world, clock, at_once, clerk, behind, inbox, Commits(store), foreground)
        store.watch(counter.touched.append)
        if worker:
            async with running(behind.run):
                await asyncio.sleep(0)  # it opens the counter when it begins
                yield counter
            return
        at_once.open({WORK: clerk})
        try:
            yield counter
        finally:
            await at_once.close()


@asynccontextmanager
async def beside(counter: Counter) -> AsyncIterator[AtOnce]:
    """Another instance at work on the store of a counter."""
    at_once = AtOnce(counter.store, counter.world)
    clerk = Clerk(counter.store, counter.world, at_once)
    worker = Worker("shop", counter.store, {WORK: clerk}, counter.world, Foreground(), at_once=at_once)
    async with running(worker.run):
        await asyncio.sleep(0)
        yield at_once


async def _no_ends() -> Sequence[ChainEnd]:
    return ()
