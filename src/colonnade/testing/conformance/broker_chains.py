"""What the inbox makes of a broker: whatever is lost, doubled and reordered on the way takes effect once, in order."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random
from uuid import UUID

import msgspec

from colonnade.brokers.broker import Broker, Carried, Receiver, Subscription
from colonnade.messages.envelope import Envelope
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ChainId, Effect, Handled, Publish, Unit
from colonnade.workers.holes import HOLE_SECONDS
from colonnade.workers.pruning import Pruning, Retention
from colonnade.workers.receiving import Inbox
from colonnade.workers.refetching import ChainEnd, Refetched, ends_of, from_outbox
from colonnade.workers.relay import Relay
from colonnade.world import Clock, World, real_world

__all__ = ["ChainConformance", "enveloped"]

WITHIN_SECONDS = 60.0

TOPIC = "shop.events"
KEYS = 20
ROUNDS = 20
"""So many times each key publishes one message."""

SEED = 7

LOST_ROUNDS = 5
MINUTES = 30

LOST, DOUBLED, SWAPPED = 0.1, 0.15, 0.3

_LOOK_SECONDS = 0.02


def enveloped(data: object = None, source: str = "shop", subject: str = "Order/1") -> bytes:
    """An envelope around some data."""
    return Envelope(
        specversion="1.0",
        id=UUID(int=7),
        source=source,
        type=f"{source}.Sold",
        subject=subject,
        time=datetime.fromisoformat("2026-01-02T00:00:00+00:00"),
        data=msgspec.Raw(msgspec.json.encode(data)),
        correlationid=UUID(int=8),
    ).encode()


class ChainConformance(ABC):
    """The suite: a producer's relay, the broker with somebody meddling on the way to it, and a consumer's inbox."""

    @abstractmethod
    def running_broker(self) -> AbstractAsyncContextManager[Broker]:
        """A broker with nothing on it."""

    async def test_whatever_happens_on_the_way_takes_effect_once_and_in_order(self, tmp_path: Path) -> None:
        """Each key's messages are handled as they were published, though some are lost, doubled or reordered."""
        async with self.running_broker() as broker, _between(broker, tmp_path) as way:
            for number in range(ROUNDS):
                await way.publish(number)
            await way.until_relayed()
            way.meddled.chances = (1.0, 0.0, 0.0)  # nothing comes after what is lost last
            await way.publish(ROUNDS)
            await way.until_relayed()
            await way.handle_all(ROUNDS + 1, holes=True)
            assert way.handled == _in_order(ROUNDS + 1)
            assert min(way.meddled.lost, way.meddled.doubled, way.meddled.swapped) > 0

    async def test_what_was_lost_minutes_ago_is_filled_from_the_producer(self, tmp_path: Path) -> None:
        """The producer keeps what has left for days: what follows shows the hole, however long after."""
        async with self.running_broker() as broker, _between(broker, tmp_path, tells_ends=False) as way:
            way.meddled.chances = (0.0, 0.0, 0.0)
            await way.publish(0)
            await way.until_relayed()
            await way.handle_all(1)
            way.meddled.chances = (1.0, 0.0, 0.0)
            for number in range(1, LOST_ROUNDS + 1):
                await way.publish(number)
            while await way.shop.outbox.all_left_up_to() < KEYS * (LOST_ROUNDS + 1):
                await way.world.sleep(_LOOK_SECONDS)
            way.ahead.seconds += MINUTES * 60.0
            await Pruning(way.shop, replace(way.world, clock=way.ahead), Retention()).prune()
            way.meddled.chances = (0.0, 0.0, 0.0)
            await way.publish(LOST_ROUNDS + 1)
            await way.handle_all(LOST_ROUNDS + 2, holes=True)
            assert way.handled == _in_order(LOST_ROUNDS + 2)
            assert (way.meddled.lost, way.inbox.health()) == (KEYS * LOST_ROUNDS, [])


def _in_order(rounds: int) -> dict[str, list[int]]:
    return {f"Order/{key}": list(range(rounds)) for key in range(KEYS)}


