"""Queries are read from a streaming replica, but never less than their caller has seen, and never less than is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Column, MetaData, String, Table, select

from colonnade.application.writes import insert
from colonnade.caching import MemoryCache
from colonnade.caching.query_cache import QueryCache, ReadAnswer
from colonnade.persistence.postgres import PostgresInstance, PostgresStore, open_postgres_store
from colonnade.persistence.postgres import replica as replicas
from colonnade.persistence.reads import ReadsMade, RequiredPosition, reads_made, required_position
from colonnade.persistence.store import Store
from colonnade.persistence.streams import StreamQueues
from colonnade.persistence.tables.inline import UnitTables
from colonnade.persistence.unit import Unit
from colonnade.persistence.work import Work, current_work
from colonnade.system.hosts.fleet.databases import make_database, same_database
from colonnade.world import real_world
from tests.caching.cutting import cuttable
from tests.servers.pairs import Pair, pair

from .desk import SERVICE, Desk, Opened, Paid, Toasted, desk, tabs
from .homes import Home

__all__ = ["pair"]

notes = Table("notes", MetaData(), Column("note", String, primary_key=True))


@pytest.fixture(autouse=True)
def nothing_required() -> Iterator[None]:
    """Each test starts without a token."""
    token = required_position.set(None)
    yield
    required_position.reset(token)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers are looked at often, and little lag is too much."""
    monkeypatch.setattr(replicas, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(replicas, "LAG_LIMIT_SECONDS", 0.3)
    monkeypatch.setattr(replicas, "SILENT_SECONDS", 0.5)


@asynccontextmanager
async def opened_desk(pair: Pair, through: str | None = None) -> AsyncIterator[Desk]:
    """A desk with one open tab, which the replica has; `through` is the host and port that leads there."""
    primary, replica = await pair.database()
    if through is not None:
        replica = replica.replace(f"{pair.second.host}:{pair.second.port}", through)

    async def opened() -> Store:
        return await open_postgres_store(primary, real_world(), replica=replica)

    async with desk(Home("postgresql", 1, opened)) as d:
        await d.record("Tab/a", Opened("Ann"))
        await d.caught_up()
        await pair.caught_up()
        await until(lambda: not d.store.health(SERVICE))
        yield d


@pytest.fixture
async def d(pair: Pair) -> AsyncIterator[Desk]:
    """A desk whose queries go to a replica."""
    async with opened_desk(pair) as d:
        yield d


def require(d: Desk, position: int) -> None:
    """Read nothing older than `position` from here on."""
    required_position.set(RequiredPosition(SERVICE, d.store.history, position))


async def states(d: Desk) -> list[str]:
    """What each tab's state is, as readers see it."""
    return [row.state for row in await d.reads.all(select(tabs).order_by(tabs.c.tab))]


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something that is looked at again and again holds."""
    while not holds():  # noqa: ASYNC110 - of another task or process
        await asyncio.sleep(0.02)


@contextmanager
def counted(d: Desk) -> Iterator[list[str]]:
    """What the replica gives, each time that it gives rows."""
    assert isinstance(d.store, PostgresStore)
    assert d.store.replica is not None
    replica, given = d.store.replica, list[str]()
    query = replica.query

    async def counting(statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        rows = await query(statements)
        given.append("rows")
        return rows

    replica.query = counting  # type: ignore[method-assign]
    try:
        yield given
    finally:
        del replica.query


def told(d: Desk) -> str:
    """What the store says of its replica."""
    return " ".join(state.detail for state in d.store.health(SERVICE))


async def test_who_has_seen_nothing_is_answered_by_the_replica(pair: Pair, d: Desk) -> None:
    """As it is there, which is what the primary was a moment ago."""
    async with pair.standing_still():
        await d.record("Tab/a", Paid())
        await d.caught_up()
        assert await states(d) == ["open"]
    assert await states(d) == ["paid"]


async def test_a_token_is_honoured_by_whichever_node_can(pair: Pair, d: Desk) -> None:
    """What the replica has come to, it answers; what it has not, the primary does."""
    seen = await d.store.log.end()
    async with pair.standing_still():
        later = await d.record("Tab/a", Paid())
        await d.caught_up()
        require(d, seen)
        assert await states(d) == ["open"]
        require(d, later)
        assert await states(d) == ["paid"]
    assert await states(d) == ["paid"]


async def test_the_log_of_a_replica_that_lags_says_nothing(pair: Pair, d: Desk) -> None:
    """An event that it has not got is not taken for one that is not there, nor for one that nobody projects."""
    async with pair.standing_still():
        await d.record("Tab/a", Paid())
        await d.caught_up()
        require(d, await d.record("Tab/a", Toasted()))
        assert await states(d) == ["paid"]
    # No checkpoint comes as far, and yet the replica answers, once it has the whole log up to there
    with counted(d) as asked:
        assert await states(d) == ["paid"]
    assert asked == ["rows", "rows"]


async def test_tables_without_events_are_as_new_as_the_token(pair: Pair, d: Desk) -> None:
    """No checkpoint tells how far they are: with a token they are read where all is that is committed."""
    await d.models.own([notes])
    async with pair.standing_still():
        work = Work(StreamQueues())
        at_hand = current_work.set(work)
        UnitTables(d.models).write(insert(notes, note="call Ann"))
        current_work.reset(at_hand)
        unit = Unit(d.world.clock.micros(), d.world.ids.new(), effects=work.effects)
        require(d, (await d.store.commit(unit)).position)
        assert [row.note for row in await d.reads.all(select(notes))] == ["call Ann"]


async def test_what_a_command_decides_by_is_of_the_primary(pair: Pair, d: Desk) -> None:
    """A command reads what is, not what was."""
    async with pair.standing_still():
        await d.record("Tab/a", Paid())
        await d.caught_up()
        at_hand = current_work.set(Work(StreamQueues()))
        assert await states(d) == ["paid"]
        current_work.reset(at_hand)
        assert await states(d) == ["open"]


async def test_an_answer_that_is_kept_is_not_of_a_replica_that_lags(pair: Pair, d: Desk) -> None:
    """Once a change has ended the old answer, nobody gets it again, however late the replica hears of the change."""
    cache = QueryCache(MemoryCache(d.world.clock), d.world)

    async def changed(tables: Collection[str]) -> None:
        await cache.changed([f"{SERVICE}.{table}" for table in tables])

    d.models.on_change(changed)

    async def read() -> ReadAnswer:
        made = ReadsMade()
        reads_made.set(made)
        return ReadAnswer(" ".join(await states(d)).encode(), tuple(made.tables), made.position(SERVICE))

    async def answered(required: int = 0) -> tuple[bytes, int]:
        kept = await cache.answer("states", read, seconds=60, required=required)
        return kept.body, kept.position

    with counted(d) as asked:
        assert await answered() == (b"open", d.at(1))
    assert asked == ["rows"]  # by the replica, which has caught up
    async with pair.standing_still():
        await d.record("Tab/a", Paid())
        assert await answered() == (b"open", d.at(1))
        await d.caught_up()
        assert await answered() == (b"paid", d.at(2))
        assert await answered(d.at(2)) == (b"paid", d.at(2))
    assert await answered() == (b"paid", d.at(2))
    await cache.close()


async def test_a_build_that_the_replica_has_not_got_is_read_from_the_primary(pair: Pair, d: Desk) -> None:
    """A rebuild shows at once, and the replica answers again when it has it."""
    async with pair.standing_still():
        await d.rebuilt()
        assert await states(d) == ["open"]
    with counted(d) as asked:
        assert await states(d) == ["open"]
    assert asked == ["rows"]


async def test_a_replica_that_lags_is_passed_over(quick_looks: None, pair: Pair, d: Desk) -> None:
    """It is named with its lag, and taken back when it has caught up."""
    async with pair.standing_still():
        await d.record("Tab/a", Paid())
        await d.caught_up()
        await until(lambda: "lags" in told(d))
        assert told(d).endswith("lags 0 s: queries go to the primary.")
        assert await states(d) == ["paid"]
    await until(lambda: not told(d))


@pytest.mark.parametrize("trouble", ["cut", "hang"])
async def test_a_replica_that_is_away_is_passed_over(quick_looks: None, pair: Pair, trouble: str) -> None:
    """No query fails while it is gone or says nothing; it is named, and taken back when it is there again."""
    async with cuttable(pair.second) as way, opened_desk(pair, way.url.rpartition("/")[2]) as d:
        answers: list[list[str]] = []
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                answers.append(await states(d))
                await asyncio.sleep(0.005)

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for _ in range(2):
            getattr(way, trouble)()
            await until(lambda: "is away" in told(d))
            before = len(answers)
            await until(lambda: len(answers) > before + 10)  # noqa: B023 - it is awaited here
            way.mend()
            await until(lambda: not told(d))
        done.set()
        await asyncio.gather(*asking)
        assert answers.count(["open"]) == len(answers)


async def test_a_server_that_follows_nobody_is_passed_over(pair: Pair) -> None:
    """It is no replica, however much its tables look like one's own."""
    primary, _ = await pair.database()
    store = await open_postgres_store(primary, real_world(), replica=primary)
    try:
        assert [state.detail for state in store.health(SERVICE)] == [
            f"The replica {store.name} has been promoted and follows nobody: queries go to the primary."
        ]
    finally:
        await store.close()


async def test_a_fleet_finds_its_databases_on_the_replica(pair: Pair) -> None:
    """A standby has all databases and roles of its primary: each service's is there under the same name."""
    url = await make_database(pair.primary.url(), f"tabs_{uuid4().hex}", "a/secret")
    store = await open_postgres_store(url, real_world(), replica=same_database(pair.second.url(), url))
    try:
        await until(lambda: not store.health(SERVICE))
    finally:
        await store.close()


async def test_tenants_read_from_the_replica_each_in_its_schema(pair: Pair) -> None:
    """Their stores share what goes to the primary; each looks after the replica by itself."""
    primary, replica = await pair.database()
    instance = PostgresInstance(primary, real_world())
    stores = [
        await open_postgres_store(primary, real_world(), schema=schema, replica=replica, within=instance)
        for schema in ("blue", "green")
    ]
    try:
        for store in stores:
            await until(lambda: not store.health(SERVICE))  # noqa: B023 - it is awaited here
            assert store.replica is not None
            ((rows,),) = await store.replica.query([(f"SELECT history FROM {store.name.rpartition('#')[2]}.store", ())])
            assert rows == (store.history,)
    finally:
        for store in stores:
            await store.close()
        await instance.close()
