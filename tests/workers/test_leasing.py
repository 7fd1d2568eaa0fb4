"""Work that one instance of a service does for all."""

import asyncio
from pathlib import Path

import pytest

from colonnade.persistence.failures import LeaseLost
from colonnade.persistence.sqlite import SqliteStore
from colonnade.workers.leasing import Leasing
from colonnade.world import World
from tests.workers.hands import WITHIN_SECONDS, HandClock, opened, running, world_of

SECONDS = 6.0


class Job:
    """Work that goes on until it is stopped."""

    def __init__(self) -> None:
        self.runs = 0
        self.at_work = asyncio.Event()
        self.idle = asyncio.Event()
        self.looked = asyncio.Event()

    async def run(self) -> None:
        """Work."""
        self.runs += 1
        self.idle.clear()
        self.at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.at_work.clear()
            self.idle.set()

    async def look(self) -> None:
        """Look on."""
        self.looked.set()


def leasing(store: SqliteStore, owner: str, world: World) -> Leasing:
    """The leases of one instance."""
    return Leasing(store, owner, SECONDS, world)


async def soon(event: asyncio.Event) -> None:
    """Wait, not for ever."""
    async with asyncio.timeout(WITHIN_SECONDS):
        await event.wait()


async def test_one_works_and_the_next_takes_over_when_it_stops(tmp_path: Path) -> None:
    """Without waiting for the lease to run out; the one that waits looks on."""
    clock = HandClock()
    world = world_of(clock)
    first, second = Job(), Job()
    async with opened(tmp_path, world) as store:
        async with running(lambda: leasing(store, "first", world).run("timers", first.run)):
            await soon(first.at_work)
            waiting = asyncio.ensure_future(leasing(store, "second", world).run("timers", second.run, second.look))
            await clock.asleep(SECONDS / 3)
            await soon(second.looked)
            assert (first.runs, second.runs) == (1, 0)
        clock.advance(SECONDS / 3)
        await soon(second.at_work)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not second.at_work.is_set()
        assert await store.leases.acquire("timers", "third", SECONDS) is not None


async def test_who_waits_has_it_as_soon_as_it_is_given_up(tmp_path: Path) -> None:
    """However much of the time between two looks is left."""
    clock = HandClock()
    world = world_of(clock)
    first, second = Job(), Job()
    async with opened(tmp_path, world) as store:
        async with running(lambda: leasing(store, "first", world).run("timers", first.run)):
            await soon(first.at_work)
            waiting = asyncio.ensure_future(leasing(store, "second", world).run("timers", second.run))
            await clock.asleep(SECONDS / 3)
        await soon(second.at_work)
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_it_is_kept_by_renewing_it(tmp_path: Path) -> None:
    """However long the work lasts."""
    clock = HandClock()
    world = world_of(clock)
    job = Job()
    async with (
        opened(tmp_path, world) as store,
        running(lambda: leasing(store, "first", world).run("timers", job.run)),
    ):
        await soon(job.at_work)
        for _ in range(6):
            await clock.asleep(SECONDS / 3)
            clock.advance(SECONDS / 3)
            assert await store.leases.acquire("timers", "second", SECONDS) is None
        assert job.runs == 1


async def test_who_has_lost_it_stops_and_stands_in_line_again(tmp_path: Path) -> None:
    """A process that was asleep for longer than its lease finds out when it renews it."""
    clock = HandClock()
    world = world_of(clock)
    job = Job()
    async with (
        opened(tmp_path, world) as store,
        running(lambda: leasing(store, "asleep", world).run("timers", job.run)) as loop,
    ):
        await soon(job.at_work)
        await clock.asleep(SECONDS / 3)
        clock.pass_unnoticed(SECONDS)
        taken = await store.leases.acquire("timers", "awake", SECONDS)
        assert taken is not None
        clock.wake()
        await soon(job.idle)
        await store.leases.release(taken)
        await clock.asleep(SECONDS / 3)
        clock.advance(SECONDS / 3)
        await soon(job.at_work)
        assert job.runs == 2
        assert not loop.done()


async def test_work_that_fails_fails_as_without_a_lease(tmp_path: Path) -> None:
    """Whoever supervises it is told, and the lease is free."""
    world = world_of(HandClock())

    async def fail() -> None:
        raise ZeroDivisionError

    async with opened(tmp_path, world) as store:
        with pytest.raises(ExceptionGroup) as failed:
            await leasing(store, "first", world).run("timers", fail)
        assert failed.value.subgroup(ZeroDivisionError) is not None
        assert await store.leases.acquire("timers", "second", SECONDS) is not None


async def test_who_must_have_it_waits_for_it(tmp_path: Path) -> None:
    """One begins a store, the others come after it."""
    clock = HandClock()
    world = world_of(clock)
    order: list[str] = []

    async def begin(store: SqliteStore, owner: str) -> None:
        async with leasing(store, owner, world).held("start"):
            order.append(f"{owner} in")
            await asyncio.sleep(0)
            order.append(f"{owner} out")

    async with opened(tmp_path, world) as store:
        taken = await store.leases.acquire("start", "before", SECONDS)
        assert taken is not None
        begun = [asyncio.ensure_future(begin(store, owner)) for owner in ("a", "b")]
        await clock.asleep(SECONDS)
        await store.leases.release(taken)
        async with asyncio.timeout(WITHIN_SECONDS):
            while not all(each.done() for each in begun):
                clock.advance(1)
                await asyncio.sleep(0)
        assert order in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])


async def test_a_block_that_loses_it_is_broken_off(tmp_path: Path) -> None:
    """It may not go on beside another."""
    clock = HandClock()
    world = world_of(clock)
    inside = asyncio.Event()

    async def hold(store: SqliteStore) -> None:
        async with leasing(store, "asleep", world).held("start"):
            inside.set()
            await asyncio.Event().wait()

    async with opened(tmp_path, world) as store:
        holding = asyncio.ensure_future(hold(store))
        await soon(inside)
        await clock.asleep(SECONDS / 3)
        clock.pass_unnoticed(SECONDS)
        assert await store.leases.acquire("start", "awake", SECONDS) is not None
        clock.wake()
        with pytest.raises(ExceptionGroup) as lost:
            await holding
        assert lost.value.subgroup(LeaseLost) is not None
