"""The worker: lines beside each other, each line in its order; what fails waits longer every time and is parked."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.persistence.failures import VersionConflict
from colonnade.persistence.unit import Discard, Handled, Unpark
from colonnade.workers.backoff import ATTEMPTS, FIRST_SECONDS, LONGEST_SECONDS, backoff_seconds
from colonnade.workers.consumers import NOBODY, NotYet
from colonnade.workers.places import IN_FLIGHT
from colonnade.workers.worker import Worker
from tests.workers.bench import a_bench, always, times
from tests.workers.hands import WITHIN_SECONDS, Dice, commit, delivered, running


async def test_a_line_is_handled_in_its_order_and_no_line_waits_for_another(tmp_path: Path) -> None:
    """One message of a key at a time, while the messages of other keys go by."""
    async with a_bench(tmp_path) as bench:
        gate = bench.script.gates["slow"] = asyncio.Event()
        await bench.put("slow", "1", "2", "3")
        await bench.put("quick", "1", "2", "3")
        await bench.until_done("quick", "1", "2", "3")
        assert bench.script.tried.count('"1"') == 2
        assert await bench.done("slow") == []
        gate.set()
        await bench.until_done("slow", "1", "2", "3")


async def test_so_many_are_at_work_at_the_same_time_and_no_more(tmp_path: Path) -> None:
    """The places of one consumer are bounded, and another consumer has places of its own."""
    async with a_bench(tmp_path, "work", "other") as bench:
        gates = [bench.script.gates.setdefault(f"{number}", asyncio.Event()) for number in range(IN_FLIGHT + 8)]
        for number in range(IN_FLIGHT + 8):
            await bench.put(f"{number}", "1")
        await bench.script.until_tried(IN_FLIGHT)
        await bench.put("x", "1", consumer="other")
        await bench.until_done("x", "1")
        assert bench.script.at_work == IN_FLIGHT
        for gate in gates:
            gate.set()
        for number in range(IN_FLIGHT + 8):
            await bench.until_done(f"{number}", "1")
        assert bench.script.most_at_work == IN_FLIGHT


@given(st.integers(1, 40), st.integers(0, 1_000))
def test_a_wait_lies_between_half_and_the_whole_of_a_step_that_doubles(attempt: int, seed: int) -> None:
    """So that those who failed together do not come back together; and it never grows beyond the longest."""
    step = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** (attempt - 1))
    assert step / 2 <= backoff_seconds(attempt, Dice(seed)) <= step


def test_the_waits_of_a_message_outlast_an_outage() -> None:
    """All waits before it is parked add up to between 33 and 67 minutes."""
    steps = [min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** (attempt - 1)) for attempt in range(1, ATTEMPTS)]
    assert 33 * 60 <= sum(steps) / 2 <= sum(steps) <= 67 * 60


async def test_what_fails_waits_longer_every_time_and_its_line_with_it(tmp_path: Path) -> None:
    """The waits double, with jitter; later messages of its key wait, other keys flow; then it goes on in order."""
    async with a_bench(tmp_path) as bench:
        bench.script.faults["a"] = times(6, lambda: RuntimeError("the oven is cold"))
        await bench.put("a", "1", "2")
        moment, waits = 0, []
        for attempt in range(1, 7):
            moment = await bench.waiting_until(moment)
            waits.append((moment - bench.clock.micros()) / 1_000_000)
            assert "shop.failing" in bench.told()
            assert "work, a: RuntimeError: the oven is cold" in bench.told()["shop.failing"]
            await bench.put(f"other {attempt}", "1")
            await bench.until_done(f"other {attempt}", "1")
            assert await bench.done("a") == []
            await bench.advance_to(moment - 1)
            assert [message.key for message in await bench.store.inbox.due(bench.clock.micros(), 10)] == []
            await bench.advance_to(moment)
        await bench.until_done("a", "1", "2")
        steps = [FIRST_SECONDS * 2**attempt for attempt in range(6)]
        assert all(step / 2 <= wait <= step for wait, step in zip(waits, steps, strict=True))
        assert len({wait / step for wait, step in zip(waits, steps, strict=True)}) > 1
        assert "shop.failing" not in bench.told()


async def test_after_the_last_attempt_it_is_parked_with_its_cause(tmp_path: Path) -> None:
    """It can be found with what went wrong, how often it was tried, and how many wait behind it."""
    async with a_bench(tmp_path, attempts=3) as bench:
        bench.script.faults["a"] = always("the oven is cold")
        await bench.put("a", "1", "2", "3")
        for _ in range(2):
            await bench.advance_to(await bench.waiting_until())
        (parked,) = await bench.parked(1)
        assert (parked.key, parked.attempts, parked.cause) == ("a", 3, "RuntimeError: the oven is cold")
        assert (parked.held, parked.behind) == (True, 2)
        assert bench.script.tried == ['"1"'] * 3
        await bench.until_told({"shop.dead-letters": "1 of its messages are parked; see colonnade dead-letters list."})


async def test_a_line_that_holds_stays_behind_the_parked_one_until_it_is_retried(tmp_path: Path) -> None:
    """Then the whole line is handled, in order."""
    async with a_bench(tmp_path, attempts=1) as bench:
        bench.script.faults["a"] = times(1, lambda: RuntimeError("once"))
        await bench.put("a", "1", "2")
        (parked,) = await bench.parked(1)
        await bench.put("a", "3")
        await bench.put("b", "1")
        await bench.until_done("b", "1")
        assert await bench.done("a") == []
        await commit(bench.store, bench.world, Unpark(parked.row))
        await bench.until_done("a", "1", "2", "3")


async def test_a_line_that_continues_gives_its_order_up(tmp_path: Path) -> None:
    """Later messages go past the parked one, which is handled when it is retried."""
    async with a_bench(tmp_path, holds=False, attempts=1) as bench:
        bench.script.faults["a"] = times(1, lambda: RuntimeError("once"))
        await bench.put("a", "1", "2", "3")
        (parked,) = await bench.parked(1)
        await bench.until_done("a", "2", "3")
        assert (parked.held, parked.behind) == (False, 0)
        await commit(bench.store, bench.world, Unpark(parked.row))
        await bench.until_done("a", "2", "3", "1")


async def test_a_discarded_message_lets_its_line_go_on_without_it(tmp_path: Path) -> None:
    """It is never handled."""
    async with a_bench(tmp_path, attempts=1) as bench:
        bench.script.faults["a"] = times(1, lambda: RuntimeError("once"))
        await bench.put("a", "1", "2")
        (parked,) = await bench.parked(1)
        await commit(bench.store, bench.world, Discard(parked.row))
        await bench.until_done("a", "2")
        assert bench.script.tried == ['"1"', '"2"']


@pytest.mark.parametrize("lane", ["timers", "controls"])
async def test_what_comes_due_and_what_a_person_decides_never_waits_behind_a_held_message(
    tmp_path: Path, lane: str
) -> None:
    """Neither while it is tried again nor when it is parked."""
    async with a_bench(tmp_path, attempts=2) as bench:
        faults = iter([RuntimeError("first"), None, RuntimeError("second"), None])
        bench.script.faults["a"] = lambda: next(faults)
        await bench.put("a", "message")
        moment = await bench.waiting_until()
        await bench.put("a", "while it waits", lane=lane)
        await bench.until_done("a", "while it waits")
        await bench.advance_to(moment)
        await bench.parked(1)
        await bench.put("a", "while it is parked", lane=lane)
        await bench.until_done("a", "while it waits", "while it is parked")


async def test_a_parked_timer_holds_nobody(tmp_path: Path) -> None:
    """The lines of timers and controls go on, though those of messages would be held."""
    async with a_bench(tmp_path, attempts=1) as bench:
        bench.script.faults["a"] = times(1, lambda: RuntimeError("once"))
        await bench.put("a", "1", "2", lane="timers")
        (parked,) = await bench.parked(1)
        await bench.until_done("a", "2")
        assert not parked.held


async def test_a_conflict_with_another_process_never_counts(tmp_path: Path) -> None:
    """However often it loses, it is tried again, and never parked."""
    async with a_bench(tmp_path, attempts=2) as bench:
        bench.script.faults["a"] = times(10, lambda: VersionConflict("Done/a", 1, 2))
        await bench.put("a", "1")
        moment = 0
        for _ in range(10):
            moment = await bench.waiting_until(moment)
            assert "shop.failing" not in bench.told()
            await bench.advance_to(moment)
        await bench.until_done("a", "1")
        assert await bench.store.inbox.parked_count() == 0


async def test_a_message_that_has_to_wait_has_not_failed(tmp_path: Path) -> None:
    """It stays first in its line for as long as its consumer says, and is told where somebody should see to it."""
    async with a_bench(tmp_path, attempts=1) as bench:
        bench.script.faults["a"] = times(3, lambda: NotYet(40.0, "The saga is suspended.", told=True))
        await bench.put("a", "1", "2")
        for _ in range(3):
            moment = await bench.waiting_until()
            assert moment == bench.clock.micros() + 40_000_000
            assert bench.told() == {"shop.waiting": "The saga is suspended."}
            await bench.advance(40.0)
        await bench.until_done("a", "1", "2")
        await bench.until_told({})


@pytest.mark.parametrize("attempts", [1, ATTEMPTS])
async def test_one_that_another_worker_has_handled_is_let_go(tmp_path: Path, attempts: int) -> None:
    """Two workers on one store: each message takes effect once, and nothing is told of the one that came too late."""
    async with a_bench(tmp_path, attempts=attempts) as bench:
        script = bench.script
        gate = script.gates["a"] = asyncio.Event()
        await bench.put("a", "1")
        await script.until_tried(1)
        (due,) = await bench.store.inbox.due(bench.clock.micros(), 10)
        await commit(bench.store, bench.world, Handled(due.row))
        script.faults["a"] = times(1, lambda: RuntimeError("too late, and failed"))
        gate.set()
        await bench.put("a", "2")
        await bench.until_done("a", "2")
        assert bench.told() == {}


async def test_every_message_takes_effect_once_though_two_workers_are_at_it(tmp_path: Path) -> None:
    """They take the same messages: mark and effect are one unit, so one of them commits and the other lets go."""
    async with a_bench(tmp_path, at_work=False) as bench:
        keys = [f"{number}" for number in range(20)]
        for says in ("1", "2", "3", "4"):
            await commit(bench.store, bench.world, *(delivered("work", key, says.encode()) for key in keys))
        other = Worker("shop", bench.store, dict(bench.scripts), bench.world, bench.foreground)
        async with running(bench.worker.run), running(other.run):
            for key in keys:
                await bench.until_done(key, "1", "2", "3", "4")
        assert len(bench.script.tried) >= 80  # how often both take one is a matter of time
        assert bench.told() == {}


async def test_a_retry_is_not_forgotten_when_something_else_wakes_the_worker_at_its_moment(tmp_path: Path) -> None:
    """The moment passes while the worker is busy with the message of another consumer."""
    async with a_bench(tmp_path, "work", "other") as bench:
        gate = bench.scripts["other"].gates["b"] = asyncio.Event()
        bench.script.faults["a"] = times(8, lambda: RuntimeError("for a while"))
        await bench.put("b", "1", consumer="other")
        await bench.put("a", "1")
        for _ in range(7):
            await bench.advance_to(await bench.waiting_until())
        moment = await bench.waiting_until()
        assert moment - bench.clock.micros() > 5_000_000  # the worker will not look by itself while this test runs
        bench.clock.advance((moment - bench.clock.micros()) / 1_000_000)
        gate.set()
        await bench.until_done("a", "1")


async def test_messages_for_a_consumer_that_the_code_does_not_have_stay_and_are_named(tmp_path: Path) -> None:
    """Newer or older code may have it; those that were kept for their place alone are let go."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await bench.put("a", "1", consumer="Mailing")
        await bench.put("", "2", consumer=NOBODY)
        async with running(bench.worker.run):

            async def one_is_left() -> bool:
                return await bench.store.inbox.consumers() == ["Mailing"]

            await bench.commits.until(one_is_left)
            assert bench.told() == {"shop.waiting": "Messages wait for Mailing, which this code does not have."}


async def test_a_worker_that_stops_lets_what_is_at_work_end(tmp_path: Path) -> None:
    """The message is handled and not repeated; nothing new is begun."""
    async with a_bench(tmp_path, at_work=False) as bench:
        gate = bench.script.gates["a"] = asyncio.Event()
        await bench.put("a", "1", "2")
        stopping = asyncio.create_task(bench.worker.run())
        await bench.script.until_tried(1)
        stopping.cancel()
        await asyncio.wait([stopping], timeout=0.01)
        gate.set()
        async with asyncio.timeout(WITHIN_SECONDS):
            await asyncio.wait([stopping])
        assert stopping.cancelled()
        assert (await bench.done("a"), bench.script.tried) == (["1"], ['"1"'])
        async with running(bench.worker.run):
            await bench.until_done("a", "1", "2")
