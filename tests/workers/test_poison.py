"""A message that fails for good, in a system of two services: its key is parked alone, and finished in order later."""

from pathlib import Path

import msgspec
import pytest

from colonnade.persistence.store import ParkedMessage
from colonnade.system.admin.operations import DiscardDeadLetters, Operation, RetryDeadLetters
from colonnade.system.admin.perform import Administered, perform
from colonnade.system.admin.reports import Finished
from colonnade.workers.backoff import ATTEMPTS
from tests.workers.factory import Factory, a_factory
from tests.workers.factory.front import Order

POISONED = 5


async def act(factory: Factory, operation: Operation) -> str:
    """What an operator does while the system runs; what is told at the end."""
    services = {"hall": Administered(factory.hall.store, acted=factory.hall.worker.look_again)}
    reports = [report async for report in perform(operation, services, factory.running.runtime.world)]
    (finished,) = [report for report in reports if isinstance(report, Finished)]
    return finished.summary


async def poisoned(factory: Factory) -> list[ParkedMessage]:
    """Ten orders of three items each are taken; the tools for one of them are broken until its lines are parked."""
    factory.tools.broken.add(POISONED)
    for item in (1, 2, 3):
        for order_id in range(10):
            await factory.running.execute(Order(order_id, item))
    return await factory.parked(2)


async def test_a_poison_message_parks_its_key_alone_and_a_retry_finishes_it_in_order(tmp_path: Path) -> None:
    """Of an event for a subscriber and of a command for a handler: everything else flows, before and after."""
    async with a_factory(tmp_path) as factory:
        parked = await poisoned(factory)
        assert sorted((each.consumer, each.key, each.behind, each.held) for each in parked) == [
            ("handlers", f"{POISONED}", 2, True),
            ("subscriber:Make", f"Slip/{POISONED}", 2, True),
        ]
        assert {each.attempts for each in parked} == {ATTEMPTS}
        assert {each.cause for each in parked} == {"RuntimeError: the tools for order 5 are broken"}
        for order_id in (number for number in range(10) if number != POISONED):
            await factory.until_items(f"Job/{order_id}", 1, 2, 3)
            await factory.until_items(f"Invoice/{order_id}", 1, 2, 3)
        await factory.running.execute(Order(POISONED, 4))
        await factory.running.execute(Order(6, 4))
        await factory.until_items("Job/6", 1, 2, 3, 4)
        await factory.until_items("Invoice/6", 1, 2, 3, 4)
        assert (await factory.items(f"Job/{POISONED}"), await factory.items(f"Invoice/{POISONED}")) == ([], [])

        factory.tools.broken.clear()
        retried = await act(factory, RetryDeadLetters("hall", consumer="subscriber:Make", key=f"Slip/{POISONED}"))
        assert retried == "1 message put back in line."
        await factory.until_items(f"Job/{POISONED}", 1, 2, 3, 4)
        assert await factory.items(f"Invoice/{POISONED}") == []
        assert await act(factory, RetryDeadLetters("hall")) == "1 message put back in line."
        await factory.until_items(f"Invoice/{POISONED}", 1, 2, 3, 4)
        await factory.running.settled()
        await factory.until_told()


async def test_a_retry_without_a_fix_parks_the_key_again_as_it_was(tmp_path: Path) -> None:
    """Nothing is lost or overtaken by trying."""
    async with a_factory(tmp_path) as factory:
        before = await poisoned(factory)
        await act(factory, RetryDeadLetters("hall"))
        after = await factory.parked(2)
        assert [(each.row, each.behind, each.cause) for each in after] == [
            (each.row, each.behind, each.cause) for each in before
        ]
        factory.tools.broken.clear()
        await act(factory, RetryDeadLetters("hall"))
        await factory.until_items(f"Job/{POISONED}", 1, 2, 3)
        await factory.until_items(f"Invoice/{POISONED}", 1, 2, 3)


async def test_the_outside_is_called_with_one_key_however_often_it_fails(tmp_path: Path) -> None:
    """So that it can tell a repetition from something new; the attempts are counted, and a retry counts anew."""
    async with a_factory(tmp_path) as factory:
        await poisoned(factory)
        factory.tools.broken.clear()
        await act(factory, RetryDeadLetters("hall"))
        await factory.until_items(f"Job/{POISONED}", 1, 2, 3)
        calls = [call for call in factory.tools.used if call.stream == f"Slip/{POISONED}"]
        assert [call.attempt for call in calls] == [*range(1, ATTEMPTS + 1), 1, 1, 1]
        assert len({call.key for call in calls}) == 3
        assert len({call.key for call in calls[: ATTEMPTS + 1]}) == 1


async def test_a_message_that_is_beyond_repair_is_mended_or_given_up(tmp_path: Path) -> None:
    """Its data is replaced, or its line goes on without it."""
    async with a_factory(tmp_path) as factory:
        rows = {each.consumer: each.row for each in await poisoned(factory)}
        factory.tools.broken.clear()
        await act(factory, DiscardDeadLetters("hall", rows=(rows["handlers"],)))
        mended = msgspec.Raw(b'{"order_id": 5, "item": 77}')
        await act(factory, RetryDeadLetters("hall", rows=(rows["subscriber:Make"],), data=mended))
        await factory.until_items(f"Invoice/{POISONED}", 2, 3)
        await factory.until_items(f"Job/{POISONED}", 77, 2, 3)


@pytest.mark.parametrize("restart_with", ["parked", "retried"])
async def test_what_is_parked_stays_so_over_a_restart(tmp_path: Path, restart_with: str) -> None:
    """It is in the store, with those behind it; so is the decision to try again."""
    async with a_factory(tmp_path) as factory:
        await poisoned(factory)
        if restart_with == "retried":
            await act(factory, RetryDeadLetters("hall"))
    async with a_factory(tmp_path, clock=factory.clock) as factory:
        factory.clock.advance(300.0)
        if restart_with == "parked":
            await factory.running.execute(Order(1, 4))
            await factory.until_items("Job/1", 1, 2, 3, 4)
            assert len(await factory.hall.store.inbox.parked()) == 2
            assert [state.name for state in factory.hall.health.states()] == ["hall.dead-letters"]
            await act(factory, RetryDeadLetters("hall"))
        await factory.until_items(f"Job/{POISONED}", 1, 2, 3)
        await factory.until_items(f"Invoice/{POISONED}", 1, 2, 3)
