"""Statements that take long are told with their plan, and with nothing of what they were asked for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.postgres.store import PostgresStore
from colonnade.persistence.unit import Append, Effect, Handled, NewEvent, Publish, Unit
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world

WORLD = real_world()
SECONDS = 0.05
WITHIN_SECONDS = 20.0

SECRET, NUMBER = "alice@example.com", 4711

_ASKED = "SELECT name FROM {people} WHERE pg_sleep(0.1) IS NOT NULL AND (name = $1 AND number = $2) IS NOT NULL"


@asynccontextmanager
async def opened(url: str, seconds: float = SECONDS) -> AsyncIterator[tuple[PostgresStore, str]]:
    """A store with a table of people, and how that is named in statements."""
    schema = f"shop_{WORLD.ids.new().hex}"
    store = await open_postgres_store(url, WORLD, schema=schema, slow_seconds=seconds)
    try:
        people = f'"{schema}".people'
        await store.define(
            [f"CREATE TABLE {people} (name text, number bigint)", f"INSERT INTO {people} VALUES ('', 1)"]
        )
        yield store, people
    finally:
        await store.close()


async def told(logs: Sequence[Any], part: str, count: int = 1) -> list[Any]:
    """Wait for so many lines about slow statements in whose SQL this stands."""
    for _ in range(int(WITHIN_SECONDS / 0.02)):
        lines = [line for line in logs if line["event"] == "slow statement" and part in line["sql"]]
        if len(lines) >= count:
            return lines
        await WORLD.sleep(0.02)
    raise AssertionError(f"not told: {part} in {logs}")


async def test_a_slow_query_is_told_with_its_plan_and_without_values(postgres: PostgresServer) -> None:
    """The plan is that of the values it was asked with, which stand nowhere in the line."""
    async with opened(postgres.url()) as (store, people):
        with capture_logs() as logs:
            await store.query([(_ASKED.format(people=people), (SECRET, NUMBER))])
            (line,) = await told(logs, "pg_sleep")
    assert line["log_level"] == "warning"
    assert line["milliseconds"] >= 50
    assert "Seq Scan on people" in line["plan"]
    assert "((name = '?'::text) AND (number = '?'::bigint))" in line["plan"]
    assert SECRET not in str(logs)
    assert str(NUMBER) not in str(logs)


async def test_a_statement_is_told_once_a_minute(postgres: PostgresServer) -> None:
    """However often it is slow; the others are told all the same, one after the other."""
    async with opened(postgres.url()) as (store, people):
        with capture_logs() as logs:
            for _ in range(3):
                await store.query([(_ASKED.format(people=people), (SECRET, NUMBER))])
            await store.query([("SELECT pg_sleep(0.1), 'alice' AS another", ())])
            (other,) = await told(logs, "another")
            assert len(await told(logs, "people")) == 1
    assert (other["sql"], other["since_last_told"]) == ("SELECT pg_sleep(0.1), '?' AS another", 0)


async def test_a_batch_that_waited_is_told_by_the_functions_of_its_units(postgres: PostgresServer) -> None:
    """Here for a lock that somebody else has: which effects it held is told, not their data."""
    async with opened(postgres.url()) as (store, people):
        holder = await asyncpg.connect(postgres.url())
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(f"LOCK TABLE {people.replace('people', 'outbox')} IN SHARE MODE")
        event = NewEvent(UUID(int=5), "shop.Sold", 1, SECRET.encode())
        effects: list[Effect] = [Append("Sale/1", 0, [event]), Publish("shop.events", SECRET, UUID(int=6), b"{}")]
        with capture_logs() as logs:
            committing = asyncio.ensure_future(store.commit(Unit(1, UUID(int=1), effects=effects)))
            await WORLD.sleep(0.3)
            await transaction.rollback()
            await committing
            (line,) = await told(logs, "append_events")
        await holder.close()
    assert line["functions"] == ["begin_batch", "append_events", "publish_messages"]
    assert line["plan"].startswith("Result")
    assert SECRET not in str(logs)


async def test_what_is_quick_is_not_told(postgres: PostgresServer) -> None:
    """Nor is what no query is explained, or what loses for what it is."""
    async with opened(postgres.url(), seconds=30.0) as (store, people):
        with capture_logs() as logs:
            await store.query([(_ASKED.format(people=people), (SECRET, NUMBER))])
            with pytest.raises(Exception, match="handled already"):
                await store.commit(Unit(1, UUID(int=1), effects=[Handled(77)]))
        assert [line for line in logs if line["event"] == "slow statement"] == []