@dataclass
class _Way:
    """From the shop's outbox over a broker to ordering's inbox."""

    world: World
    ahead: "_Ahead"
    shop: Store
    ordering: Store
    meddled: "_Meddled"
    inbox: Inbox
    relay: Relay
    handled: dict[str, list[int]] = field(default_factory=lambda: {f"Order/{key}": [] for key in range(KEYS)})

    async def publish(self, number: int) -> None:
        """One message of each key."""
        keys = [f"Order/{each}" for each in range(KEYS)]
        published = [Publish(TOPIC, key, self.world.ids.new(), enveloped(number, subject=key)) for key in keys]
        await self._commit(self.shop, *published)

    async def until_relayed(self) -> None:
        """Wait until the shop has nothing to send."""
        while await self.relay.is_behind():
            await self.world.sleep(_LOOK_SECONDS)

    async def handle_all(self, rounds: int, *, holes: bool = False) -> None:
        """Handle what is ready until each key has had so many messages; where there are `holes`, time flies."""
        while sum(map(len, self.handled.values())) < KEYS * rounds:
            await self._handle()
            if holes:
                self.ahead.seconds += HOLE_SECONDS
                await self.inbox.tend()
            await self.world.sleep(_LOOK_SECONDS)
        await self._handle()

    async def _handle(self) -> None:
        while due := await self.ordering.inbox.due(self.world.clock.micros(), 1_000, consumer="Mailing"):
            for message in due:
                envelope = Envelope.decode(message.envelope)
                self.handled[envelope.subject].append(msgspec.json.decode(envelope.data, type=int))
            await self._commit(self.ordering, *(Handled(message.row) for message in due))

    async def _commit(self, store: Store, *effects: Effect) -> None:
        await store.commit(Unit(self.world.clock.micros(), self.world.ids.new(), effects=[*effects]))


@asynccontextmanager
async def _between(broker: Broker, folder: Path, *, tells_ends: bool = True) -> AsyncIterator[_Way]:
    world = real_world()
    ahead = _Ahead(world.clock)
    async with (
        _opened(folder, "shop", world) as shop,
        _opened(folder, "ordering", world) as ordering,
        asyncio.timeout(WITHIN_SECONDS),
    ):

        async def refetch(chain: ChainId, after: int) -> Refetched:
            return await from_outbox(shop, chain, after)

        async def ends() -> Sequence[ChainEnd]:
            return await ends_of(shop, "shop", [TOPIC]) if tells_ends else ()

        meddled = _Meddled(broker, Random(SEED))  # noqa: S311 - nothing is kept secret by it
        interested = {"shop.Sold": ["Mailing"]}
        inbox = Inbox("ordering", ordering, replace(world, clock=ahead), interested, refetch, ends)
        subscription = await meddled.subscribe("ordering", [TOPIC], inbox.receive)
        relay = Relay("shop", shop, meddled, world, "this one")
        relaying = asyncio.create_task(relay.run())
        try:
            yield _Way(world, ahead, shop, ordering, meddled, inbox, relay)
        finally:
            relaying.cancel()
            await asyncio.wait([relaying])
            await subscription.close()


@asynccontextmanager
async def _opened(folder: Path, name: str, world: World) -> AsyncIterator[Store]:
    store = await open_sqlite_store(folder / f"{name}.sqlite3", world)
    try:
        yield store
    finally:
        await store.close()


class _Ahead:
    """A clock that can be put forward."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = 0.0

    def now(self) -> datetime:
        return self._clock.now()

    def micros(self) -> int:
        return self._clock.micros() + int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self._clock.monotonic() + self.seconds


class _Meddled:
    """A broker on the way to which messages get lost, doubled and out of order."""

    def __init__(self, broker: Broker, random: Random) -> None:
        self._broker = broker
        self._random = random
        self.chances = LOST, DOUBLED, SWAPPED
        self.lost = self.doubled = self.swapped = 0

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Publish some of `messages`, some twice."""
        lost, doubled, swapped = self.chances
        going: list[Carried] = []
        for message in messages:
            drawn = self._random.random()
            if drawn < lost:
                self.lost += 1
                continue
            going.append(message)
            if drawn < lost + doubled:
                self.doubled += 1
                going.append(message)
        if len(going) > 1 and self._random.random() < swapped:
            self.swapped += 1
            self._random.shuffle(going)
        if going:
            await self._broker.publish(going)

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """As the broker does."""
        return await self._broker.subscribe(group, topics, receive)

    async def close(self) -> None:
        """As the broker does."""
        await self._broker.close()
