"""Snapshots are a shorter way to the same state, never another state."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest

from colonnade.application import Repository
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event, Value
from colonnade.system import InvalidSystem, Mistake, Service, System
from colonnade.testing import RunningSystem, running_system
from colonnade.world import Clock

JAR = UUID(int=1)


class Dropped(Event):
    """Somebody put a coin in."""

    pence: int


class Dropping(Command[int]):
    """Put a coin in; answers with what the jar holds."""

    pence: int


class Coin(Value):
    """A coin as the jar remembers it."""

    pence: int


class Jar(Aggregate[Dropped]):
    """Keeps coins, and its state after every third."""

    snapshot_every: ClassVar[int] = 3
    applied: ClassVar[int] = 0

    coins: list[Coin]
    by_size: dict[int, int]
    heaviest: Coin | None = None

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.coins = []
        self.by_size = {}

    def apply(self, event: Dropped) -> None:
        """Remember the coin."""
        type(self).applied += 1
        self.coins.append(Coin(event.pence))
        self.by_size[event.pence] = self.by_size.get(event.pence, 0) + 1
        if self.heaviest is None or event.pence > self.heaviest.pence:
            self.heaviest = Coin(event.pence)


def bank(jar: type[Any]) -> System:
    """A system whose one service keeps jars of that kind."""

    @dataclass(frozen=True)
    class DroppingHandler:
        jars: Repository[jar]  # type: ignore[valid-type]

        async def __call__(self, command: Dropping) -> int:
            found: Any = await self.jars.find(JAR)
            if found is None:
                found = jar(JAR)
                self.jars.add(found)
            found.record(Dropped(command.pence))
            assert sum(coin.pence for coin in found.coins) == sum(size * n for size, n in found.by_size.items())
            return sum(coin.pence for coin in found.coins)

    return System("bank", [Service("jars", handlers=[DroppingHandler])])


async def drop(system: RunningSystem, *coins: int) -> int:
    """Put coins in, one after the other; what the jar holds then."""
    held = 0
    for coin in coins:
        held = await system.execute(Dropping(coin))
    return held


@pytest.mark.parametrize("before", range(1, 8))
async def test_a_snapshot_is_the_state_that_the_events_tell(before: int, tmp_path: Path) -> None:
    """However many events lie behind it: the next command decides as if it had read from the first."""
    coins = list(range(1, before + 1))
    async with running_system(bank(Jar), tmp_path) as system:
        await drop(system, *coins)
    Jar.applied = 0
    async with running_system(bank(Jar), tmp_path) as system:
        assert await drop(system, 100) == sum(coins) + 100
    assert Jar.applied == before % 3 + 1


class Chip(Value):
    """A coin as it is remembered since last week."""

    pence: int
    metal: str


class NewerJar(Jar):
    """Remembers of what its coins are."""

    coins: list[Chip]  # type: ignore[assignment]

    def apply(self, event: Dropped) -> None:
        """Remember the coin."""
        super().apply(event)
        self.coins[-1] = Chip(event.pence, "copper")


NewerJar.__name__ = Jar.__name__


class RicherCoin(Value):
    """A coin whose class got a field."""

    pence: int
    minted: int


RicherCoin.__name__ = Coin.__name__
RicherCoin.__qualname__ = Coin.__qualname__


class DeeperJar(NewerJar):
    """Its annotations read as before; the class that they name has another shape."""

    coins: list[RicherCoin]  # type: ignore[assignment]
    heaviest: RicherCoin | None = None  # type: ignore[assignment]

    def apply(self, event: Dropped) -> None:
        """Remember the coin."""
        super().apply(event)
        self.coins[-1] = RicherCoin(event.pence, minted=1971)
        self.heaviest = max(self.coins, key=lambda coin: coin.pence)


DeeperJar.__name__ = Jar.__name__


@pytest.mark.parametrize("newer", [NewerJar, DeeperJar], ids=["another annotation", "another field below one"])
async def test_a_snapshot_of_another_shape_is_left_for_the_events(newer: type[Jar], tmp_path: Path) -> None:
    """They tell all of the state in its new shape."""
    async with running_system(bank(Jar), tmp_path) as system:
        await drop(system, 1, 2, 3, 4)
    async with running_system(bank(newer), tmp_path) as system:
        assert await drop(system, 5) == 15
        assert await drop(system, 6) == 21
    async with running_system(bank(newer), tmp_path) as system:
        assert await drop(system, 7) == 28


class Forgetful(Jar):
    """Keeps something that its class does not tell of."""

    def apply(self, event: Dropped) -> None:
        """Remember the coin, and more."""
        super().apply(event)
        self.last = event.pence


async def test_an_attribute_that_a_snapshot_would_lose_is_told_when_it_is_made(tmp_path: Path) -> None:
    """Nothing is stored without it; the sentence names the attribute and the remedy."""
    async with running_system(bank(Forgetful), tmp_path) as system:
        await drop(system, 1, 2)
        with pytest.raises(Mistake, match="its snapshot would lose last; annotate every attribute in the class body"):
            await drop(system, 3)
        assert await system.runtime.services["jars"].store.log.end() == 2


class Timed(Jar):
    """Keeps what cannot be stored."""

    clock: Clock


async def test_an_attribute_that_no_snapshot_can_keep_is_told_at_the_start(tmp_path: Path) -> None:
    """By the name of the attribute."""
    with pytest.raises(InvalidSystem, match=r"Timed: its snapshot cannot keep clock, which is Clock; annotate it with"):
        async with running_system(bank(Timed), tmp_path):
            pass
