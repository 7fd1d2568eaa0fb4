"""A backlog is worked off in bursts, behind which nobody who asks now has to wait."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.persistence.unit import ChainId, Incoming, Receive
from colonnade.workers.pace import A_NEW_ONE, ALONE_SECONDS, BURST, LONGEST_SECONDS, RESTS, Pace
from colonnade.workers.places import BROUGHT_MICROSECONDS, FOR_NEW, FRESH_MICROSECONDS, IN_FLIGHT, Places
from tests.workers.bench import Bench, a_bench, times
from tests.workers.hands import commit, delivered, envelope, running

BACKLOG = 200

CHAIN = ChainId("front", UUID(int=9), "shop.commands", 3)


async def left_behind(bench: Bench) -> None:
    """A backlog of many lines, received long ago, of which no message ends before the test lets it."""
    await bench.hold([f"old {number}" for number in range(BACKLOG)])
    bench.clock.advance(FRESH_MICROSECONDS / 1_000_000 + 1)


async def brought_late(bench: Bench) -> None:
    """The same, received just now: the broker was away since they were sent."""
    sent_at = bench.clock.micros()
    bench.clock.advance(FRESH_MICROSECONDS / 1_000_000 + 1)
    keys = [f"old {number}" for number in range(BACKLOG)]
    bench.script.gates |= {key: asyncio.Event() for key in keys}
    messages = [received(key, number, sent_at) for number, key in enumerate(keys, 1)]
    await commit(bench.store, bench.world, Receive(CHAIN, 0, BACKLOG, messages))


def received(key: str, seq: int, sent_at: int) -> Incoming:
    """A message of the chain, that says its key."""
    return Incoming(seq, seq - 1, "work", key, envelope("work", f'"{key}"'.encode(), key), True, sent_at)


@pytest.mark.parametrize("backlog", [left_behind, brought_late])
async def test_a_backlog_begins_in_bursts_with_rests_between(
    backlog: Callable[[Bench], Awaitable[None]], tmp_path: Path
) -> None:
    """So many messages, and no more until the rest is over; those who come now do not wait for it."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await backlog(bench)
        async with running(bench.worker.run):
            await bench.script.until_tried(BURST)
            began = [key for key in bench.script.gates if bench.script.tried.count(f'"{key}"')]
            bench.clock.advance(0.002)
            for key in began:
                bench.script.gates[key].set()
            await bench.until_done(began[-1], began[-1])
            await bench.put("new", "1")
            await bench.until_done("new", "1")
            assert bench.script.at_work == 0
            bench.clock.advance(0.002 * RESTS)
            await bench.script.until_tried(2 * BURST + 1)
            assert bench.script.at_work == BURST
            bench.let_go()


async def test_a_backlog_never_gets_the_places_of_those_who_come_now(tmp_path: Path) -> None:
    """However long its messages wait for the outside, and however many places are free."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await left_behind(bench)
        async with running(bench.worker.run):
            for number in range(2 * BURST // A_NEW_ONE):
                await bench.put(f"new {number}", "1")
                await bench.until_done(f"new {number}", "1")
                await bench.advance(LONGEST_SECONDS)
            await bench.script.until_tried(IN_FLIGHT - FOR_NEW)
            assert bench.script.at_work == IN_FLIGHT - FOR_NEW
            bench.let_go()


async def test_what_was_sent_just_now_is_found_among_a_backlog_that_came_after_it(tmp_path: Path) -> None:
    """The chains of a producer, and producers, bring what they kept beside each other."""
    async with a_bench(tmp_path, at_work=False) as bench:
        bench.clock.advance(2 * FRESH_MICROSECONDS / 1_000_000)
        for number in range(FOR_NEW):
            await bench.put(f"new {number}", "1")
        bench.clock.jump(-2 * FRESH_MICROSECONDS / 1_000_000)
        await brought_late(bench)
        async with running(bench.worker.run):
            for number in range(FOR_NEW):
                await bench.until_done(f"new {number}", "1")

            async def only_old_ones_are_at_work() -> bool:
                return bench.script.at_work <= IN_FLIGHT - FOR_NEW

            await bench.commits.until(only_old_ones_are_at_work)  # a message ends a little after it is committed
            bench.let_go()


@pytest.mark.parametrize(("seconds", "waits"), [(10, False), (BROUGHT_MICROSECONDS / 1_000_000 + 1, True)])
async def test_what_was_sent_after_the_outage_does_not_wait_for_its_backlog(
    seconds: float, waits: bool, tmp_path: Path
) -> None:
    """Though it had to behind it at its producer; where that took longer than relaying does it is late itself."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await brought_late(bench)
        sent_at = bench.clock.micros()
        bench.clock.advance(seconds)
        after = Receive(CHAIN, BACKLOG, BACKLOG + 1, [received("after", BACKLOG + 1, sent_at)])
        await commit(bench.store, bench.world, after)
        async with running(bench.worker.run):
            if waits:
                await bench.script.until_tried(BURST)
                assert '"after"' not in bench.script.tried
            else:
                await bench.until_done("after", "after")
            bench.let_go()


