"""Bar 5, row 14: what an outage of ten minutes left is worked off fast, and who asks meanwhile hardly notices."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles

import pytest

from colonnade.brokers.nats import connect_to_nats
from colonnade.persistence import DataDirectory
from colonnade.persistence.addresses import commands_of
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.store import Store, Touched
from colonnade.persistence.unit import Publish, Unit
from colonnade.system.engines import Engines, embedded_engines
from colonnade.system.hosts.servers.nats import nats_server
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.runtime import Runtime, build
from colonnade.testing.running import RunningSystem
from colonnade.world import datetime_of, real_world
from tests.servers.running import own_folder
from tests.workers.factory import Tools, factory
from tests.workers.factory.front import BillLater
from tests.workers.hands import envelope, running

WORLD = real_world()

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


@dataclass(frozen=True)
class Ground:
    """What a site stands on, and what an outage takes away."""

    engines: Engines
    outage: Callable[[], AbstractAsyncContextManager[None]]
    broker_is_away: bool


@asynccontextmanager
async def embedded(path: Path, _: str) -> AsyncIterator[Ground]:
    """SQLite and the memory broker: it is the hall that is away."""
    yield Ground(embedded_engines(DataDirectory(path), WORLD), nullcontext, broker_is_away=False)


@asynccontextmanager
async def fleet(path: Path, postgres: str) -> AsyncIterator[Ground]:
    """PostgreSQL and a NATS of its own, which is away."""
    schema = f"backlog_{WORLD.ids.new().hex}"

    async def open_store(service: str) -> Store:
        return await open_postgres_store(postgres, WORLD, schema=f"{schema}_{service}")

    with own_folder("backlog") as folder:
        async with nats_server(folder, WORLD) as server:

            @asynccontextmanager
            async def outage() -> AsyncIterator[None]:
                await server.kill()
                yield
                await server.start()

            broker = await connect_to_nats(server.url, WORLD, prefix="factory")
            engines = embedded_engines(DataDirectory(path), WORLD)
            yield Ground(replace(engines, open_store=open_store, broker=broker), outage, broker_is_away=True)


class Site:
    """The small system, whose hall works only when the test lets it."""

    def __init__(self, runtime: Runtime, ground: Ground) -> None:
        self.runtime = runtime
        self._ground = ground
        self.hall, self.front = runtime.services["hall"], runtime.services["front"]
        self.monotonic = runtime.world.clock.monotonic
        self.effects: dict[int, list[float]] = {}
        self.sent = 0
        self._done = 0
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
                self._done += order < FIRST_FRESH
                self.effects.setdefault(order, []).append(self._committed_at)
            self._looked.set()

    async def leave(self) -> None:
        """Send what would have come during the outage, as if it had, and return when it is over.

        Where the hall was away all of it waits in its inbox then, where the broker was in the outbox of the front.
        """
        async with self._ground.outage():
            await self._send()
        if not self._ground.broker_is_away:
            while await self.hall.store.inbox.unhandled() < BACKLOG:
                await self.runtime.world.sleep(0.05)

    async def _send(self) -> None:
        ids, clock = self.runtime.world.ids, self.runtime.world.clock
        began = clock.micros() - OUTAGE_SECONDS * 1_000_000
        for begin in range(self.sent, self.sent + BACKLOG, 500):
            unit = Unit(clock.micros(), ids.new())
            for number in range(begin, begin + 500):
                order, item, id = number // MESSAGES_A_KEY, number % MESSAGES_A_KEY, ids.new()
                body = b'{"order_id":%d,"item":%d}' % (order, item)
                time = datetime_of(began + (number - self.sent) * 1_000_000 // ARRIVALS_PER_SECOND)
                raw = envelope("hall.Bill", body, f"{order}", id=id, source="front", time=time)
                unit.effects.append(Publish(commands_of("hall"), f"{order}", id, raw))
            await self.front.store.commit(unit)
        self.sent += BACKLOG

    async def drained(self) -> None:
        """Return when nothing is left of the backlog."""
        while self.left > 0:
            await self.runtime.world.sleep(0.05)

    @property
    def left(self) -> int:
        """How many messages of the backlog have not been handled."""
        return self.sent - self._done

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
async def a_site(ground: AbstractAsyncContextManager[Ground]) -> AsyncIterator[Site]:
    """A site at work, but for its hall."""
    async with AsyncExitStack() as stack:
        stands_on = await stack.enter_async_context(ground)
        runtime = await build(factory(Tools()), stands_on.engines, WORLD)
        stack.push_async_callback(runtime.close)
        site = Site(runtime, stands_on)
        for name, loop in runtime.loops.items():
            if name != "hall.worker":
                await stack.enter_async_context(running(loop))
        await stack.enter_async_context(running(site.look))
        yield site


def p99(seconds: Sequence[float]) -> float:
    """What 99 of 100 did not exceed."""
    return quantiles(seconds, n=100)[98]


@pytest.mark.proof
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("ground", [embedded, fleet])
async def test_ten_minutes_of_backlog_drain_at_three_times_the_arrivals_and_fresh_commands_hardly_wait(
    ground: Callable[[Path, str], AbstractAsyncContextManager[Ground]], postgres: PostgresServer, tmp_path: Path
) -> None:
    """Two sites, one with and one without a backlog, take turns, so that what else the machine does meets both."""
    orders = count(FIRST_FRESH)
    quiet: list[list[float]] = []
    busy: list[list[float]] = []
    behind_at, beside_at = tmp_path / "behind", tmp_path / "beside"
    behind_at.mkdir()
    beside_at.mkdir()
    url = postgres.url()
    async with a_site(ground(behind_at, url)) as behind, a_site(ground(beside_at, url)) as beside:
        drained, seconds = 0, 0.0
        for _ in range(WINDOWS):
            if behind.left < BACKLOG // 2:  # more would be above what the hall takes in before it handles some
                await behind.leave()
            async with running(beside.hall.loops["hall.worker"]):
                quiet.append(await beside.ask(orders, WINDOW_SECONDS))
            began, before = behind.monotonic(), behind.left
            async with running(behind.hall.loops["hall.worker"]):
                busy.append(await behind.ask(orders, WINDOW_SECONDS))
            left = behind.left
            assert left > 0, "the backlog was gone before the end of a window"
            drained, seconds = drained + before - left, seconds + behind.monotonic() - began
        drain = drained / seconds
        began, rest = behind.monotonic(), behind.left
        async with running(behind.hall.loops["hall.worker"]):
            await behind.drained()
        alone = rest / (behind.monotonic() - began)
        done = Counter({order: len(effects) for order, effects in behind.effects.items() if order < FIRST_FRESH})
    usual, meanwhile = median(p99(each) for each in quiet), median(p99(each) for each in busy)
    print(
        f"\n{ground.__name__}: backlog {BACKLOG}, arrivals {ARRIVALS_PER_SECOND}/s: drained {drain:.0f}/s, "
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
