"""Several processes on one PostgreSQL store, and a server that comes and goes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from colonnade.persistence.failures import StoreFailed, VersionConflict
from colonnade.persistence.postgres import PostgresStore, open_postgres_store, writer
from colonnade.persistence.postgres.connections import CONNECTIONS
from colonnade.persistence.postgres.notices import ANSWER_SECONDS, LOOK_SECONDS
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import Advance, ArmTimer, Deliver, Effect, Publish
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer, postgresql
from colonnade.testing.conformance.store.database import append, commit
from colonnade.workers.timers import Timers
from colonnade.world import real_world
from tests.persistence.hearing import Hearing
from tests.servers.running import own_folder

WORLD = real_world()
WITHIN_SECONDS = 20.0


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """One store, opened twice, as by two processes."""
    schema = f"shared_{WORLD.ids.new().hex}"
    first = await open_postgres_store(url, WORLD, schema=schema)
    second = await open_postgres_store(url, WORLD, schema=schema)
    try:
        yield first, second
    finally:
        await first.close()
        await second.close()
        connection = await asyncpg.connect(url)
        await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
        await connection.close()


WAKING: list[tuple[Effect, Touched]] = [
    (append("Sale/1", 0), Touched.EVENTS),
    (Publish("shop.events", "a", UUID(int=1), b"{}"), Touched.OUTBOX),
    (Deliver("subscriber:Till", "a", b"{}"), Touched.INBOX),
    (ArmTimer("timer", 1, Deliver("subscriber:Till", "a", b"{}")), Touched.TIMERS),
    (Advance("Sales", 0, 1), Touched.CHECKPOINTS),
]


@pytest.mark.parametrize(("effect", "touched"), WAKING, ids=[str(touched.name) for _, touched in WAKING])
async def test_a_commit_is_told_to_the_other_processes(
    postgres: PostgresServer, effect: Effect, touched: Touched
) -> None:
    """Whoever waits there for work hears of it."""
    async with two(postgres.url()) as (first, second):
        hearing = Hearing(second)
        await commit(first, effect)
        await hearing.until(touched)


@pytest.mark.parametrize(("effect", "touched"), WAKING, ids=[str(touched.name) for _, touched in WAKING])
async def test_what_nobody_told_is_looked_for(postgres: PostgresServer, effect: Effect, touched: Touched) -> None:
    """Though the listener's connection is cut again and again, what others added is noticed."""
    async with two(postgres.url()) as (first, second):
        connection = await asyncpg.connect(postgres.url())
        cutting = asyncio.create_task(_cut(connection))
        try:
            hearing = Hearing(second)
            await commit(first, effect)
            await hearing.until(touched)
        finally:
            cutting.cancel()
            await asyncio.wait([cutting])
            await connection.close()


async def test_who_hears_nothing_looks_ten_times_a_second(postgres: PostgresServer) -> None:
    """So that without a listener half of all that others commit is seen within a tenth of a second."""
    slept: list[float] = []
    looked_enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if slept.count(LOOK_SECONDS) >= 3:
            looked_enough.set()
        await WORLD.sleep(seconds)

    nobody = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    schema = f"deaf_{WORLD.ids.new().hex}"
    store = await open_postgres_store(postgres.url(), replace(WORLD, sleep=sleep), schema=schema, direct=nobody)
    async with asyncio.timeout(WITHIN_SECONDS):
        await looked_enough.wait()
    await store.close()
    assert LOOK_SECONDS / 2 <= 0.05
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await connection.close()


async def _cut(connection: Any) -> None:
    while True:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'colonnade% listener'"
        )
        await WORLD.sleep(0.01)


async def test_of_two_processes_one_wins_a_version(postgres: PostgresServer) -> None:
    """Appends to the same streams from both sides, all at once: every version has one winner and no hole."""
    async with two(postgres.url()) as stores:
        for version in range(5):
            results = await asyncio.gather(
                *(
                    commit(store, append(f"Sale/{stream}", version))
                    for stream in range(10)
                    for store in stores
                    for _ in range(2)
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(result, VersionConflict) for result in results) == 30
        for stream in range(10):
            events = await stores[1].log.stream(f"Sale/{stream}")
            assert [event.version for event in events] == [1, 2, 3, 4, 5]


async def test_who_is_overtaken_while_it_waits_is_told_by_what(postgres: PostgresServer) -> None:
    """Another transaction adds the version first: the conflict names it, and the others of the batch are committed."""
    async with two(postgres.url()) as (store, _):
        dialect: Any = store.dialect
        other = await asyncpg.connect(postgres.url(), server_settings={"search_path": dialect.tables_schema})
        try:
            await other.execute("BEGIN")
            await other.execute(
                "INSERT INTO events VALUES (nextval('positions'), 'Sale/1', 1, $1, 'shop.A', 1, '{}', 1, $1)",
                UUID(int=9),
            )
            units = [asyncio.ensure_future(commit(store, append(f"Sale/{stream}", 0))) for stream in (0, 1, 2)]
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted)"
            async with asyncio.timeout(WITHIN_SECONDS):
                while not await other.fetchval(waiting):
                    await WORLD.sleep(0)
            await other.execute("COMMIT")
            before, lost, after = await asyncio.gather(*units, return_exceptions=True)
        finally:
            await other.close()
        assert isinstance(lost, VersionConflict)
        assert (lost.stream, lost.expected, lost.actual) == ("Sale/1", 0, 1)
        assert isinstance(before, Committed)
        assert isinstance(after, Committed)


