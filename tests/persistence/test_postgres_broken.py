"""Connections that break in the middle of a commit: what came of it is found out, or told as unknown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select
from sqlalchemy.schema import CreateTable

from colonnade.persistence.failures import OutcomeUnknown
from colonnade.persistence.postgres import PostgresStore, open_postgres_store, writer
from colonnade.persistence.postgres.connections import QUERYING
from colonnade.persistence.store import Committed
from colonnade.persistence.unit import Deliver, Effect
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.conformance.store.database import append, commit, numbers, sale, sales, sql
from colonnade.world import real_world
from tests.persistence.severing import Break, Severed, severed

WORLD = real_world()
TOGETHER, APART = b"Sale/broken", b"COMMIT"
"""By what the statement is known that commits units together, and the one that ends a transaction of one's own."""

OUTCOMES = pytest.mark.parametrize("how", [Break.NOT_SENT, Break.NOT_ANSWERED], ids=lambda how: how.name.lower())


@asynccontextmanager
async def at_the_end_of(server: PostgresServer) -> AsyncIterator[tuple[PostgresStore, Severed]]:
    """A store with a table of sales, at the end of a way that can break."""
    schema = f"broken_{WORLD.ids.new().hex}"
    async with severed(server) as way:
        store = await open_postgres_store(way.url, WORLD, schema=schema)
        await store.define([sql(store, CreateTable(sales))])
        yield store, way
        await store.close()
    connection = await asyncpg.connect(server.url())
    await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await connection.close()


def delivered() -> Effect:
    """A message that would be there twice if it were sent twice."""
    return Deliver("subscriber:Till", "a", b"{}")


@OUTCOMES
@pytest.mark.parametrize("sign", [TOGETHER, APART], ids=["together", "apart"])
async def test_a_commit_over_a_broken_connection_is_done_once(
    postgres: PostgresServer, sign: bytes, how: Break
) -> None:
    """Whether the server had it or not: the caller is told that it is committed, and where, and it is there once."""
    async with at_the_end_of(postgres) as (store, way):
        await commit(store, append("Sale/before", 0))
        effects: list[Effect] = [append("Sale/broken", 0), delivered(), *([sale(store, 1)] if sign is APART else [])]
        way.at(sign, how)
        done = await commit(store, *effects)
        assert way.broken.is_set()
        events = await store.log.read()
        assert [event.stream for event in events] == ["Sale/before", "Sale/broken"]
        assert done == Committed(events[-1].position)
        assert await store.inbox.unhandled() == 1
        assert await numbers(store) == ([1] if sign is APART else [])


async def test_what_was_given_up_is_never_committed_late(postgres: PostgresServer) -> None:
    """A server that gets a batch after its client has found out that it is not done, and has done it again, refuses."""
    async with at_the_end_of(postgres) as (store, way):
        way.at(b"subscriber:Till", Break.LATE)
        await commit(store, delivered())
        assert way.broken.is_set()
        way.deliver.set()
        await way.delivered.wait()
        assert await store.inbox.unhandled() == 1


@pytest.mark.parametrize("sign", [TOGETHER, APART], ids=["together", "apart"])
async def test_what_cannot_be_found_out_is_told_as_unknown(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, sign: bytes
) -> None:
    """No caller is told that it failed, for it did not; and the store goes on when the server is back."""
    monkeypatch.setattr(writer, "FIND_OUT_SECONDS", 0.3)
    async with at_the_end_of(postgres) as (store, way):
        way.at(sign, Break.NOT_ANSWERED, away=True)
        effects: list[Effect] = [append("Sale/broken", 0), *([sale(store, 1)] if sign is APART else [])]
        with pytest.raises(OutcomeUnknown, match="look before you do it once more"):
            await commit(store, *effects)
        way.mend()
        assert [event.stream for event in await store.log.read()] == ["Sale/broken"]
        await commit(store, append("Sale/broken", 1))


@OUTCOMES
async def test_tables_are_defined_over_a_broken_connection_or_not_at_all(postgres: PostgresServer, how: Break) -> None:
    """It is told as done only where they are there, and as failed only where they are not."""
    async with at_the_end_of(postgres) as (store, way):
        kept = Table("kept", MetaData(), Column("a", Integer))
        way.at(APART, how)
        await store.define([sql(store, CreateTable(kept))])
        assert way.broken.is_set()
        await store.query([(sql(store, kept.select()), ())])


async def test_who_only_reads_asks_once_more(postgres: PostgresServer) -> None:
    """A page, one statement and several of one state are read over the next connection where one breaks."""
    async with at_the_end_of(postgres) as (store, way):
        await commit(store, append("Sale/broken", 0))
        way.at(TOGETHER, Break.NOT_ANSWERED)
        assert len(await store.log.stream("Sale/broken")) == 1
        for statements in (1, 2):
            way.broken.clear()
            sign = f"here {statements}"
            way.at(sign.encode(), Break.NOT_ANSWERED)
            assert await store.query([(f"SELECT '{sign}'", ())] * statements) == [[(sign,)]] * statements
            assert way.broken.is_set()


async def test_a_query_that_was_cancelled_leaves_no_old_state_behind(postgres: PostgresServer) -> None:
    """Wherever in its transaction it was: who reads next sees what has been committed since."""
    async with at_the_end_of(postgres) as (store, _):
        look = (sql(store, select(sales.c.number)), ())
        for turns in range(40):
            reading = asyncio.ensure_future(store.query([look, look]))
            for _ in range(turns):
                await asyncio.sleep(0)
            await WORLD.sleep(turns % 4 * 0.0005)
            reading.cancel()
            await asyncio.wait([reading])
            await commit(store, sale(store, turns))
            for seen in await asyncio.gather(*(store.query([look, look]) for _ in range(QUERYING))):
                assert len(seen[0]) == turns + 1
