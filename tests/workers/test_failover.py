"""Two services of which the producer's database fails over, with a tail of commits that only the consumer knows."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from colonnade.brokers.broker import Carried, Unreadable
from colonnade.brokers.memory import MemoryBroker
from colonnade.persistence.postgres import PostgresStore, open_postgres_store
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ChainId, Handled, Publish
from colonnade.workers.holes import HOLE_SECONDS
from colonnade.workers.receiving import Inbox
from colonnade.workers.refetching import ChainEnd, Refetched, ends_of, from_outbox
from colonnade.workers.relay import Relay
from colonnade.workers.succession import Histories, histories_of
from colonnade.world import real_world
from tests.servers.pairs import own_pair
from tests.workers.door import EVENTS, PLACED
from tests.workers.hands import HandClock, commit, envelope, opened, world_of

WORLD = real_world()


class Ordering:
    """The consumer: the inbox of `ordering`, and who handles what is in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = HandClock()
        self.shop: PostgresStore | None = None
        self.lost_by_broker: set[bytes] = set()
        self.handled: list[bytes] = []
        interested = {PLACED: ["Mailing"]}
        self.inbox = Inbox(
            "ordering", store, world_of(self.clock), interested, self._refetch, self._ends, histories=self._histories
        )

    async def receive(self, messages: Sequence[Carried | Unreadable]) -> None:
        """What the broker brings."""
        await self.inbox.receive(
            [each for each in messages if not isinstance(each, Carried) or each.envelope not in self.lost_by_broker]
        )

    async def handle(self, *, all_but: Sequence[bytes] = ()) -> list[bytes]:
        """Handle what there is; all that has been handled."""
        while due := await self.store.inbox.due(self.clock.micros(), 100, consumer="Mailing"):
            wanted = [message for message in due if message.envelope not in all_but]
            for message in wanted:
                await commit(self.store, WORLD, Handled(message.row))
                self.handled.append(message.envelope)
            if not wanted:
                break
        return self.handled

    async def _refetch(self, chain: ChainId, after: int) -> Refetched:
        assert self.shop is not None
        return await from_outbox(self.shop, chain, after)

    async def _ends(self) -> Sequence[ChainEnd]:
        return await ends_of(self.shop, "shop", [EVENTS]) if self.shop is not None else ()

    async def _histories(self, source: str) -> Histories | None:
        return histories_of(self.shop) if self.shop is not None else None


@asynccontextmanager
async def relaying(store: Store, broker: MemoryBroker) -> AsyncIterator[Relay]:
    """The shop's relay at work."""
    relay = Relay("shop", store, broker, WORLD, "here", lease_seconds=1.0)
    loop = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)  # it has failed where its server was killed


async def send(store: Store, relay: Relay, *orders: str) -> list[bytes]:
    """Publish an event for each of `orders`, of the customer that it begins with, and see it leave; the envelopes."""
    bodies = [envelope(PLACED, b'{"order":"%b"}' % order.encode(), order[0]) for order in orders]
    for order, body in zip(orders, bodies, strict=True):
        await commit(store, WORLD, Publish(EVENTS, order[0], WORLD.ids.new(), body))
    while await relay.is_behind():  # noqa: ASYNC110 - it does not tell
        await asyncio.sleep(0.01)
    return bodies


async def test_a_consumer_goes_on_after_its_producer_failed_over(tmp_path: Path) -> None:
    """What both histories have is handled once, holes included; what is lost is named; what is new follows."""
    async with own_pair() as pair, opened(tmp_path, WORLD, "ordering") as kept:
        url = pair.either((await pair.database())[0])
        shop, broker, ordering = await open_postgres_store(url, WORLD), MemoryBroker(), Ordering(kept)
        ordering.shop = shop
        await broker.subscribe("ordering", [EVENTS], ordering.receive)
        async with relaying(shop, broker) as relay:
            a1, b1 = await send(shop, relay, "a1", "b1")
            ordering.lost_by_broker = {envelope(PLACED, b'{"order":"b2"}', "b")}
            (b2,) = await send(shop, relay, "b2")
            await asyncio.sleep(0.2)  # until the relay's marks are written
            await pair.cut()
            a2, a3 = await send(shop, relay, "a2", "a3")
            assert await ordering.handle(all_but=[a3]) == [a1, b1, a2]
            before = shop.history
            await pair.primary.kill()
        await shop.close()
        ordering.shop = None
        await pair.second.promote()

        shop = await open_postgres_store(url, WORLD)
        try:
            assert shop.history != before
            ordering.shop = shop
            async with relaying(shop, broker) as relay:
                a4, b3 = await send(shop, relay, "a4", "b3")
                await ordering.handle()
                ordering.clock.advance(HOLE_SECONDS)
                await ordering.inbox.tend()
                assert await ordering.handle() == [a1, b1, a2, a4, b2, b3]
            (lost,) = await kept.inbox.kept_aside()
            assert (lost.data, lost.reason) == (
                a3,
                f"shop has lost it: it is of history {before}, beyond what it has kept",
            )
            (state,) = ordering.inbox.health()
            shared = shop.ended[before]
            assert state.name == "ordering.lost.shop"
            assert f"after {shared} up to {lost.origin.rpartition('/')[2]}" in state.detail
            assert lost.origin in state.detail
            assert {chain.id.history for chain in await kept.inbox.chains()} == {shop.history}
        finally:
            await shop.close()