async def test_units_that_want_each_other_s_rows_are_all_decided(postgres: PostgresServer) -> None:
    """Two processes that append to two streams in opposite orders wait for each other for moments, not for ever."""
    async with two(postgres.url()) as (first, second), asyncio.timeout(WITHIN_SECONDS):
        for version in range(20):
            a, b = append("Sale/a", version), append("Sale/b", version)
            results = await asyncio.gather(commit(first, a, b), commit(second, b, a), return_exceptions=True)
            assert sum(isinstance(result, VersionConflict) for result in results) == 1


async def test_a_server_that_was_killed_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away the store says so; what was acknowledged is there when it is back, and work goes on."""
    monkeypatch.setattr(writer, "FIND_OUT_SECONDS", 0.5)
    with own_folder("killed") as folder:
        async with postgresql(folder, WORLD) as server:
            store = await open_postgres_store(server.url(), WORLD)
            await commit(store, append("Sale/1", 0))
            assert len(await store.log.read()) == 1
            await server.kill()
            asked: list[Callable[[], Awaitable[object]]] = [
                lambda: commit(store, append("Sale/1", 1)),
                lambda: store.log.read(),
                lambda: store.leases.acquire("relay", "a", 1.0),
                lambda: store.query([("SELECT 1", ())]),
            ]
            for ask in asked:
                with pytest.raises(StoreFailed):
                    await ask()
            await server.start()
            await commit(store, append("Sale/1", 1))
            assert [event.version for event in await store.log.read()] == [1, 2]
            await store.close()


async def test_a_server_without_room_is_refused() -> None:
    """An instance does not begin where its connections, and those that others may still open, are more than allowed."""
    with own_folder("full") as folder:
        async with postgresql(folder, WORLD, connections=2 * CONNECTIONS + 5) as server:
            first = await open_postgres_store(server.url(), WORLD)
            second = await open_postgres_store(server.url(), WORLD)
            with pytest.raises(StoreFailed, match="raise max_connections"):
                await open_postgres_store(server.url(), WORLD)
            await second.close()
            third = await open_postgres_store(server.url(), WORLD)
            await third.close()
            await first.close()


async def test_who_holds_readers_back_is_named(postgres: PostgresServer) -> None:
    """By the server's process, with its age and what it ran last; gone with its transaction."""
    async with two(postgres.url()) as (first, second):
        await commit(first, append("Sale/1", 0))
        assert await second.log.held() is None
        dialect: Any = first.dialect
        connection = await asyncpg.connect(postgres.url())
        try:
            await connection.execute(f'BEGIN; SELECT "{dialect.tables_schema}".draw_positions(1)')
            await commit(first, append("Sale/1", 1))
            await connection.execute("SELECT pg_sleep(0.05)")
            held = await second.log.held()
            assert held is not None
            assert (held.session, held.seconds >= 0.05) == (connection.get_server_pid(), True)
            assert held.doing == "idle in transaction: SELECT pg_sleep(0.05)"
            (before,) = await second.log.read()
            assert before.position <= held.position < (await first.log.stream("Sale/1", 1))[0].position
        finally:
            await connection.close()
        assert await second.log.held() is None
        assert len(await second.log.read()) == 2


async def test_a_timer_that_another_process_arms_fires_here(postgres: PostgresServer) -> None:
    """Before one that was armed here, and that is waited for: whoever fires timers looks when it is told."""
    async with two(postgres.url()) as (first, second):
        timers = asyncio.get_running_loop().create_task(Timers("shop", first, WORLD).run())
        try:
            now, message = WORLD.clock.micros(), Deliver("subscriber:Till", "a", b"{}")
            for number in range(3):
                await commit(first, ArmTimer(f"here {number}", now + 3_600_000_000, message))
                await commit(second, ArmTimer(f"there {number}", now, message))
                async with asyncio.timeout(WITHIN_SECONDS):
                    while await second.inbox.unhandled() <= number:
                        await WORLD.sleep(0.01)
        finally:
            timers.cancel()
            await asyncio.wait([timers])


async def test_who_is_alone_tells_nobody(postgres: PostgresServer) -> None:
    """When nobody has answered for a while there is nobody to be told of commits; who comes later is told of all."""
    async with two(postgres.url()) as (first, second):
        schema, words = second.name.partition("#")[2], list[str]()
        await first.close()
        await second.close()
        connection = await asyncpg.connect(postgres.url())
        await connection.add_listener(f"colonnade.{schema}", lambda *word: words.append(str(word[-1])))
        alone = await open_postgres_store(postgres.url(), WORLD, schema=schema)
        await WORLD.sleep(ANSWER_SECONDS)
        await commit(alone, append("Sale/alone", 0))
        other = await open_postgres_store(postgres.url(), WORLD, schema=schema)
        told = asyncio.Event()
        other.watch(lambda touched: told.set() if touched == Touched.TIMERS else None)
        async with asyncio.timeout(WITHIN_SECONDS):
            while not told.is_set():
                await commit(alone, ArmTimer("timer", 1, Deliver("subscriber:Till", "a", b"{}")))
                await WORLD.sleep(0.05)
        await other.close()
        await alone.close()
        await connection.close()
        came = [number for number, word in enumerate(words) if word.endswith("has come")]
        assert came[:2] == [0, 1], words  # between their coming nothing was told
