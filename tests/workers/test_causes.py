"""A message that is done at once sees what the unit that sent it has done, as it did when it waited in the inbox."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from colonnade.application import Outbox, Repository
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event
from colonnade.persistence.store import Store
from colonnade.system import Service, System
from colonnade.testing.running import running_system
from tests.workers.hands import Commits


class Opened(Event):
    """There is an account."""


class Greeted(Event):
    """Its owner has been written to."""


class Account(Aggregate[Opened | Greeted, int]):
    """Somebody's account."""

    def apply(self, event: Opened | Greeted) -> None:
        """Nothing is remembered."""


class Open(Command):
    """Open accounts, each of which opens the next."""

    number: int
    more: int


class Greet(Command):
    """Write to the owner."""

    number: int


@dataclass(frozen=True)
class OpenHandler:
    """Opens an account, without a look whether it is there."""

    accounts: Repository[Account]
    outbox: Outbox

    async def __call__(self, command: Open) -> None:
        """Open."""
        account = Account(command.number)
        account.record(Opened())
        self.accounts.add(account)
        self.outbox.send(Greet(command.number), key=f"greet {command.number}")
        if command.more:
            self.outbox.send(Open(command.number + 1, command.more - 1), key=f"open {command.number + 1}")


@dataclass(frozen=True)
class GreetHandler:
    """Greets who is there."""

    accounts: Repository[Account]

    async def __call__(self, command: Greet) -> None:
        """Greet."""
        (await self.accounts.get(command.number)).record(Greeted())


@pytest.mark.parametrize("more", [0, 2])
async def test_what_a_command_begins_is_there_for_the_message_that_it_sends(tmp_path: Path, more: int) -> None:
    """Though it is not committed yet when that could be done at once: nobody is refused what he has just begun."""
    service = Service("bank", handlers=[OpenHandler, GreetHandler])
    async with running_system(System("bank", [service]), tmp_path) as running:
        store = running.runtime.services["bank"].store
        await running.execute(Open(1, more))
        for number in range(1, more + 2):
            await _until_greeted(store, number)


async def test_a_caller_that_is_cancelled_at_any_step_leaves_all_or_nothing(tmp_path: Path) -> None:
    """Its unit and its messages take effect together or later, or none of them; no stream is left held."""
    service = Service("bank", handlers=[OpenHandler, GreetHandler])
    async with running_system(System("bank", [service]), tmp_path) as running:
        store = running.runtime.services["bank"].store
        steps = range(60)
        for step in steps:
            opening = asyncio.ensure_future(running.execute(Open(10 * step, 1)))
            for _ in range(step):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
        await running.execute(Open(-1, 0))  # what was on its way before it is decided
        begun = 0
        for step in steps:
            if not await _names(store, 10 * step):
                await running.execute(Open(10 * step, 1))
                begun += 1
            for number in (10 * step, 10 * step + 1):
                await _until_greeted(store, number)
                await running.execute(Greet(number))
                assert await _names(store, number) == ["bank.Opened", "bank.Greeted", "bank.Greeted"]
        assert 0 < begun < len(steps)


async def _until_greeted(store: Store, number: int) -> None:
    async def is_greeted() -> bool:
        return await _names(store, number) == ["bank.Opened", "bank.Greeted"]

    await Commits(store).until(is_greeted)


async def _names(store: Store, number: int) -> list[str]:
    return [event.name for event in await store.log.stream(f"Account/{number}")]
