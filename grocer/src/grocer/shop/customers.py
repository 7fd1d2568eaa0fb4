"""The day's customers: who comes to the till when, and the playing of them against a running system."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, time
from typing import NamedTuple

from colonnade.world import World

from grocer.shop.day import Basket
from grocer.shop.orders import Order, OrdersApi, Outcome, Placed

__all__ = ["Visit", "follow", "play", "schedule"]

IN_FLIGHT = 8
"""Requests that the customers have under way at once, at most: enough to keep a host of one core busy; with more of
them each only waits longer."""


class Visit(NamedTuple):
    """A customer's coming to the till with a basket, `due` seconds after the start of play."""

    due: float
    basket: Basket
    key: str
    """The idempotency key: run/basket, so that a basket is ordered once a run, however often it is sent."""


def schedule(baskets: Sequence[Basket], run: str, speed: float) -> Iterator[Visit]:
    """The visits in the order of their times, which count from midnight, `speed` times as fast as on the day.

    60 plays the day in 24 minutes; infinity makes every visit due at once. Raises `ValueError` for a speed that is
    not above zero.
    """
    if not speed > 0:
        raise ValueError(f"the speed is {speed}; give a number above 0, such as 60 for a day in 24 minutes")
    return (
        Visit(
            (basket.placed_at - _midnight_of(baskets[0])).total_seconds() / speed, basket, f"{run}/{basket.basket_id}"
        )
        for basket in baskets
    )


async def play(visits: Iterable[Visit], orders: OrdersApi, world: World, saw: Callable[[Outcome], None]) -> None:
    """Let the customers come, each when due or as soon as one of `IN_FLIGHT` tills is free; tell `saw` each outcome."""
    tills = asyncio.Semaphore(IN_FLIGHT)

    async def visit(basket: Basket, key: str) -> None:
        try:
            outcome = await orders.place(basket, key)
        finally:
            tills.release()
        saw(outcome)

    started = world.clock.monotonic()
    async with asyncio.TaskGroup() as group:
        for due, basket, key in visits:
            if (wait := started + due - world.clock.monotonic()) > 0:
                await world.sleep(wait)
            await tills.acquire()
            group.create_task(visit(basket, key))


async def follow(
    placed: Sequence[Placed], orders: OrdersApi, deadline: float, saw: Callable[[Placed, Order | None], None]
) -> None:
    """Tell `saw` how each order ended, or how it stood at `deadline` (monotonic seconds).

    An order that could not be seen is None.
    """
    tills = asyncio.Semaphore(IN_FLIGHT)

    async def look(outcome: Placed) -> None:
        async with tills:
            order = await orders.ended(outcome, deadline)
        saw(outcome, order)

    async with asyncio.TaskGroup() as group:
        for outcome in placed:
            group.create_task(look(outcome))


def _midnight_of(basket: Basket) -> datetime:
    return datetime.combine(basket.placed_at.date(), time(), basket.placed_at.tzinfo)
