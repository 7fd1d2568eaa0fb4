"""Queries of a SQLite store: short ones where they are asked, long ones beside the loop."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.persistence.failures import QueryFailed, StoreClosed
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.sqlite.store import SqliteStore
from colonnade.persistence.unit import Append, NewEvent, Unit
from colonnade.world import real_world

COUNT = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT count(*), max(i) FROM n"
MANY = 300_000
EVENTS = "SELECT count(*) FROM events"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty store."""
    store = await open_sqlite_store(tmp_path / "shop.sqlite3", real_world())
    yield store
    await store.close()


async def turns_during(query: "asyncio.Task[list[list[tuple[object, ...]]]]") -> int:
    """How often the loop came round until `query` was done."""
    turns = 0
    while not query.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


async def append(store: SqliteStore) -> None:
    """Add one event to the log."""
    world = real_world()
    event = NewEvent(world.ids.new(), "shop.Sold", 1, b"{}")
    await store.commit(Unit(world.clock.micros(), UUID(int=1), effects=[Append(f"Sale/{event.id}", 0, [event])]))


async def test_a_short_query_takes_no_turn_of_the_loop(store: SqliteStore) -> None:
    """What takes microseconds is answered at once: handing it to a thread would take longer."""
    assert await store.query([(COUNT, [10])]) == [[(10, 10)]]
    assert await turns_during(asyncio.ensure_future(store.query([(COUNT, [10])]))) == 1


async def test_a_short_query_stays_short_however_often_it_is_asked(store: SqliteStore) -> None:
    """Only what one query takes makes it long, not what all of its kind have taken together."""
    for _ in range(2_000):
        assert await turns_during(asyncio.ensure_future(store.query([(COUNT, [10])]))) == 1


async def test_who_asks_without_end_holds_up_nobody(store: SqliteStore) -> None:
    """Others have their turns beside one who asks one short query after the other."""
    asked = 0

    async def ask() -> None:
        nonlocal asked
        while True:
            await store.query([(COUNT, [10])])
            asked += 1

    asking = asyncio.create_task(ask())
    for _ in range(20):
        await asyncio.sleep(0)
    asking.cancel()
    assert asked > 16


async def test_a_long_query_holds_up_nobody(store: SqliteStore) -> None:
    """The loop goes on while a long query runs, the first time and when it is known to be long."""
    for _ in range(2):
        query = asyncio.ensure_future(store.query([(COUNT, [MANY])]))
        assert await turns_during(query) > 1
        assert await query == [[(MANY, MANY)]]


async def test_the_statements_of_a_query_see_one_state(store: SqliteStore) -> None:
    """A commit between two statements of one query is seen by neither, whether they are short or long."""
    for count in (10, MANY):
        before = await store.log.end()
        query = asyncio.ensure_future(store.query([(EVENTS, []), (COUNT, [count]), (EVENTS, [])]))
        await append(store)
        (first,), _, (last,) = await query
        assert first == last
        assert first[0] in (before, before + 1)


async def test_a_statement_that_is_none_is_refused(store: SqliteStore) -> None:
    """What the database does not take is told with the statement, and harms no later query."""
    with pytest.raises(QueryFailed, match="no such table: absent"):
        await store.query([(EVENTS, []), ("SELECT * FROM absent", [])])
    assert await store.query([(EVENTS, [])]) == [[(0,)]]


async def test_a_closed_store_answers_no_query(tmp_path: Path) -> None:
    """After `close`, a query is refused by name."""
    store = await open_sqlite_store(tmp_path / "shop.sqlite3", real_world())
    await store.close()
    with pytest.raises(StoreClosed):
        await store.query([(EVENTS, [])])
