"""A saga goes on where it was, whenever the system was closed and opened again."""

import asyncio
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest

from colonnade.workers.sagas.history import End
from tests.sagas.travel.clerks import Clerks
from tests.sagas.travelling import Travel, travelling

LOOPS = ("trips.worker", "trips.relay", "stations.worker", "stations.relay")
WITHIN_SECONDS = 40.0


async def has_nothing_to_do(travel: Travel, loop: str) -> bool:
    """Whether a loop has done all that it can without the others."""
    service, _, kind = loop.partition(".")
    running = travel.system.runtime.services[service]
    return not (await running.relay.is_behind() if kind == "relay" else await travel.waits(service))


async def has_ended_after(loop: str, data: Path, clerks: Clerks, end: End) -> bool:
    """Open the system for one loop, and close it; whether the saga has ended."""
    async with travelling(data, only=[loop], clerks=clerks) as travel:
        await travel.until(lambda: has_nothing_to_do(travel, loop))
        return await travel.is_at(end)


@pytest.mark.parametrize(
    ("refused", "end", "booked"),
    [
        ((), End.COMPLETED, ["+a", "+b", "+c"]),
        (("book c",), End.COMPENSATED, ["+a", "+b", "-b", "-a"]),
        (("complete",), End.COMPENSATED, ["+a", "+b", "+c", "-c", "-b", "-a"]),
    ],
)
async def test_a_saga_goes_on_after_each_closing(
    tmp_path: Path, refused: Sequence[str], end: End, booked: list[str]
) -> None:
    """Each loop runs by itself until it has nothing to do; then the system is closed, and opened for the next one."""
    clerks = Clerks()
    for about in refused:
        clerks.tell(about, "refuse")
    async with travelling(tmp_path, only=(), clerks=clerks) as travel:
        await travel.plan("a", "b", "c")
    openings = 0
    async with asyncio.timeout(WITHIN_SECONDS):
        for loop in cycle(LOOPS):
            openings += 1
            if await has_ended_after(loop, tmp_path, clerks, end):
                break
    assert openings > len(LOOPS) * len(booked)
    async with travelling(tmp_path, clerks=clerks) as travel:
        await travel.system.settled()
        assert await travel.ended() is end
        assert await travel.booked() == booked
        assert len(await travel.told()) == 1


async def test_a_time_out_that_came_due_while_the_system_was_closed_waits_for_answers(tmp_path: Path) -> None:
    """What was on its way when it was closed comes shortly after it has been opened again, and is heard first."""
    clerks = Clerks()
    async with travelling(tmp_path, without=["stations.relay"], clerks=clerks) as travel:
        await travel.plan("a")
        await travel.until(travel.has_answered)
    async with travelling(tmp_path, without=["stations.relay"], clerks=clerks, passed_seconds=3_600) as travel:
        await travel.until(lambda: travel.waits("trips"))
        await travel.pass_time(0.9)
        await travel.start("stations.relay")
        assert await travel.ended() is End.COMPLETED


async def test_a_step_times_out_while_the_system_is_closed(tmp_path: Path) -> None:
    """Opened again it is undone, and what was to be done is refused."""
    clerks = Clerks()
    async with travelling(tmp_path, without=["stations.worker"], clerks=clerks) as travel:
        await travel.plan("a")
        await travel.until(lambda: travel.waits("stations"))
    async with travelling(tmp_path, clerks=clerks, passed_seconds=3_600) as travel:
        await travel.pass_time_until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() == []
        assert clerks.asked["book a"] == 0
