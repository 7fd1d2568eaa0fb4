"""Timers: messages whose moment has come are sent, each once, while the clocks can be believed."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from colonnade.messages.envelope import Envelope
from colonnade.observability.health import Severity
from colonnade.persistence.failures import TimerGone
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.sqlite.rows import SqliteTimers
from colonnade.persistence.unit import ArmTimer, DisarmTimer, Handled
from colonnade.workers.timers import AGREEMENT_SECONDS, CLOCK_TOLERANCE_SECONDS, Timers
from colonnade.world import World, micros_of
from tests.workers.factory import a_factory
from tests.workers.factory.front import BillLater
from tests.workers.hands import Commits, HandClock, commit, delivered, opened, published, running, world_of

A_DAY = 86_400.0


@dataclass
class Tower:
    """A store whose timers are at work."""

    store: SqliteStore
    world: World
    clock: HandClock
    timers: Timers
    commits: Commits

    async def arm(self, name: str, seconds: float, says: str = "") -> None:
        """Set a timer that says something to "bell"."""
        due = self.clock.micros() + round(seconds * 1_000_000)
        message = delivered("bell", "a", (says or name).encode(), "timers")
        await commit(self.store, self.world, ArmTimer(name, due, message))

    async def rung(self) -> list[str]:
        """What has come due and was not heard before, in order."""
        heard = []
        while due := await self.store.inbox.due(self.clock.micros(), 1):
            heard.append(due[0].envelope.decode().partition('"data":')[2].partition(',"')[0])
            await commit(self.store, self.world, Handled(due[0].row))
        return heard

    async def until_fired(self, left: int) -> None:
        """Wait until only so many timers are armed."""

        async def are() -> bool:
            return len(await self.store.timers.due(1 << 62, 10_000)) == left

        await self.commits.until(are)


@asynccontextmanager
async def a_tower(path: Path, clock: HandClock) -> AsyncIterator[Tower]:
    """Timers on the store at `path`."""
    world = world_of(clock)
    async with opened(path, world) as store:
        timers = Timers("shop", store, world)
        async with running(timers.run):
            yield Tower(store, world, clock, timers, Commits(store))


async def test_a_timer_fires_when_its_moment_has_come_and_not_before(tmp_path: Path) -> None:
    """To the microsecond, by the time of day."""
    async with a_tower(tmp_path, HandClock()) as tower:
        await tower.arm("late", 60.0, "1")
        tower.clock.advance(60.0 - 0.000001)
        await tower.arm("nudge", 0.0, "2")
        await tower.until_fired(1)
        assert await tower.rung() == ["2"]
        tower.clock.advance(0.000001)
        await tower.arm("nudge", 0.0, "3")
        await tower.until_fired(0)
        assert await tower.rung() == ["1", "3"]


async def test_the_earliest_fires_first(tmp_path: Path) -> None:
    """However many are due at once, and in whatever order they were set: messages leave in that of their moments."""
    async with a_tower(tmp_path, HandClock()) as tower:
        seconds = list(range(1, 301))
        random.Random(1).shuffle(seconds)  # noqa: S311 - any order will do
        for each in seconds:
            await tower.arm(f"{each}", each)
        tower.clock.advance(300.0)
        await tower.arm("last", 0.0, "301")
        await tower.until_fired(0)
        assert await tower.rung() == [f"{each}" for each in range(1, 302)]


async def test_one_that_was_disarmed_does_not_fire(tmp_path: Path) -> None:
    """It is gone, and to disarm what is not armed changes nothing."""
    async with a_tower(tmp_path, HandClock()) as tower:
        await tower.arm("given up", 10.0, "1")
        await tower.arm("kept", 10.0, "2")
        await commit(tower.store, tower.world, DisarmTimer("given up"), DisarmTimer("unknown"))
        tower.clock.advance(10.0)
        await tower.arm("nudge", 0.0, "3")
        await tower.until_fired(0)
        assert await tower.rung() == ["2", "3"]


@pytest.mark.parametrize("anew", [5.0, 20.0])
async def test_one_that_was_set_anew_fires_once_at_its_new_moment(tmp_path: Path, anew: float) -> None:
    """Be that earlier or later; with what it was told last."""
    async with a_tower(tmp_path, HandClock()) as tower:
        await tower.arm("egg", 10.0, '"old"')
        await tower.arm("egg", anew, '"new"')
        tower.clock.advance(anew - 1.0)
        await tower.arm("nudge", 0.0, "1")
        await tower.until_fired(1)
        assert await tower.rung() == ["1"]
        tower.clock.advance(1.0)
        await tower.arm("nudge", 0.0, "2")
        await tower.until_fired(0)
        tower.clock.advance(A_DAY)
        await tower.arm("nudge", 0.0, "3")
        await tower.until_fired(0)
        assert await tower.rung() == ['"new"', "2", "3"]


async def test_two_who_find_a_timer_due_fire_it_once(tmp_path: Path) -> None:
    """As two processes would: whoever commits first has fired it, the other's message is not sent."""
    async with a_tower(tmp_path, HandClock()) as tower:
        other = Timers("shop", tower.store, tower.world)
        async with running(other.run):
            await tower.arm("first", 0.0, "0")
            await tower.until_fired(0)
            for number in range(1, 20):
                await tower.arm(f"{number}", 10.0)
            tower.clock.advance(10.0)
            await tower.arm("nudge", 0.0, "20")
            await tower.until_fired(0)
            assert sorted(await tower.rung(), key=int) == [f"{number}" for number in range(21)]


