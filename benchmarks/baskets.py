"""Grocer's customers, for measuring: baskets of the day flat out over HTTP, to the end of every order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from grocer.laws import Books
from grocer.shop.customers import play, schedule
from grocer.shop.day import Basket
from grocer.shop.orders import OrdersApi, Outcome, Placed
from grocer.shop.run import settled_verdict

from colonnade.world import World, real_world

__all__ = ["WARM_BASKETS", "Customers", "customers"]

WARM_BASKETS = 45
SETTLED_WITHIN_SECONDS = 120.0


@dataclass(frozen=True)
class Customers:
    """They come as fast as they are served."""

    orders: OrdersApi
    books: Books
    world: World

    async def play(self, baskets: Sequence[Basket], run: str) -> Sequence[Placed]:
        """Place these baskets; the orders that were taken."""
        outcomes: list[Outcome] = []
        await play(schedule(baskets, run, float("inf")), self.orders, self.world, outcomes.append)
        return [outcome for outcome in outcomes if isinstance(outcome, Placed)]

    async def ended(self) -> None:
        """Wait until every order has ended; every law must hold then."""
        clock = self.world.clock
        verdict = await settled_verdict(self.books, self.world, clock.monotonic() + SETTLED_WITHIN_SECONDS)
        assert not verdict.broken, verdict.broken
        assert not verdict.unsettled, verdict.unsettled


@asynccontextmanager
async def customers(data: Path, port: int) -> AsyncIterator[Customers]:
    """Those of the Grocer that answers at `port` and has its data in `data`."""
    world = real_world()
    async with aiohttp.ClientSession() as session, Books.open(data, world) as books:
        yield Customers(OrdersApi(session, world, f"http://127.0.0.1:{port}"), books, world)
