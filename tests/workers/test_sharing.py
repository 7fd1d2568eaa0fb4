"""Work that instances divide among them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from colonnade.persistence.slots import SLOTS, slot_of
from colonnade.persistence.sqlite import SqliteStore
from colonnade.workers import sharing
from colonnade.workers.sharing import Sharing, fair_share
from colonnade.world import World
from tests.workers.bench import a_bench
from tests.workers.hands import WITHIN_SECONDS, HandClock, opened, running, world_of

SECONDS = 0.3
"""Renewed every tenth of a second; by the clock that the test moves they end only when it says so."""

ALL = set(range(SLOTS))


@dataclass
class Hands:
    """One instance: its parts, and what is being done when they change."""

    parts: set[int] = field(default_factory=set)
    at_work: list[asyncio.Task[None]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, parts: Collection[int]) -> Collection[asyncio.Task[None]]:
        """Do these from now on."""
        self.parts = set(parts)
        self.changed.set()
        return [task for task in self.at_work if not task.done()]

    async def until(self, holds: Callable[[set[int]], bool]) -> None:
        """Wait until its parts are such."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not holds(self.parts):
                self.changed.clear()
                await self.changed.wait()


async def work() -> None:
    """Go on until cancelled."""
    await asyncio.Event().wait()


@asynccontextmanager
async def sharer(store: SqliteStore, world: World, owner: str) -> AsyncIterator[Hands]:
    """An instance that is there for the length of the block."""
    hands = Hands()
    one = Sharing("lines", SLOTS, store, owner, SECONDS, world, hands.change)
    async with running(lambda: one.run(work)):
        yield hands


async def test_each_does_its_share_as_they_come_and_go(tmp_path: Path) -> None:
    """All parts are done, none by two, and who leaves is missed by nobody."""
    world = world_of(HandClock())
    async with opened(tmp_path, world) as store, sharer(store, world, "a") as first:
        await first.until(lambda parts: parts == ALL)
        async with sharer(store, world, "b") as second:
            await second.until(lambda parts: len(parts) == 8)
            assert first.parts == ALL - second.parts
            async with sharer(store, world, "c") as third:
                await third.until(lambda parts: len(parts) == 5)
                await second.until(lambda parts: len(parts) == 5)
                await first.until(lambda parts: len(parts) == 6)
                assert first.parts | second.parts | third.parts == ALL
            await first.until(lambda parts: len(parts) == 8)
            await second.until(lambda parts: len(parts) == 8)
            assert first.parts | second.parts == ALL
        await first.until(lambda parts: parts == ALL)


async def test_what_is_being_done_ends_before_its_part_is_given_up(tmp_path: Path) -> None:
    """Nothing more of it is begun meanwhile; others have it when it has ended."""
    world = world_of(HandClock())
    async with opened(tmp_path, world) as store, sharer(store, world, "a") as first:
        await first.until(lambda parts: parts == ALL)
        end = asyncio.Event()

        async def long() -> None:
            await end.wait()

        first.at_work.append(asyncio.ensure_future(long()))
        async with sharer(store, world, "b") as second:
            await first.until(lambda parts: len(parts) == 8)
            await asyncio.sleep(2 * SECONDS)
            assert second.parts == set()
            end.set()
            await second.until(lambda parts: len(parts) == 8)
            assert first.parts | second.parts == ALL


async def test_nobody_waits_for_ever_for_what_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the part goes to another all the same: what is written twice is refused once."""
    monkeypatch.setattr(sharing, "ENDING_SECONDS", 0.0)
    world = world_of(HandClock())
    async with opened(tmp_path, world) as store, sharer(store, world, "a") as first:
        await first.until(lambda parts: parts == ALL)
        first.at_work.append(asyncio.ensure_future(work()))
        async with sharer(store, world, "b") as second:
            await second.until(lambda parts: len(parts) == 8)
        first.at_work[0].cancel()


async def test_the_parts_of_one_that_was_killed_are_taken_over_when_its_time_is_over(tmp_path: Path) -> None:
    """Not before."""
    clock = HandClock()
    world = world_of(clock)
    async with opened(tmp_path, world) as store:
        await store.leases.share("lines", "killed", 60.0, take=ALL)
        async with sharer(store, world, "b") as second:
            await asyncio.sleep(SECONDS)
            assert second.parts == set()
            clock.advance(60.0)
            await second.until(lambda parts: parts == ALL)


async def test_who_has_lost_its_parts_does_nothing_of_them_any_more(tmp_path: Path) -> None:
    """A process that was asleep for longer than its time finds out when it renews it."""
    clock = HandClock()
    world = world_of(clock)
    async with opened(tmp_path, world) as store, sharer(store, world, "asleep") as first:
        await first.until(lambda parts: parts == ALL)
        clock.pass_unnoticed(SECONDS)
        taken = await store.leases.share("lines", "awake", 60.0, take=ALL)
        assert [each.owner for each in taken] == ["awake"]
        await first.until(lambda parts: parts == set())


def test_a_share_is_as_large_as_anothers() -> None:
    """Or one larger, so that they make the whole."""
    assert [fair_share(16, ["c", "a", "b"], owner) for owner in ("a", "b", "c")] == [6, 5, 5]
    assert fair_share(16, ["a"], "a") == 16
    assert sum(fair_share(16, [f"{n}" for n in range(20)], f"{n}") for n in range(20)) == 16


async def test_a_worker_takes_only_lines_of_its_slots(tmp_path: Path) -> None:
    """Those of others wait, until they are its own."""
    mine, others = {0, *range(3, SLOTS)}, {1, 2}
    keys = {slot: next(f"k{n}" for n in range(1_000) if slot_of(f"k{n}") == slot) for slot in range(SLOTS)}
    async with a_bench(tmp_path) as bench:
        bench.worker.work_on(mine)
        for key in keys.values():
            await bench.put(key, "1", "2")
        for slot in mine:
            await bench.until_done(keys[slot], "1", "2")
        assert [await bench.done(keys[slot]) for slot in others] == [[], []]
        await asyncio.gather(*bench.worker.work_on(others))  # whose messages are done may not have let go yet
        for slot in others:
            await bench.until_done(keys[slot], "1", "2")
        bench.worker.work_on(())
        await bench.put(keys[0], "3")
        await asyncio.sleep(0.05)
        assert await bench.done(keys[0]) == ["1", "2"]
        bench.worker.work_on(None)
        await bench.until_done(keys[0], "1", "2", "3")
