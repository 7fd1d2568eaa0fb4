"""A small system: a front office that takes orders, and a hall that makes and bills them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from colonnade.persistence.store import ParkedMessage
from colonnade.system import System
from colonnade.testing.running import RunningSystem, running_system
from colonnade.workers.lateness import LOOK_EVERY_SECONDS
from tests.workers.factory.front import front
from tests.workers.factory.hall import Tools, hall
from tests.workers.hands import WITHIN_SECONDS, Commits, HandClock, world_of

__all__ = ["Factory", "Tools", "a_factory", "factory"]


def factory(tools: Tools) -> System:
    """The system, whose hall has these tools."""
    return System("factory", [front, hall(tools)])


@dataclass
class Factory:
    """The running system, in a world whose clock the test moves."""

    running: RunningSystem
    tools: Tools
    clock: HandClock

    def __post_init__(self) -> None:
        self.hall = self.running.runtime.services["hall"]
        self.front = self.running.runtime.services["front"]
        self.commits = Commits(self.hall.store)
        self.codec = self.running.runtime.codec

    async def items(self, stream: str) -> list[int]:
        """The items that a stream of the hall tells of, in order."""
        events = await self.hall.store.log.stream(stream)
        return [msgspec.json.decode(event.data)["item"] for event in events]

    async def until_items(self, stream: str, *items: int) -> None:
        """Wait until a stream tells of exactly these."""

        async def does() -> bool:
            return await self.items(stream) == list(items)

        await self.commits.until(does)

    async def until_told(self, *names: str) -> None:
        """Let time pass until exactly these are the hall's health states: some are looked for now and then."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while sorted(names) != sorted(state.name for state in self.hall.health.states()):
                self.clock.advance(LOOK_EVERY_SECONDS)
                await asyncio.sleep(0.01)  # a look tells nobody that it is over

    async def advance(self, seconds: float) -> None:
        """Let time pass, and the hall look."""
        self.clock.advance(seconds)
        await self.hall.worker.look_again()

    async def parked(self, count: int) -> list[ParkedMessage]:
        """Let time pass until so many messages of the hall are parked."""
        inbox = self.hall.store.inbox

        async def are() -> bool:
            if await inbox.parked_count() >= count:
                return True
            moment = await inbox.next_due_after(self.clock.micros())
            if moment is not None:
                await self.advance((moment - self.clock.micros()) / 1_000_000)
            return False

        await self.commits.until(are)
        return await inbox.parked()


@asynccontextmanager
async def a_factory(path: Path, system: System | None = None, clock: HandClock | None = None) -> AsyncIterator[Factory]:
    """The system at work on the folder `path`, where it may have been at work before."""
    clock, tools = clock or HandClock(), Tools()
    async with running_system(system or factory(tools), path, world_of(clock)) as running:
        yield Factory(running, tools, clock)