async def test_one_that_is_disarmed_just_before_it_would_fire_does_not(tmp_path: Path) -> None:
    """Whoever disarmed it counts on that: its message is not sent once the disarming is committed."""
    async with a_tower(tmp_path, HandClock()) as tower:
        await tower.arm("egg", 10.0, '"egg"')
        tower.clock.advance(10.0)
        (due,) = await tower.store.timers.due(tower.clock.micros(), 10)
        await commit(tower.store, tower.world, DisarmTimer("egg"))
        with pytest.raises(TimerGone, match="egg"):
            await commit(tower.store, tower.world, due.message, DisarmTimer(due.name, due.due))
        await tower.arm("egg", 5.0, '"again"')
        with pytest.raises(TimerGone, match="egg"):
            await commit(tower.store, tower.world, due.message, DisarmTimer(due.name, due.due))
        assert await tower.rung() == []


def looks_of(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> list[int | None]:
    """What is found whenever a store is asked for its next timer; `meanwhile` goes on before the answer is there."""
    found: list[int | None] = []
    ask = SqliteTimers.next_due

    async def asked(self: SqliteTimers) -> int | None:
        found.append(await ask(self))
        if meanwhile is not None:
            await meanwhile()
        return found[-1]

    monkeypatch.setattr(SqliteTimers, "next_due", asked)
    return found


async def test_what_is_armed_here_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what fires is: the moments of what this process arms are known, be they later than the next or earlier."""
    looks = looks_of(monkeypatch)
    async with a_tower(tmp_path, HandClock()) as tower:
        await tower.arm("first", 0.0, "1")
        await tower.until_fired(0)
        before = len(looks)
        for number in range(20):
            await tower.arm(f"later {number}", 60.0 + number)
            await tower.arm(f"sooner {number}", 59.0 - number)
        tower.clock.advance(30.0)
        await tower.arm("now", 0.0, "2")
        await tower.until_fired(40)
        assert await tower.rung() == ["1", "2"]
        assert len(looks) <= before + 3


async def test_one_that_is_armed_while_it_is_looked_for_the_next_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found was read before it was there."""
    towers: list[Tower] = []

    async def arm() -> None:
        if towers:
            await towers.pop().arm("meanwhile", 0.0, "2")
            await asyncio.sleep(0)  # the watchers of the store have been told

    looks_of(monkeypatch, arm)
    async with a_tower(tmp_path, HandClock()) as tower:
        towers.append(tower)
        await tower.arm("first", 0.0, "1")
        await tower.until_fired(0)
        assert await tower.rung() == ["1", "2"]


async def test_what_was_armed_while_nobody_was_at_work_fires(tmp_path: Path) -> None:
    """By a loop that is started again: it looks, whatever it has been told."""
    clock = HandClock()
    world = world_of(clock)
    async with opened(tmp_path, world) as store:
        timers = Timers("shop", store, world)
        tower = Tower(store, world, clock, timers, Commits(store))
        for number in range(3):
            async with running(timers.run):
                await tower.arm(f"at work {number}", 0.0, f"{number}")
                await tower.until_fired(0)
            await tower.arm("next", 10.0, "0")
            await commit(store, world, DisarmTimer("next"))
            await tower.arm(f"at rest {number}", 0.0, f"{number}")
        async with running(timers.run):
            await tower.until_fired(0)
        assert await tower.rung() == ["0", "0", "1", "1", "2", "2"]


async def test_timers_are_durable(tmp_path: Path) -> None:
    """After a restart those that are due fire at once, the others at their moment, and those that had fired do not."""
    clock = HandClock()
    async with a_tower(tmp_path, clock) as tower:
        await tower.arm("fired", 0.0, "1")
        await tower.until_fired(0)
        await tower.arm("due while down", 10.0, "2")
        await tower.arm("later", 100.0, "3")
    clock.advance(50.0)
    async with a_tower(tmp_path, clock) as tower:
        await tower.until_fired(1)
        assert await tower.rung() == ["1", "2"]
        clock.advance(50.0)
        await tower.arm("nudge", 0.0, "4")
        await tower.until_fired(0)
        assert await tower.rung() == ["3", "4"]


async def test_a_timer_may_publish(tmp_path: Path) -> None:
    """Its message goes into the outbox, for another service."""
    async with a_tower(tmp_path, HandClock()) as tower:
        message = published("payments.commands", "a", 7)
        await commit(tower.store, tower.world, ArmTimer("pay", tower.clock.micros(), message))
        await tower.until_fired(0)
        (row,) = await tower.store.outbox.pending(0, 10)
        assert (row.topic, row.key, row.id, row.envelope) == (message.topic, "a", message.id, message.envelope)


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0, CLOCK_TOLERANCE_SECONDS + 0.1])
async def test_no_timer_fires_while_the_clocks_disagree(tmp_path: Path, jump: float) -> None:
    """A time of day that jumped is not believed until both clocks have passed the same time for a while."""
    async with a_tower(tmp_path, HandClock()) as tower:
        await tower.arm("first", 0.0, "1")
        await tower.until_fired(0)
        tower.clock.jump(jump)
        (state,) = tower.timers.health()
        assert (state.name, state.severity) == ("shop.clock", Severity.DEGRADED)
        assert f"has moved {jump:+.1f} s against the monotonic clock" in state.detail
        await tower.arm("due", 0.0, "2")
        await tower.clock.asleep(1.0)
        for _ in range(int(AGREEMENT_SECONDS) - 1):
            tower.clock.advance(1.0)
            await tower.clock.asleep(1.0)
        assert await tower.rung() == ["1"]
        assert tower.timers.health()
        tower.clock.advance(1.0)
        await tower.until_fired(0)
        assert (await tower.rung(), list(tower.timers.health())) == (["2"], [])


