"""The stores of several tenants over the connections of one instance."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from colonnade.persistence.postgres import PostgresInstance, PostgresStore, open_postgres_store
from colonnade.persistence.postgres.connections import CONNECTIONS, connect
from colonnade.persistence.postgres.schema import make
from colonnade.persistence.store import Touched
from colonnade.persistence.unit import Deliver, Publish
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.conformance.store.database import append, commit
from colonnade.world import real_world
from tests.persistence.hearing import Hearing

WORLD = real_world()
TENANTS = 5


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[PostgresInstance, list[PostgresStore]]]:
    """Stores in schemas of their own, all within one instance."""
    suffix = WORLD.ids.new().hex
    schemas = [f"tenant_{number}_{suffix}" for number in range(TENANTS)]
    instance = PostgresInstance(url, WORLD)
    stores = [await open_postgres_store(url, WORLD, schema=schema, within=instance) for schema in schemas]
    try:
        yield instance, stores
    finally:
        for store in stores:
            await store.close()
        await instance.close()
        connection = await asyncpg.connect(url)
        for schema in schemas:
            await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
        await connection.close()


async def test_the_budget_of_connections_is_that_of_one(postgres: PostgresServer) -> None:
    """However many stores an instance has, and however busy they are; each has only what was written to it."""
    async with opened(postgres.url()) as (instance, stores):
        for version in range(10):
            await asyncio.gather(
                *(
                    commit(
                        store, append(f"Sale/{stream}", version), Publish("shop.events", "k", WORLD.ids.new(), b"{}")
                    )
                    for store in stores
                    for stream in range(10)
                ),
                *(store.log.read(limit=10) for store in stores for _ in range(5)),
                *(store.inbox.chains() for store in stores),
            )
        connection = await asyncpg.connect(postgres.url())
        count = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE $1", f"colonnade {instance.id}%"
        )
        await connection.close()
        assert count == CONNECTIONS
        assert len({store.history for store in stores}) == TENANTS
        for store in stores:
            assert len(await store.log.read(limit=1_000)) == 100
            assert len(await store.outbox.pending(0, 1_000)) == 100


async def test_each_hears_of_its_own(postgres: PostgresServer) -> None:
    """What another process commits to one store is told to that one and to no other, over one listener."""
    async with opened(postgres.url()) as (_, stores):
        schema = stores[1].name.partition("#")[2]
        other = await open_postgres_store(postgres.url(), WORLD, schema=schema)
        hearings = [Hearing(store) for store in stores]
        await commit(other, Deliver("subscriber:Till", "a", b"{}"))
        await hearings[1].until(Touched.INBOX)
        await other.close()
        assert [hearing.touched for hearing in hearings if hearing is not hearings[1]] == [Touched(0)] * (TENANTS - 1)


async def test_all_are_heard_again_after_the_listener_was_cut(postgres: PostgresServer) -> None:
    """The one connection comes back, and every channel with it."""
    async with opened(postgres.url()) as (instance, stores):
        hearings = [Hearing(store) for store in stores]
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            f"colonnade {instance.id} listener",
        )
        for hearing in hearings:  # that it listens again is told, since something may have been missed
            await hearing.until(Touched.CHECKPOINTS)
        channels = [f"colonnade.{store.name.partition('#')[2]}" for store in stores]
        for number, channel in enumerate(channels):
            hearings[number].touched = Touched(0)
            await connection.execute("SELECT pg_notify($1, $2)", channel, f"{Touched.TIMERS.value} somebody")
            await hearings[number].until(Touched.TIMERS)
        await connection.close()


async def test_who_writes_much_does_not_keep_the_others_waiting(postgres: PostgresServer) -> None:
    """Batches of the stores take turns: a few commits of one are done long before the thousands of another."""
    async with opened(postgres.url()) as (_, stores):
        many = [asyncio.ensure_future(commit(stores[0], append(f"Sale/{number}", 0))) for number in range(4_000)]
        await asyncio.sleep(0)
        for number in range(5):
            await commit(stores[1], append(f"Sale/{number}", 0))
        assert sum(each.done() for each in many) < 2_000
        await asyncio.gather(*many)


async def test_who_waited_while_another_made_the_store_finds_it(postgres: PostgresServer) -> None:
    """Though he had seen that there was none, and what he knows of the catalogue is from before he waited."""
    first, second = [await connect(postgres.url(), {}) for _ in range(2)]
    for _ in range(3):
        schema = f"begun_{WORLD.ids.new().hex}"
        async with first.transaction():
            await first.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"colonnade {schema}")
            making = asyncio.ensure_future(make(second, schema, WORLD))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not await first.fetchval(waiting):
                await WORLD.sleep(0.01)
            await first.execute(f'CREATE SCHEMA "{schema}"')
            await first.execute(f'CREATE TABLE "{schema}".store (history uuid)')
        await making
        made = await first.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
        assert [row["tablename"] for row in made] == ["store"]
        await first.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await first.close()
    await second.close()
