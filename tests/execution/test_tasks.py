"""Handlers that load in tasks of their own, or catch more than they should: nobody waits for ever, nothing is lost."""

import asyncio
from typing import Any

import pytest

from colonnade.persistence.execution import Done, Outcome, Refused
from colonnade.persistence.work import NoWorkAtHand, StreamBusy
from tests.execution.shops import Shop, SoldOut

OPPOSITE = (("milk", "bread"), ("bread", "milk"))


async def together(shop: Shop, *ids: str) -> object:
    """Load all stocks at once, each in a task of its own, then set goods aside."""

    async def handle() -> None:
        async with asyncio.TaskGroup() as group:
            loading = [group.create_task(shop.stock(id)) for id in ids]
        for task in loading:
            task.result().reserve(1)

    return await shop.run(handle)


async def test_tasks_that_load_in_opposite_orders_do_not_block_each_other(shop: Shop) -> None:
    """Forty commands whose tasks want two streams in two orders all end, and each is applied to both."""
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*(together(shop, *OPPOSITE[number % 2]) for number in range(40)))
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert await shop.versions("milk") == await shop.versions("bread") == list(range(1, 41))


async def test_tasks_that_load_the_same_stream_get_the_same_aggregate(shop: Shop) -> None:
    """Two tasks of one handler decide on one state, and what both recorded is kept."""
    await shop.reserve("milk")
    await together(shop, "milk", "milk")
    assert await shop.versions("milk") == [1, 2, 3]
    assert await shop.left("milk") == 97


async def test_a_handler_that_catches_everything_runs_again_all_the_same(shop: Shop) -> None:
    """That a stream was busy is no answer: whatever the handler makes of it, it runs again, and both are applied."""

    async def catching(first: str, second: str, failure: Exception | None) -> Outcome[Any]:
        async def handle() -> None:
            (await shop.stock(first)).reserve(1)
            await asyncio.sleep(0)
            try:
                (await shop.stock(second)).reserve(1)
            except StreamBusy:
                if failure is not None:
                    raise failure from None

        return await shop.run(handle)

    failures = (None, SoldOut(0), RuntimeError("lost the way"))
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            *(catching(*OPPOSITE[number % 2], failures[number % 3]) for number in range(12))
        )
    assert not any(isinstance(outcome, Refused) for outcome in outcomes)
    assert await shop.versions("milk") == await shop.versions("bread") == list(range(1, 13))


async def test_a_task_that_outlives_its_handler_changes_nothing_and_blocks_nobody(shop: Shop) -> None:
    """What a handler started and did not await is told that there is no unit of work any more, wherever it waits."""
    late: list[asyncio.Task[object]] = []
    ended, taken, give_back = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def load_late() -> object:
        await ended.wait()
        return await shop.stock("milk")

    async def careless() -> None:
        late.append(asyncio.create_task(load_late()))
        await taken.wait()
        late.append(asyncio.create_task(shop.stock("bread")))
        await asyncio.sleep(0)

    async def holding() -> None:
        await shop.stock("bread")
        taken.set()
        await give_back.wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(shop.run(holding))
        await shop.run(careless)
        ended.set()
        give_back.set()
        for task in late:
            with pytest.raises(NoWorkAtHand):
                await task
    async with asyncio.timeout(20):
        assert isinstance(await shop.reserve("milk", "bread"), Done)
