"""One run of the day's customers: shelves filled, baskets ordered, orders followed to their end, laws judged."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import aiohttp
from colonnade.world import World

from grocer.inventory.contracts import Goods
from grocer.laws import Books, Verdict
from grocer.shop.customers import IN_FLIGHT, follow, play, schedule
from grocer.shop.day import Basket
from grocer.shop.opening import opening_levels
from grocer.shop.orders import Order, OrdersApi, Outcome, Placed

__all__ = ["NotReachable", "NotRestocked", "Run", "settled_verdict"]

SETTLED_WITHIN_SECONDS = 120.0
"""How long orders may take to end, and their laws to hold, once all were placed."""

_LOOK_EVERY_SECONDS = 0.25

Bar = Callable[[str, int], AbstractContextManager[Callable[[object], None]]]


class NotReachable(Exception):
    """Nobody answers at the address of the shop."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"Grocer does not answer at {self.url} ({self.reason}); start it with make up, or name it with --url."


class NotRestocked(Exception):
    """The shelves of a store could not be filled."""

    def __init__(self, store_id: int, reason: str) -> None:
        super().__init__(store_id, reason)
        self.store_id, self.reason = store_id, reason

    def __str__(self) -> str:
        return f"The shelves of store {self.store_id} could not be filled: {self.reason}; run grocer shop again."


@dataclass(slots=True)
class Run:
    """A run named `id`, and what is known of it so far."""

    id: str
    url: str
    data: Path
    world: World
    bar: Bar
    outcomes: list[Outcome] = field(default_factory=list)
    ends: dict[Placed, Order | None] = field(default_factory=dict)
    verdict: Verdict | None = None

    async def play(self, baskets: Sequence[Basket], speed: float) -> None:
        """Let the customers of `baskets` come, and see every order to its end.

        Raises `NotReachable`, `NotRestocked`, `ValueError` for a url or a speed that is none, and what opening the
        stores in `data` raises.
        """
        async with (
            Books.open(self.data, self.world) as books,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            orders = OrdersApi(session, self.world, self.url)
            visits = schedule(baskets, self.id, speed)
            await self._greet(session)
            await self._restock(orders)
            with self.bar("orders placed", len(baskets)) as advance:

                def saw(outcome: Outcome) -> None:
                    self.outcomes.append(outcome)
                    advance(outcome)

                await play(visits, orders, self.world, saw)
            deadline = self.world.clock.monotonic() + SETTLED_WITHIN_SECONDS
            placed = [outcome for outcome in self.outcomes if isinstance(outcome, Placed)]
            with self.bar("orders ended", len(placed)) as advance:
                self.ends = await follow(placed, orders, deadline, advance)
            self.verdict = await settled_verdict(books, self.world, deadline, [each.order_id for each in placed])

    async def _greet(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(f"{self.url.rstrip('/')}/health/ready", timeout=aiohttp.ClientTimeout(5)) as answer:
                if answer.status != 200:
                    raise NotReachable(self.url, f"it is not ready: {answer.status} {answer.reason}")
        except aiohttp.ClientConnectorError as error:
            reason = os.strerror(error.errno).lower() if error.errno else f"{error}"
            raise NotReachable(self.url, reason) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotReachable(self.url, f"{error}" or type(error).__name__) from None

    async def _restock(self, orders: OrdersApi) -> None:
        levels = list(opening_levels())
        tills = asyncio.Semaphore(IN_FLIGHT)
        with self.bar("stores restocked", len(levels)) as advance:

            async def restock(store_id: int, goods: Sequence[Goods]) -> None:
                async with tills:
                    problem = await orders.restock(store_id, goods, f"{self.id}/restocking/{store_id}")
                if problem is not None:
                    raise NotRestocked(store_id, f"{problem.status} {problem.title} {problem.detail}".strip())
                advance(store_id)

            try:
                async with asyncio.TaskGroup() as group:
                    for store_id, goods in levels:
                        group.create_task(restock(store_id, goods))
            except* NotRestocked as failures:
                raise failures.exceptions[0] from None


async def settled_verdict(books: Books, world: World, deadline: float, accepted: Sequence[UUID] = ()) -> Verdict:
    """The verdict once everything has settled or a law is broken, or as it stands at `deadline` (monotonic seconds)."""
    while True:
        verdict = await books.judge(accepted)
        if verdict.broken or not verdict.unsettled or world.clock.monotonic() >= deadline:
            return verdict
        await world.sleep(_LOOK_EVERY_SECONDS)
