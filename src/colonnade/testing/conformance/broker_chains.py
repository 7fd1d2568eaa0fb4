"""What the inbox makes of a broker: whatever is lost, doubled and reordered on the way takes effect once, in order."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
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
from colonnade.workers.pruning import Pruning, Retention
from colonnade.workers.receiving import HOLE_SECONDS, Inbox
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
        world = real_world()
        ahead = _Ahead(world.clock)
        later = replace(world, clock=ahead)
        async with (
            self.running_broker() as broker,
            _opened(tmp_path, "shop", world) as shop,
            _opened(tmp_path, "ordering", world) as ordering,
            asyncio.timeout(WITHIN_SECONDS),
        ):
            meddled = _Meddled(broker, Random(SEED))  # noqa: S311 - nothing is kept secret by it

            async def refetch(chain: ChainId, after: int) -> Refetched:
                return await from_outbox(shop, chain, after)

            async def ends() -> Sequence[ChainEnd]:
                return await ends_of(shop, "shop", [TOPIC])

            inbox = Inbox("ordering", ordering, later, {"shop.Sold": ["Mailing"]}, refetch, ends)
            subscription = await meddled.subscribe("ordering", [TOPIC], inbox.receive)
            relay = Relay("shop", shop, meddled, world, "this one")
            relaying = asyncio.create_task(relay.run())
            try:
                for number in range(ROUNDS):
                    await _publish(shop, world, number)
                await _until_relayed(relay, world)
                meddled.chances = (1.0, 0.0, 0.0)  # nothing comes after what is lost last
                await _publish(shop, world, ROUNDS)
                await _until_relayed(relay, world)
                wanted = {f"Order/{key}": list(range(ROUNDS + 1)) for key in range(KEYS)}
                handled: dict[str, list[int]] = {key: [] for key in wanted}
                while sum(map(len, handled.values())) < KEYS * (ROUNDS + 1):
                    await _handle(ordering, world, handled)
                    ahead.seconds += HOLE_SECONDS
                    await inbox.tend()
                    await world.sleep(_LOOK_SECONDS)
                await _handle(ordering, world, handled)
            finally:
                relaying.cancel()
                await asyncio.wait([relaying])
                await subscription.close()
            assert handled == wanted
            assert min(meddled.lost, meddled.doubled, meddled.swapped) > 0

    async def test_what_was_lost_minutes_ago_is_filled_from_the_producer(self, tmp_path: Path) -> None:
        """The producer keeps what has left for days: what follows shows the hole, however long after."""
        world = real_world()
        ahead = _Ahead(world.clock)
        later = replace(world, clock=ahead)
        async with (
            self.running_broker() as broker,
            _opened(tmp_path, "shop", world) as shop,
            _opened(tmp_path, "ordering", world) as ordering,
            asyncio.timeout(WITHIN_SECONDS),
        ):
            meddled = _Meddled(broker, Random(SEED))  # noqa: S311 - nothing is kept secret by it
            meddled.chances = (0.0, 0.0, 0.0)

            async def refetch(chain: ChainId, after: int) -> Refetched:
                return await from_outbox(shop, chain, after)

            async def no_ends() -> Sequence[ChainEnd]:
                return ()

            inbox = Inbox("ordering", ordering, later, {"shop.Sold": ["Mailing"]}, refetch, no_ends)
            subscription = await meddled.subscribe("ordering", [TOPIC], inbox.receive)
            relay = Relay("shop", shop, meddled, world, "this one")
            pruning = Pruning(shop, later, Retention())
            relaying = asyncio.create_task(relay.run())
            wanted = {f"Order/{key}": list(range(LOST_ROUNDS + 2)) for key in range(KEYS)}
            handled: dict[str, list[int]] = {key: [] for key in wanted}
            try:
                await _publish(shop, world, 0)
                await _until_relayed(relay, world)
                while sum(map(len, handled.values())) < KEYS:
                    await _handle(ordering, world, handled)
                    await world.sleep(_LOOK_SECONDS)
                meddled.chances = (1.0, 0.0, 0.0)
                for number in range(1, LOST_ROUNDS + 1):
                    await _publish(shop, world, number)
                while await shop.outbox.all_left_up_to() < KEYS * (LOST_ROUNDS + 1):
                    await world.sleep(_LOOK_SECONDS)
                ahead.seconds += MINUTES * 60.0
                await pruning.prune()
                meddled.chances = (0.0, 0.0, 0.0)
                await _publish(shop, world, LOST_ROUNDS + 1)
                while sum(map(len, handled.values())) < KEYS * (LOST_ROUNDS + 2):
                    await _handle(ordering, world, handled)
                    ahead.seconds += HOLE_SECONDS
                    await inbox.tend()
                    await world.sleep(_LOOK_SECONDS)
            finally:
                relaying.cancel()
                await asyncio.wait([relaying])
                await subscription.close()
            assert handled == wanted
            assert (meddled.lost, inbox.health()) == (KEYS * LOST_ROUNDS, [])


async def _publish(shop: Store, world: World, number: int) -> None:
    published = [
        Publish(TOPIC, key := f"Order/{each}", world.ids.new(), enveloped(number, subject=key)) for each in range(KEYS)
    ]
    await _commit(shop, world, *published)


async def _handle(ordering: Store, world: World, handled: dict[str, list[int]]) -> None:
    while due := await ordering.inbox.due(world.clock.micros(), 1_000, consumer="Mailing"):
        for message in due:
            envelope = Envelope.decode(message.envelope)
            handled[envelope.subject].append(msgspec.json.decode(envelope.data, type=int))
        await _commit(ordering, world, *(Handled(message.row) for message in due))


async def _commit(store: Store, world: World, *effects: Effect) -> None:
    await store.commit(Unit(world.clock.micros(), world.ids.new(), effects=[*effects]))


async def _until_relayed(relay: Relay, world: World) -> None:
    while await relay.is_behind():
        await world.sleep(_LOOK_SECONDS)


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
