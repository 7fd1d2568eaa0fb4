"""A shop whose stock many want at once: an aggregate, an execution over a real store, and what counts its runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast
from uuid import UUID

from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Event
from colonnade.messages.codec import MessageCodec
from colonnade.messages.names import MessageNames
from colonnade.observability.correlation import Context
from colonnade.persistence.addresses import Routes
from colonnade.persistence.execution import Execution, Outcome
from colonnade.persistence.kinds import AggregateKind
from colonnade.persistence.repository import AggregateCache, EventSourcedRepository
from colonnade.persistence.store import Store
from colonnade.persistence.unit import Answer, Append, NewEvent, Unit
from colonnade.workers.at_once import AtOnce
from colonnade.world import World, real_world

__all__ = ["FOR_EVER", "WORLD", "Shop", "SoldOut", "Stock", "answer", "elsewhere"]

WORLD = real_world()
CONTEXT = Context(UUID(int=1))
FOR_EVER = 1 << 60


class Reserved(Event):
    """Some goods were set aside."""

    quantity: int


class SoldOut(Conflict):
    """There are not so many."""

    left: int


class Stock(Aggregate[Reserved, str]):
    """Goods of which there are a hundred."""

    left: int

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.left = 100

    def reserve(self, quantity: int) -> None:
        """Set goods aside."""
        self.record(Reserved(quantity))
        if self.left < 0:
            raise SoldOut(self.left + quantity)

    def apply(self, event: Reserved) -> None:
        """Count."""
        self.left -= event.quantity


class Shop:
    """One instance of a service: an execution and a repository of stocks, on a store that others may share."""

    def __init__(
        self, store: Store, world: World = WORLD, *, shared: bool = False, at_once: AtOnce | None = None
    ) -> None:
        names = MessageNames()
        names.bind("shop", [Reserved], {})
        codec = MessageCodec(names)
        kind = AggregateKind(Stock, lambda id: Stock(str(id)), "Stock")
        cache = AggregateCache(100)
        self.store = store
        self.execution = Execution(
            store,
            codec,
            Routes("shop", {}, {}),
            [cast(Any, kind)],
            cache,
            world,
            shared=shared,
            commit=at_once.commit if at_once is not None else None,
        )
        self.stocks = EventSourcedRepository(kind, store.log, codec, cache)
        self.runs = 0

    async def stock(self, id: str) -> Stock:
        """The stock, new where there is none."""
        found = await self.stocks.find(id)
        if found is None:
            found = Stock(id)
            self.stocks.add(found)
        return found

    async def run(self, handle: Callable[[], Awaitable[Any]], **options: Any) -> Outcome[Any]:
        """Run a handler, and count its runs."""

        async def counted() -> Any:
            self.runs += 1
            return await handle()

        return await self.execution.run(counted, context=CONTEXT, **options)

    async def reserve(self, *ids: str, quantity: int = 1, **options: Any) -> Outcome[Any]:
        """Set goods of each stock aside, in the order of `ids`."""

        async def handle() -> None:
            for id in ids:
                stock = await self.stock(id)
                await asyncio.sleep(0)
                stock.reserve(quantity)

        return await self.run(handle, **options)

    async def left(self, id: str) -> int:
        """How many are left, as a command that changes nothing sees it."""
        return cast(int, (await self.run(lambda: self.stock(id))).value.left)  # type: ignore[union-attr]

    async def versions(self, id: str) -> list[int]:
        """The versions in the stream of a stock."""
        return [event.version for event in await self.store.log.stream(f"Stock/{id}", limit=1_000)]


def answer(response: bytes = b"the answer") -> Callable[[Outcome[Any]], list[Answer]]:
    """What closes the unit of an idempotent request: always the same key."""
    return lambda _: [Answer("scope", b"f", response, FOR_EVER)]


async def elsewhere(shop: Shop, id: str) -> None:
    """Another process sells one of the goods."""
    versions = await shop.versions(id)
    event = NewEvent(WORLD.ids.new(), "shop.Reserved", 1, b'{"quantity":1}')
    append = Append(f"Stock/{id}", len(versions), [event])
    await shop.store.commit(Unit(WORLD.clock.micros(), UUID(int=2), effects=[append]))
