"""Versions N and N + 1 of a system side by side on one PostgreSQL, under load, and back to N."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from colonnade.brokers.memory import MemoryBroker
from colonnade.caching.memory import MemoryCache
from colonnade.caching.query_cache import QueryCache
from colonnade.persistence import DataDirectory
from colonnade.persistence.migrations.versions import CodeTooNew, CodeTooOld, OlderInstances
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.postgres.migrating import migrating
from colonnade.persistence.postgres.versions import OWN_LINE
from colonnade.persistence.store import Store
from colonnade.system import System
from colonnade.system.engines import Engines
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.running import RunningSystem, running_system
from colonnade.world import real_world
from tests.migrations.box_office.after import office as after
from tests.migrations.box_office.after import tickets
from tests.migrations.box_office.before import office as before

WORLD = real_world()
CUSTOMERS = 4


@dataclass
class Instance:
    """One runtime, and how many requests it is at."""

    system: RunningSystem
    opened: AsyncExitStack
    at_work: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def sell(self, number: int) -> None:
        """Sell a seat over HTTP, and look it up."""
        self.at_work += 1
        self.idle.clear()
        try:
            sold = await self.system.request(
                "POST", "/api/tickets/seats", json={"number": number, "guest": f"g{number}"}
            )
            assert sold.status == 204, (number, sold.status, sold.body)
            found = await self.system.request("GET", f"/api/tickets/seats/{number}")
            assert (found.status, found.json()) == (200, f"g{number}"), (number, found.body)
            seats = await self.system.request("GET", "/api/tickets/seats")
            assert seats.status == 200, seats.body
        finally:
            self.at_work -= 1
            if not self.at_work:
                self.idle.set()


class BoxOffice:
    """The instances that get requests, and the customers who send them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.schema = f"office_{WORLD.ids.new().hex}"
        self.numbers = count()
        self.sold: list[int] = []
        self._open: list[Instance] = []
        self._sales = asyncio.Condition()
        self._closing = False

    async def start(self, system: System) -> Instance:
        """An instance that gets requests from now on."""
        owner = WORLD.ids.new().hex

        async def open_store(service: str) -> Store:
            return await open_postgres_store(self.url, WORLD, schema=self.schema)

        queries = QueryCache(MemoryCache(WORLD.clock), WORLD)
        engines = Engines(DataDirectory(self.folder), open_store, MemoryBroker(), owner, queries, shared=True)
        opened = AsyncExitStack()
        running = await opened.enter_async_context(running_system(system, self.folder, WORLD, engines=engines))
        instance = Instance(running, opened)
        self._open.append(instance)
        return instance

    async def stop(self, instance: Instance) -> None:
        """Send it no more requests, and end it when it has answered all."""
        self._open.remove(instance)
        while instance.at_work:
            await instance.idle.wait()
        await instance.opened.aclose()

    async def close(self) -> None:
        """End all."""
        for instance in list(self._open):
            await self.stop(instance)

    @asynccontextmanager
    async def customers(self) -> AsyncIterator[None]:
        """They buy for the length of the block; one whose request fails ends it."""

        async def buy() -> None:
            while not self._closing:
                for instance in list(self._open):
                    if instance in self._open:
                        number = next(self.numbers)
                        await instance.sell(number)
                        self.sold.append(number)
                        async with self._sales:
                            self._sales.notify_all()

        async with asyncio.TaskGroup() as group:
            for _ in range(CUSTOMERS):
                group.create_task(buy())
            yield
            self._closing = True

    async def go_on(self, sales: int = 20) -> None:
        """Return when so many more seats have been sold."""
        async with self._sales:
            for _ in range(sales):
                await self._sales.wait()

    async def migrate(self, *, contract: bool = False) -> None:
        """`colonnade migrate` with the newer code."""
        async with migrating(self.url, WORLD, schema=self.schema) as migrations:
            for plan in await migrations.plan([OWN_LINE, tickets.line()], contract=contract):
                await migrations.run(plan, lambda _: None)


@pytest.fixture
async def office(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[BoxOffice]:
    """A box office that is closed."""
    made = BoxOffice(postgres.url(), tmp_path)
    yield made
    await made.close()


async def test_two_versions_share_a_store_and_the_older_comes_back(office: BoxOffice) -> None:
    """Expand, deploy, back, deploy again, contract: no request fails, and every seat that was sold is there."""
    first, second = await office.start(before), await office.start(before)
    async with office.customers():
        await office.go_on()
        with pytest.raises(CodeTooNew):
            await office.start(after)
        await office.migrate()
        await office.go_on()
        newer = await office.start(after)
        await office.go_on()
        await office.stop(first)
        await office.go_on()
        with pytest.raises(OlderInstances):
            await office.migrate(contract=True)
        back = await office.start(before)
        await office.stop(newer)
        await office.go_on()
        for _ in range(2):
            await office.start(after)
        await office.stop(back)
        await office.stop(second)
        await office.migrate(contract=True)
        await office.go_on()
        with pytest.raises(CodeTooOld):
            await office.start(before)
    connection = await asyncpg.connect(office.url)
    try:
        rows = await connection.fetch(f'SELECT number, sold_to, hall FROM "{office.schema}"."seats__0" ORDER BY 1')
        receipts = await connection.fetch(f'SELECT seat FROM "{office.schema}"."receipts__0" ORDER BY 1')
    finally:
        await connection.close()
    found = [(number, guest) for number, guest, _ in rows]
    assert found == [(number, f"g{number}") for number in sorted(office.sold)]
    assert [number for number, _, hall in rows if hall == "B"] == [seat for (seat,) in receipts]
    assert len({hall for _, _, hall in rows}) == 2
