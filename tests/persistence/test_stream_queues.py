"""Commands on one stream wait for each other; others do not."""

import asyncio

import pytest

from colonnade.persistence.streams import StreamQueues
from colonnade.persistence.work import StreamBusy, Work


async def test_turns_are_taken_in_the_order_of_asking() -> None:
    """Who asks first is served first, one at a time."""
    queues, served = StreamQueues(), list[int]()

    async def use(number: int) -> None:
        await queues.take("Order/1")
        served.append(number)
        await asyncio.sleep(0)
        assert served[-1] == number
        queues.leave("Order/1")

    await asyncio.gather(*(use(number) for number in range(20)))
    assert served == list(range(20))
    assert len(queues) == 0


async def test_streams_do_not_wait_for_each_other() -> None:
    """A held stream leaves every other one free."""
    queues = StreamQueues()
    await queues.take("Order/1")
    assert queues.try_take("Order/2")
    assert not queues.try_take("Order/1")


@pytest.mark.parametrize("after_wake_up", [False, True])
async def test_a_cancelled_waiter_passes_its_turn_on(after_wake_up: bool) -> None:
    """Cancelling a waiter, even one whose turn has just come, blocks nobody behind it."""
    queues = StreamQueues()
    await queues.take("Order/1")
    waiter = asyncio.create_task(queues.take("Order/1"))
    behind = asyncio.create_task(queues.take("Order/1"))
    await asyncio.sleep(0)
    if after_wake_up:
        queues.leave("Order/1")
        waiter.cancel()
    else:
        waiter.cancel()
        await asyncio.sleep(0)
        queues.leave("Order/1")
    async with asyncio.timeout(1):
        await behind
    with pytest.raises(asyncio.CancelledError):
        await waiter
    queues.leave("Order/1")
    assert len(queues) == 0


async def test_a_second_busy_stream_is_not_waited_for() -> None:
    """Two works that want the same two streams in opposite order cannot block each other."""
    queues = StreamQueues()
    first, second = Work(queues), Work(queues)
    await first.take(["a"])
    await second.take(["b"])
    with pytest.raises(StreamBusy) as busy:
        await first.take(["b"])
    assert busy.value.streams == {"a", "b"}
    first.release()
    again = Work(queues)
    taken = asyncio.create_task(again.take_all(busy.value.streams))
    second.release()
    async with asyncio.timeout(1):
        await taken
    assert again.held == ["a", "b"]


def test_what_two_are_about_to_begin_is_so_until_both_are_decided() -> None:
    """Who would look for it must not take it for not there before."""
    queues = StreamQueues()
    queues.announce(["a", "b"])
    queues.announce(["a"])
    queues.retract(["a", "b"])
    assert (queues.is_announced("a"), queues.is_announced("b")) == (True, False)
    queues.retract(["a"])
    assert not queues.is_announced("a")
