"""Bar 5, row 14: what an outage of ten minutes left is worked off fast, and who asks meanwhile hardly notices."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median, quantiles

import pytest

from colonnade.persistence import DataDirectory
from colonnade.persistence.addresses import commands_of
from colonnade.persistence.store import Touched
from colonnade.persistence.unit import Publish, Unit
from colonnade.system.engines import embedded_engines
from colonnade.system.runtime import Runtime, build
from colonnade.testing.running import RunningSystem
from colonnade.world import real_world
from tests.workers.factory import Tools, factory
from tests.workers.factory.front import BillLater
from tests.workers.hands import envelope, running

ARRIVALS_PER_SECOND = 50
OUTAGE_SECONDS = 600
BACKLOG = ARRIVALS_PER_SECOND * OUTAGE_SECONDS
MESSAGES_A_KEY = 10
FIRST_FRESH = 1_000_000

WINDOW_SECONDS = 5.0
WINDOWS = 9

LEAST_DRAIN = 3.0 * ARRIVALS_PER_SECOND
MOST_P99 = 2.0
"""How many times as long as without a backlog 99 of 100 fresh commands may take."""


class Site:
    """The small system on a data directory of its own, whose hall works only when the test lets it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.hall, self.front = runtime.services["hall"], runtime.services["front"]
        self.monotonic = runtime.world.clock.monotonic
        self.effects: dict[int, list[float]] = {}
        self.sent = 0
        self._running = RunningSystem(runtime)
        self._committed = asyncio.Event()
        self._committed_at = 0.0
        self._looked = asyncio.Event()
        self.hall.store.watch(self._note)

    def _note(self, touched: Touched) -> None:
        if touched & Touched.EVENTS:
            self._committed_at = self.monotonic()
            self._committed.set()

    async def look(self) -> None:
        """Note for each order when its effects were committed, until cancelled."""
        position = 0
        while True:
            await self._committed.wait()
            self._committed.clear()
            for event in await self.hall.store.log.read(position, 1_000):
                position = event.position
                order = int(event.stream.partition("/")[2])
                self.effects.setdefault(order, []).append(self._committed_at)
            self._looked.set()

    async def leave(self) -> None:
        """Send what would have come during the outage, and return when all of it waits in the hall's inbox."""
        ids, clock = self.runtime.world.ids, self.runtime.world.clock
        for begin in range(self.sent, self.sent + BACKLOG, 500):
            unit = Unit(clock.micros(), ids.new())
            for number in range(begin, begin + 500):
                order, item, id = number // MESSAGES_A_KEY, number % MESSAGES_A_KEY, ids.new()
                body = b'{"order_id":%d,"item":%d}' % (order, item)
                raw = envelope("hall.Bill", body, f"{order}", id=id)
                unit.effects.append(Publish(commands_of("hall"), f"{order}", id, raw))
            await self.front.store.commit(unit)
        self.sent += BACKLOG
        await self._until(lambda left: left >= BACKLOG)

    async def drained(self) -> None:
        """Return when nothing is left in the hall's inbox."""
        await self._until(lambda left: left == 0)

    async def _until(self, holds: Callable[[int], bool]) -> None:
        while not holds(await self.left()):
            await self.runtime.world.sleep(0.05)

    async def left(self) -> int:
        """How many messages wait in the hall's inbox."""
        return await self.hall.store.inbox.unhandled()

    async def ask(self, orders: Iterator[int], seconds: float) -> list[float]:
        """Send commands at a steady rate, whether or not those before are done.

        How many seconds each took from its moment until its effect was committed.
        """
        began = self.monotonic()
        moments: dict[int, float] = {}
        async with asyncio.TaskGroup() as asking:
            for number in range(round(seconds * ARRIVALS_PER_SECOND)):
                moment = began + number / ARRIVALS_PER_SECOND
                await self.runtime.world.sleep(moment - self.monotonic())
                order = next(orders)
                moments[order] = moment
                asking.create_task(self._running.execute(BillLater(order, 1)))
        while not moments.keys() <= self.effects.keys():
            self._looked.clear()
            await self._looked.wait()
        return [self.effects[order][0] - moment for order, moment in moments.items()]


@asynccontextmanager
async def a_site(path: Path) -> AsyncIterator[Site]:
    """A site at work, but for its hall."""
    path.mkdir()
    async with AsyncExitStack() as stack:
        runtime = await build(factory(Tools()), embedded_engines(DataDirectory(path), real_world()), real_world())
        stack.push_async_callback(runtime.close)
        site = Site(runtime)
        for name, loop in runtime.loops.items():
            if name != "hall.worker":
                await stack.enter_async_context(running(loop))
        await stack.enter_async_context(running(site.look))
        yield site


def p99(seconds: Sequence[float]) -> float:
    """What 99 of 100 did not exceed."""
    return quantiles(seconds, n=100)[98]


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_ten_minutes_of_backlog_drain_at_three_times_the_arrivals_and_fresh_commands_hardly_wait(
    tmp_path: Path,
) -> None:
    """Two sites, one with and one without a backlog, take turns, so that what else the machine does meets both."""
    orders = count(FIRST_FRESH)
    quiet: list[list[float]] = []
    busy: list[list[float]] = []
    async with a_site(tmp_path / "behind") as behind, a_site(tmp_path / "beside") as beside:
        drained, seconds = 0, 0.0
        for _ in range(WINDOWS):
            if await behind.left() < BACKLOG // 2:
                await behind.leave()
            async with running(beside.hall.loops["hall.worker"]):
                quiet.append(await beside.ask(orders, WINDOW_SECONDS))
            began, before = behind.monotonic(), await behind.left()
            async with running(behind.hall.loops["hall.worker"]):
                busy.append(await behind.ask(orders, WINDOW_SECONDS))
            left = await behind.left()
            assert left > 0, "the backlog was gone before the end of a window"
            drained, seconds = drained + before - left, seconds + behind.monotonic() - began
        drain = drained / seconds
        began, rest = behind.monotonic(), await behind.left()
        async with running(behind.hall.loops["hall.worker"]):
            await behind.drained()
        alone = rest / (behind.monotonic() - began)
        done = Counter({order: len(effects) for order, effects in behind.effects.items() if order < FIRST_FRESH})
    usual, meanwhile = median(p99(each) for each in quiet), median(p99(each) for each in busy)
    print(
        f"\nbacklog {BACKLOG}, arrivals {ARRIVALS_PER_SECOND}/s: drained {drain:.0f}/s, "
        f"{drain / ARRIVALS_PER_SECOND:.1f} x the arrivals, and {alone:.0f}/s beside nobody\n"
        f"fresh commands, from request to effect in another service, medians of {WINDOWS} windows of "
        f"{WINDOW_SECONDS:.0f} s without and with the backlog: p50 {1e3 * median(map(median, quiet)):.1f} and "
        f"{1e3 * median(map(median, busy)):.1f} ms, p99 {1e3 * usual:.1f} and {1e3 * meanwhile:.1f} ms, "
        f"{meanwhile / usual:.2f} x"
    )
    assert set(done.values()) == {MESSAGES_A_KEY}
    assert len(done) == behind.sent // MESSAGES_A_KEY
    assert drain >= LEAST_DRAIN
    assert meanwhile <= MOST_P99 * usual
