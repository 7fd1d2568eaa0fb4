"""The inbox of one service, with nothing behind it but a test."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from colonnade.brokers.broker import Carried
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.store import DueMessage
from colonnade.persistence.unit import ChainId, Handled
from colonnade.workers.receiving import Inbox
from colonnade.workers.refetching import ChainEnd, Obstacle, Refetched, ends_of, from_outbox
from colonnade.workers.succession import Histories
from colonnade.world import World
from tests.workers.hands import HandClock, commit, envelope, opened, world_of

EVENTS = "shop.events"
HISTORY = UUID(int=1)
PLACED = "shop.Placed"


def carried(
    seq: int,
    prev: int | None = None,
    *,
    topic: str = EVENTS,
    key: str = "a",
    body: bytes | None = None,
    history: UUID = HISTORY,
    partition: int = 0,
) -> Carried:
    """A message that follows the one before it, or `prev`."""
    body = body if body is not None else envelope(PLACED, b'{"n":%d}' % seq, key)
    return Carried("shop", history, topic, partition, seq, seq - 1 if prev is None else prev, key, body)


@dataclass
class Door:
    """An inbox in front of the store of the service `ordering`."""

    store: SqliteStore
    world: World
    clock: HandClock
    inbox: Inbox = field(init=False)
    limit: int = 50_000
    producer: SqliteStore | None = None
    kept_by_producer: Sequence[Carried] = ()
    obstacle: Obstacle | None = None
    asked: list[tuple[ChainId, int]] = field(default_factory=list)
    told_by_producer: Sequence[ChainEnd] = ()
    asked_for_ends: int = 0
    told: Histories | None = None
    """What a producer says of its histories; None while it cannot be asked."""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what is in memory."""
        interested = {PLACED: ["Mailing", "Saga:Ship"]}
        self.inbox = Inbox(
            "ordering",
            self.store,
            self.world,
            interested,
            self._refetch,
            self._ends,
            self.limit,
            histories=self._histories,
        )

    async def _histories(self, source: str) -> Histories | None:
        return self.told

    async def _refetch(self, chain: ChainId, after: int) -> Refetched:
        self.asked.append((chain, after))
        if self.producer is not None:
            return await from_outbox(self.producer, chain, after)
        of_chain = [each for each in self.kept_by_producer if each.partition == chain.partition]
        return Refetched([each for each in of_chain if each.seq > after], self.obstacle)

    async def _ends(self) -> Sequence[ChainEnd]:
        self.asked_for_ends += 1
        if self.producer is None:
            return self.told_by_producer
        return await ends_of(self.producer, "shop", [EVENTS])

    async def receive(self, *messages: Carried) -> None:
        """Hand messages to the inbox."""
        await self.inbox.receive(messages)

    async def due(self, consumer: str = "Mailing") -> list[DueMessage]:
        """The messages that a worker may handle now."""
        return await self.store.inbox.due(self.clock.micros(), 1_000, consumer=consumer)

    async def handled(self, consumer: str = "Mailing") -> list[bytes]:
        """Handle everything that can be, line by line; their data in the order in which it was."""
        data = []
        while due := await self.due(consumer):
            for message in due:
                data.append(message.envelope)
                await commit(self.store, self.world, Handled(message.row))
        return data

    async def mark(self) -> int:
        """How far the only chain has come."""
        (chain,) = await self.store.inbox.chains()
        return chain.received


@asynccontextmanager
async def a_door(path: Path, limit: int = 50_000) -> AsyncIterator[Door]:
    """The inbox of `ordering`, on a store at `path`."""
    clock = HandClock()
    world = world_of(clock)
    async with opened(path, world, "ordering") as store:
        yield Door(store, world, clock, limit)


def bodies(*seqs: int) -> list[bytes]:
    """The envelopes of these messages."""
    return [carried(seq).envelope for seq in seqs]