async def test_a_backlog_rests_beside_what_is_done_at_once(tmp_path: Path) -> None:
    """Which takes no place, and is found in no line."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await left_behind(bench)
        places, inbox, clock = Places("work", bench.script, bench.foreground), bench.store.inbox, bench.clock
        await places.take(inbox, clock)
        clock.advance(ALONE_SECONDS)
        places.done_at_once(clock)
        places.changed = True
        burst = await places.take(inbox, clock)
        assert len(burst) == BURST
        clock.advance(0.001)
        for work in burst:
            places.done(work, clock)
        assert await places.take(inbox, clock) == []
        assert places.rest(clock) == pytest.approx(0.001 * RESTS)


async def test_all_of_a_backlog_is_done(tmp_path: Path) -> None:
    """Burst after burst, without anything that wakes the worker but the end of its rests."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await left_behind(bench)
        bench.let_go()
        async with running(bench.worker.run):

            async def none_is_left() -> bool:
                return await bench.store.inbox.unhandled() == 0

            await bench.commits.until(none_is_left)
        assert len(bench.script.tried) == BACKLOG


async def test_what_is_tried_again_does_not_wait_for_a_backlog(tmp_path: Path) -> None:
    """A message that failed once is handled when its time has come, though many have never been tried."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await left_behind(bench)
        bench.script.faults["a"] = times(3, lambda: RuntimeError("for a while"))
        await bench.put("a", "1")
        async with running(bench.worker.run):
            for _ in range(3):
                await bench.advance_to(await bench.waiting_until())
            await bench.until_done("a", "1")
            assert await bench.store.inbox.unhandled() == BACKLOG
            bench.let_go()


async def test_a_burst_of_messages_that_came_just_now_is_no_backlog(tmp_path: Path) -> None:
    """They take all places at once."""
    async with a_bench(tmp_path) as bench:
        for number in range(BACKLOG):
            bench.script.gates[f"{number}"] = asyncio.Event()
        await commit(bench.store, bench.world, *(delivered("work", f"{number}", b'"1"') for number in range(BACKLOG)))
        await bench.script.until_tried(IN_FLIGHT)
        bench.let_go()


@given(st.floats(0.0, 10.0), st.floats(0.0, 1.0))
def test_a_rest_lasts_some_times_as_long_as_its_burst_took(began: float, took: float) -> None:
    """But no longer than the longest rest, after a burst that waited for the outside."""
    pace = Pace()
    assert pace.rest(began) <= 0
    pace.begin(began, BURST, 0)
    assert pace.rest(began) == (began + LONGEST_SECONDS) - began
    pace.done(began + took)
    assert pace.rest(began + took) == pytest.approx(min(RESTS * took, LONGEST_SECONDS))
    pace.done(began + took + 1.0)
    assert pace.rest(began + took + LONGEST_SECONDS) <= 0


@given(st.floats(0.0, 10.0))
def test_a_backlog_beside_which_nothing_new_comes_does_not_rest(began: float) -> None:
    """From some seconds after the last new message on, until the next."""
    pace = Pace()
    pace.begin(began, BURST, 1)
    pace.done(began + ALONE_SECONDS)
    assert pace.rest(began + ALONE_SECONDS * 1.01) <= 0
    pace.begin(began + ALONE_SECONDS * 1.01, BURST, 0)
    assert pace.rest(began + ALONE_SECONDS * 1.01) <= 0
    pace.begin(began + ALONE_SECONDS * 1.02, BURST, 1)
    assert pace.rest(began + ALONE_SECONDS * 1.02) > 0


@given(st.lists(st.integers(0, 8), max_size=200))
def test_a_backlog_shrinks_several_times_as_fast_as_new_ones_come(arrivals: list[int]) -> None:
    """However long a rest would be: as soon as a burst is owed to the backlog it may begin."""
    pace = Pace()
    old = new = 0
    for came in arrivals:
        pace.begin(0.0, 0, came)
        new += came
        while pace.rest(0.0) <= 0:
            pace.begin(0.0, BURST, 0)
            old += BURST
    assert A_NEW_ONE * new - BURST < old <= A_NEW_ONE * new + BURST