async def test_a_clock_that_is_put_right_is_believed_at_once(tmp_path: Path) -> None:
    """What would have come due by the wrong time has not fired, and fires at its moment."""
    async with a_tower(tmp_path, HandClock()) as tower:
        await tower.arm("in an hour", 3_600.0, "1")
        tower.clock.jump(7_200.0)
        await tower.arm("nudge", A_DAY, "2")
        await tower.clock.asleep(1.0)
        tower.clock.jump(-7_200.0)
        tower.clock.advance(1.0)
        await tower.arm("now", 0.0, "3")
        await tower.until_fired(2)
        assert (await tower.rung(), list(tower.timers.health())) == (["3"], [])


async def test_a_clock_that_is_slewed_is_followed(tmp_path: Path) -> None:
    """Time services put a clock right in small steps: that is no disagreement, however far it goes."""
    async with a_tower(tmp_path, HandClock()) as tower:
        for number in range(20):
            tower.clock.jump(0.5)
            tower.clock.advance(10.0)
            await tower.arm("tick", 0.0, f"{number}")
            await tower.until_fired(0)
            assert not tower.timers.health()
        assert await tower.rung() == [f"{number}" for number in range(20)]


async def test_a_command_can_be_sent_after_a_while_or_at_a_moment(tmp_path: Path) -> None:
    """It leaves with its unit as a timer, over a restart, and comes to the service that handles it."""
    clock = HandClock()
    async with a_factory(tmp_path, clock=clock) as at:
        await at.running.execute(BillLater(1, 1, seconds=60.0))
        await at.running.execute(BillLater(1, 2, moment=clock.now() + timedelta(seconds=30)))
        await at.running.execute(BillLater(1, 3))
        await at.until_items("Invoice/1", 3)
    clock.advance(30.0)
    async with a_factory(tmp_path, clock=clock) as at:
        await at.until_items("Invoice/1", 3, 2)
    clock.advance(30.0)
    async with a_factory(tmp_path, clock=clock) as at:
        await at.until_items("Invoice/1", 3, 2, 1)
        with pytest.raises(ValueError, match="give one of them"):
            await at.running.execute(BillLater(1, 4, seconds=1.0, moment=clock.now()))


async def test_a_command_that_was_to_wait_is_as_old_as_the_moment_at_which_it_was_due(tmp_path: Path) -> None:
    """Whenever it was arranged, and however late it leaves."""
    clock = HandClock()
    async with a_factory(tmp_path, clock=clock) as at:
        due = clock.micros() + 60_000_000
        await at.running.execute(BillLater(1, 1, seconds=60.0))
        (timer,) = await at.front.store.timers.due(due, 10)
        assert micros_of(Envelope.decode(timer.message.envelope).time) == timer.due == due


async def test_a_disagreement_outlives_the_loop(tmp_path: Path) -> None:
    """Timers whose loop is started again, after a failure of the store for instance, believe the clock no sooner."""
    clock = HandClock()
    world = world_of(clock)
    async with opened(tmp_path, world) as store:
        timers = Timers("shop", store, world)
        clock.jump(3_600.0)
        await commit(store, world, ArmTimer("due", clock.micros(), delivered("bell", "a", b"1")))
        for _ in range(2):
            async with running(timers.run):
                await clock.asleep(1.0)
        assert await store.inbox.unhandled() == 0
        assert [state.name for state in timers.health()] == ["shop.clock"]
