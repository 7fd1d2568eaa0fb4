"""The PostgreSQL store behind a transaction pooler, whose few connections change hands after each transaction."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.postgres import PostgresStore, open_postgres_store
from colonnade.persistence.postgres.connections import CONNECTIONS
from colonnade.persistence.store import Store, Touched
from colonnade.system.hosts.servers.postgresql import PostgresServer, postgresql
from colonnade.testing.conformance.store import Database
from colonnade.testing.conformance.store.closing import ClosingSuite
from colonnade.testing.conformance.store.database import append, commit
from colonnade.testing.conformance.store.inbox import InboxSuite
from colonnade.testing.conformance.store.log import LogSuite
from colonnade.testing.conformance.store.losses import LossSuite
from colonnade.testing.conformance.store.outgoing import OutgoingSuite
from colonnade.testing.conformance.store.parking import ParkingSuite
from colonnade.testing.conformance.store.refusals import RefusalSuite
from colonnade.testing.conformance.store.units import UnitSuite
from colonnade.world import real_world
from tests.persistence.hearing import Hearing
from tests.servers.pgbouncer import PgBouncerServer, pgbouncer
from tests.servers.running import kept, own_folder

WORLD = real_world()
POOL_CONNECTIONS = 2
"""So few that every client of a test meets those that others have used."""


@pytest.fixture(scope="module")
def pooler(postgres: PostgresServer) -> Iterator[PgBouncerServer]:
    """A PgBouncer before the PostgreSQL of all tests."""
    settings = {"default_pool_size": str(POOL_CONNECTIONS)}
    with own_folder("pgbouncer") as folder, kept(pgbouncer(folder, WORLD, postgres, settings=settings)) as server:
        yield server


@asynccontextmanager
async def schema(postgres: PostgresServer) -> AsyncIterator[str]:
    """The name of a schema that goes when the block ends."""
    name = f"pooled_{WORLD.ids.new().hex}"
    yield name
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    await connection.close()


class TestPooledStore(
    LogSuite, UnitSuite, RefusalSuite, InboxSuite, ParkingSuite, LossSuite, OutgoingSuite, ClosingSuite
):
    """The suite of every store, but for the machines, which would try the same statements in other orders."""

    @pytest.fixture(autouse=True)
    def _servers(self, postgres: PostgresServer, pooler: PgBouncerServer) -> None:
        self._postgres, self._pooler = postgres, pooler

    def empty_database(self) -> AbstractAsyncContextManager[Database]:
        return self._schema()

    @asynccontextmanager
    async def _schema(self) -> AsyncIterator[Database]:
        async with schema(self._postgres) as name:

            async def database() -> Store:
                return await opened(self._pooler, self._postgres, name)

            yield database


async def opened(pooler: PgBouncerServer, postgres: PostgresServer, name: str) -> PostgresStore:
    """The store in the schema of that name, behind the pooler."""
    return await open_postgres_store(pooler.url(), WORLD, schema=name, direct=postgres.url())


async def test_two_behind_one_pooler_see_each_other_s_commits(
    postgres: PostgresServer, pooler: PgBouncerServer
) -> None:
    """At once, since they listen past it; and all that both write at the same time is there for both."""
    async with schema(postgres) as name:
        first, second = await asyncio.gather(*(opened(pooler, postgres, name) for _ in range(2)))
        hearing = Hearing(second)
        await commit(first, append("Sale/heard", 0))
        await hearing.until(Touched.EVENTS)
        await asyncio.gather(
            *(commit(store, append(f"Sale/{place}", 0)) for place, store in enumerate([first, second] * 50))
        )
        for store in (first, second):
            assert len(await store.log.read(limit=200)) == 101
        await asyncio.gather(first.close(), second.close())


async def test_a_reader_of_a_pooled_store_goes_past_the_pooler(
    postgres: PostgresServer, pooler: PgBouncerServer
) -> None:
    """So that the server itself refuses what would write."""
    async with schema(postgres) as name:
        store = await opened(pooler, postgres, name)
        await commit(store, append("Sale/1", 0))
        await store.close()
        reader = await open_postgres_store(pooler.url(), WORLD, schema=name, direct=postgres.url(), read_only=True)
        assert len(await reader.log.read()) == 1
        with pytest.raises(StoreFailed, match="read-only"):
            await commit(reader, append("Sale/1", 1))
        await reader.close()


async def test_instances_of_a_pooler_need_room_for_what_they_have() -> None:
    """Where one instance by itself would be refused, several of a small pool begin."""
    with own_folder("narrow") as folder:
        async with (
            postgresql(folder, WORLD, connections=CONNECTIONS + 2) as server,
            pgbouncer(folder / "pooler", WORLD, server, settings={"default_pool_size": "1"}) as narrow,
        ):
            with pytest.raises(StoreFailed, match="raise max_connections"):
                await open_postgres_store(server.url(), WORLD)
            stores = [await opened(narrow, server, "public") for _ in range(2)]
            await asyncio.gather(*(commit(store, append(f"Sale/{n}", 0)) for n, store in enumerate(stores)))
            await asyncio.gather(*(store.close() for store in stores))
