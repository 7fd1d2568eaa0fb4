"""One run of the day's customers: shelves filled, baskets ordered, orders followed to their end, laws judged."""

import asyncio
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import aiohttp
from colonnade.world import World

from grocer.inventory.contracts import Goods
from grocer.laws import Books, Breach, Verdict
from grocer.shop.customers import IN_FLIGHT, follow, play, schedule
from grocer.shop.day import Basket
from grocer.shop.opening import opening_levels
from grocer.shop.orders import Order, OrdersApi, Outcome, Placed, Refused, address_of, correlation_of
from grocer.shop.report import Report, report_on

__all__ = ["NotReachable", "NotRestocked", "Run", "settled_verdict"]

SETTLED_WITHIN_SECONDS = 120.0
"""How long orders may take to end, and their laws to hold, once all were placed."""

_LOOK_EVERY_SECONDS = 0.25

_GREETING = aiohttp.ClientTimeout(total=5)

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
    """A run named `id`, and what is known of it so far; where there are several shops, it is the `tenant`'s."""

    id: str
    url: str
    data: Path
    world: World
    bar: Bar
    tenant: str | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    ends: dict[Placed, Order | None] = field(default_factory=dict)
    verdict: Verdict | None = None

    async def greet(self) -> None:
        """Return when Grocer is there; raises `NotReachable` within seconds."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{address_of(self.url)}/health/ready", timeout=_GREETING) as answer,
            ):
                # One that starts, or is overloaded, answers a little later
                if answer.status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE):
                    raise NotReachable(self.url, f"something else does: {answer.status} {answer.reason}")
        except aiohttp.ClientConnectorError as error:
            reason = os.strerror(error.errno).lower() if error.errno else f"{error}"
            raise NotReachable(self.url, reason) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotReachable(self.url, f"{error}" or type(error).__name__) from None

    async def play(self, baskets: Sequence[Basket], speed: float | None) -> None:
        """Let the customers of `baskets` come, and see every order to its end.

        `speed` is how many times as fast as on the day they come; None lets one come when the order before is settled.

        What is known when it is cancelled stays known. Raises `NotRestocked`, `ValueError` for a url or a speed that is
        none, and what opening the stores in `data` raises.
        """
        named = {"Colonnade-Tenant": self.tenant} if self.tenant is not None else {}
        async with (
            Books.open(self.data, self.world) as books,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=named) as session,
        ):
            orders = OrdersApi(session, self.world, self.url)
            visits = schedule(baskets, self.id, math.inf if speed is None else speed)
            await self._restock(orders)
            with self.bar("orders placed", len(baskets)) as advance:

                def saw(outcome: Outcome) -> None:
                    self.outcomes.append(outcome)
                    advance(outcome)

                if speed is None:
                    for visit in visits:
                        await play([visit], orders, self.world, saw)
                        await self._settled(self.outcomes[-1], books)
                else:
                    await play(visits, orders, self.world, saw)
            deadline = self.world.clock.monotonic() + SETTLED_WITHIN_SECONDS
            with self.bar("orders ended", len(self.placed)) as advance:

                def ended(outcome: Placed, order: Order | None) -> None:
                    self.ends[outcome] = order
                    advance(outcome)

                await follow(self.placed, orders, deadline, ended)
            self.verdict = await settled_verdict(books, self.world, deadline, self._told(self.outcomes))

    @property
    def placed(self) -> Sequence[Placed]:
        """The baskets that became orders."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Placed)]

    @property
    def unsettled(self) -> Sequence[Breach]:
        """What has not settled of this run's own orders."""
        return self.verdict.unsettled_among([each.order_id for each in self.placed]) if self.verdict else ()

    def report(self) -> Report:
        """The numbers so far; an order that nobody has looked at yet counts as not seen."""
        return report_on(self.outcomes, {outcome: self.ends.get(outcome) for outcome in self.placed})

    async def _settled(self, outcome: Outcome, books: Books) -> None:
        deadline = self.world.clock.monotonic() + SETTLED_WITHIN_SECONDS
        await settled_verdict(books, self.world, deadline, self._told([outcome]))

    def _told(self, outcomes: Sequence[Outcome]) -> Mapping[UUID, UUID | None]:
        return {
            correlation_of(f"{self.id}/{each.basket_id}"): each.order_id if isinstance(each, Placed) else None
            for each in outcomes
            if isinstance(each, Placed | Refused)
        }

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


async def settled_verdict(
    books: Books, world: World, deadline: float, baskets: Mapping[UUID, UUID | None] | None = None
) -> Verdict:
    """The verdict once all has settled or a law is broken, or as it stands at `deadline` (monotonic seconds).

    With `baskets`, as in `Books.judge`, only their orders are waited for.
    """
    while True:
        started = world.clock.monotonic()
        verdict = await books.judge(baskets)
        own = [order_id for order_id in baskets.values() if order_id is not None] if baskets is not None else None
        unsettled = verdict.unsettled if own is None else verdict.unsettled_among(own)
        if verdict.broken or not unsettled or world.clock.monotonic() >= deadline:
            return verdict
        # Long books take long to look at: at least half of the time is left to the system itself
        await world.sleep(max(_LOOK_EVERY_SECONDS, world.clock.monotonic() - started))
