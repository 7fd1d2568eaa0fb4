"""The broker inside one process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from colonnade.brokers.broker import Broker, Carried, Unreadable
from colonnade.brokers.memory import BrokerClosed, GroupAway, MemoryBroker
from colonnade.testing.conformance.broker import BrokerConformance, Taker, carried


class TestMemoryBroker(BrokerConformance):
    """What every broker promises, of this one."""

    def running_broker(self) -> AbstractAsyncContextManager[Broker]:
        return _running()


@asynccontextmanager
async def _running() -> AsyncIterator[Broker]:
    broker = MemoryBroker()
    try:
        yield broker
    finally:
        await broker.close()


async def test_it_acknowledges_only_what_every_group_has_taken_over() -> None:
    """Publishing returns when the slowest receiver has returned, not before."""
    broker = MemoryBroker()
    quick, go_on = Taker(), asyncio.Event()

    async def slow(messages: Sequence[Carried | Unreadable]) -> None:
        await go_on.wait()

    await broker.subscribe("quick", ["shop.events"], quick.receive)
    await broker.subscribe("slow", ["shop.events"], slow)
    publishing = asyncio.create_task(broker.publish([carried(1)]))
    await quick.until(1)
    assert not publishing.done()
    go_on.set()
    await publishing


async def test_a_chain_keeps_its_order() -> None:
    """Messages come in the order in which they were published, batch by batch."""
    broker = MemoryBroker()
    taker = Taker()
    await broker.subscribe("ordering", ["shop.events"], taker.receive)
    await broker.publish([carried(seq) for seq in range(1, 6)])
    await broker.publish([carried(seq) for seq in range(6, 9)])
    assert [message.seq for message in taker.taken] == list(range(1, 9))


async def test_a_failure_is_told_to_the_publisher_and_the_next_try_goes_to_another_member() -> None:
    """The publication fails with the receiver's own error."""
    broker = MemoryBroker()
    broken, well = Taker(failures=1), Taker()
    await broker.subscribe("ordering", ["shop.events"], broken.receive)
    await broker.subscribe("ordering", ["shop.events"], well.receive)
    with pytest.raises(RuntimeError, match="the disk is full"):
        await broker.publish([carried(1)])
    await broker.publish([carried(1)])
    assert (broken.seqs, well.seqs) == (set(), {1})


async def test_a_failing_group_does_not_interrupt_another_at_its_work() -> None:
    """The receiver of the other group ends by itself, and only then does the publication fail."""
    broker = MemoryBroker()
    ended: list[str] = []
    go_on = asyncio.Event()

    async def slow(messages: Sequence[Carried | Unreadable]) -> None:
        await go_on.wait()
        ended.append("well")

    await broker.subscribe("failing", ["shop.events"], Taker(failures=1).receive)
    await broker.subscribe("slow", ["shop.events"], slow)
    publishing = asyncio.create_task(broker.publish([carried(1)]))
    await asyncio.wait([publishing], timeout=0.01)
    assert not publishing.done()
    go_on.set()
    with pytest.raises(RuntimeError, match="the disk is full"):
        await publishing
    assert ended == ["well"]


async def test_a_group_without_members_is_named() -> None:
    """Its messages are not acknowledged, for nobody has them."""
    broker = MemoryBroker()
    await (await broker.subscribe("ordering", ["shop.events"], Taker().receive)).close()
    with pytest.raises(GroupAway, match=r"No member of ordering listens to shop\.events"):
        await broker.publish([carried(1)])


async def test_a_closed_broker_takes_no_members() -> None:
    """Nothing would ever come to them."""
    broker = MemoryBroker()
    await broker.close()
    with pytest.raises(BrokerClosed, match="The broker is closed"):
        await broker.subscribe("ordering", ["shop.events"], Taker().receive)
