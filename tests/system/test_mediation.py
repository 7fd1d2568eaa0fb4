"""Calls between services, and within one."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from colonnade.application import Mediator, Repository
from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Command, Event, Query
from colonnade.messages.names import UnnamedMessage
from colonnade.observability.correlation import Context, current_context
from colonnade.system import Service, System
from colonnade.system.mediation import NestedCommand
from colonnade.testing import RunningSystem, running_system

DOOR = UUID(int=1)


class Opened(Event):
    """The door was opened."""


class AlreadyOpen(Conflict):
    """A door is opened once."""

    by: str


class Door(Aggregate[Opened]):
    def apply(self, event: Opened) -> None:
        pass

    def open(self) -> None:
        if self.version:
            raise AlreadyOpen("you")
        self.record(Opened())


class Open(Command[int]):
    """Open the door; answers with the version after it."""


class OpenTwice(Command):
    """Try another command of the same service from within one."""


class IsOpen(Query[bool]):
    """Whether the door is open."""


class Visit(Command[int]):
    """Open the door from another service."""


class Peep(Query[bool]):
    """Whether the door is open, asked within a query of another service."""


class Homeless(Command):
    """Of no service."""


@dataclass(frozen=True)
class OpenHandler:
    doors: Repository[Door]

    async def __call__(self, command: Open) -> int:
        door = await self.doors.find(DOOR)
        if door is None:
            door = Door(DOOR)
            self.doors.add(door)
        door.open()
        return 1


@dataclass(frozen=True)
class OpenTwiceHandler:
    services: Mediator

    async def __call__(self, command: OpenTwice) -> None:
        await self.services.execute(Open())


class IsOpenHandler:
    async def __call__(self, query: IsOpen) -> bool:
        return True


@dataclass(frozen=True)
class VisitHandler:
    services: Mediator

    async def __call__(self, command: Visit) -> int:
        return await self.services.execute(Open())


@dataclass(frozen=True)
class PeepHandler:
    services: Mediator

    async def __call__(self, query: Peep) -> bool:
        return await self.services.ask(IsOpen())


house = System(
    "house",
    [
        Service("doors", handlers=[OpenHandler, OpenTwiceHandler, IsOpenHandler]),
        Service("guests", handlers=[VisitHandler, PeepHandler]),
    ],
)


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[RunningSystem]:
    """A house that runs."""
    async with running_system(house, tmp_path) as running:
        yield running


async def test_a_command_of_another_service_is_carried_out_there(system: RunningSystem) -> None:
    """In a unit of work of its own, in that service's store; its answer and its refusal come back as they are."""
    assert await system.execute(Visit()) == 1
    assert await system.runtime.services["doors"].store.log.end() == 1
    with pytest.raises(AlreadyOpen) as refused:
        await system.execute(Visit())
    assert refused.value.by == "you"


async def test_a_query_of_another_service_is_answered_there(system: RunningSystem) -> None:
    """As a call."""
    assert await system.ask(Peep())


async def test_what_follows_from_a_command_in_another_service_belongs_to_it(system: RunningSystem) -> None:
    """The event there has the correlation id of the request that began it."""
    mine = UUID(int=77)
    current_context.set(Context(mine))
    await system.execute(Visit())
    (event,) = await system.runtime.services["doors"].store.log.read()
    assert event.correlation_id == mine


async def test_a_command_within_a_command_of_the_same_service_is_refused(system: RunningSystem) -> None:
    """One command is one unit of work; the sentence says what to do instead, and nothing is kept."""
    with pytest.raises(NestedCommand, match=r"Open is a command of the same service.* through the Outbox"):
        await system.execute(OpenTwice())
    assert await system.runtime.services["doors"].store.log.end() == 0


async def test_a_message_of_no_service_is_named(system: RunningSystem) -> None:
    """With where it is defined, and the remedy."""
    with pytest.raises(UnnamedMessage, match=r"Homeless belongs to no service of this system; define it"):
        await system.execute(Homeless())
