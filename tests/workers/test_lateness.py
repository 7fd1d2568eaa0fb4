"""Silence is never health: the oldest message that is not handled is told, whatever keeps it from being handled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from colonnade.workers.lateness import LATE_SECONDS, LOOK_EVERY_SECONDS, Lateness
from tests.workers.bench import Bench, a_bench, always
from tests.workers.factory import a_factory
from tests.workers.factory.front import BillLater
from tests.workers.hands import running

TOLD_WITHIN = 60
"""In seconds, as `docs/health.md` says."""


@dataclass
class Watched:
    """A bench, and what is told of its oldest message."""

    bench: Bench
    lateness: Lateness

    async def told(self) -> str | None:
        """What is told after a look, if anything."""
        await self.lateness.look()
        states = {state.name: state.detail for state in self.lateness.health()}
        assert states.keys() <= {"shop.late"}
        return states.get("shop.late")


@asynccontextmanager
async def watched(path: Path, *, at_work: bool = True, attempts: int = 25) -> AsyncIterator[Watched]:
    """A worker that is `at_work` or not, and somebody who looks what it leaves undone."""
    async with a_bench(path, at_work=at_work, attempts=attempts) as bench:
        yield Watched(bench, Lateness("shop", bench.store.inbox, bench.world, bench.worker.at_work_seconds))


def test_it_is_told_within_its_stated_time() -> None:
    """Whenever it was looked last."""
    assert LATE_SECONDS + LOOK_EVERY_SECONDS <= TOLD_WITHIN


async def test_a_message_that_nobody_takes_is_told_when_it_is_old(tmp_path: Path) -> None:
    """Not before, the oldest of them, and no more when it is done."""
    async with watched(tmp_path, at_work=False) as shop:
        await shop.bench.put("a", "1")
        shop.bench.clock.advance(LATE_SECONDS - 1)
        await shop.bench.put("b", "1")
        assert await shop.told() is None
        shop.bench.clock.advance(1)
        told = await shop.told()
        assert told is not None
        assert told.startswith("A message of a for work is not handled 55 s after it was sent: see who has its lines")
        async with running(shop.bench.worker.run):
            await shop.bench.until_done("b", "1")
            await shop.bench.until_done("a", "1")
        assert await shop.told() is None


async def test_a_message_in_a_line_of_others_is_told(tmp_path: Path) -> None:
    """This instance handles no line, and tells what the others leave undone."""
    async with watched(tmp_path) as shop:
        shop.bench.worker.work_on([])
        await shop.bench.put("a", "1")
        shop.bench.clock.advance(LATE_SECONDS)
        assert await shop.told() is not None


async def test_a_message_that_is_tried_again_is_told_as_well(tmp_path: Path) -> None:
    """However far away its next try is."""
    async with watched(tmp_path) as shop:
        shop.bench.script.faults["a"] = always("no")
        await shop.bench.put("a", "1")
        moment = 0
        for _ in range(10):
            moment = await shop.bench.waiting_until(moment)
            await shop.bench.advance_to(moment)
        await shop.bench.waiting_until(moment)
        told = await shop.told()
        assert told is not None
        assert "it has failed 11 times and is tried again" in told


async def test_a_message_that_is_at_work_for_long_is_told(tmp_path: Path) -> None:
    """With how long this process has been at it."""
    async with watched(tmp_path) as shop:
        await shop.bench.hold(["a"])
        await shop.bench.script.until_tried(1)
        shop.bench.clock.advance(LATE_SECONDS)
        told = await shop.told()
        assert told is not None
        assert "it has been at work here for 55 s" in told
        shop.bench.let_go()


async def test_what_waits_behind_a_parked_message_is_not_told(tmp_path: Path) -> None:
    """The parked one is: as `dead-letters`. Somebody has to decide."""
    async with watched(tmp_path, attempts=1) as shop:
        shop.bench.script.faults["a"] = always("no")
        await shop.bench.put("a", "1", "2")
        await shop.bench.parked(1)
        shop.bench.clock.advance(2 * LATE_SECONDS)
        assert await shop.told() is None

        async def is_told() -> bool:
            return "shop.dead-letters" in shop.bench.told()

        await shop.bench.commits.until(is_told)  # the worker tells when it knows that it is committed


async def test_a_running_service_tells_of_its_oldest_message(tmp_path: Path) -> None:
    """Though it is being tried again and again."""
    async with a_factory(tmp_path) as at:
        at.tools.broken.add(7)
        await at.running.execute(BillLater(7, 1))
        await at.until_told("hall.failing", "hall.late")
