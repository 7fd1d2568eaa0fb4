"""Which code a PostgreSQL store lets in, and who meets whom when code starts while its tables are contracted."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from colonnade.observability.health import Severity
from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.migrations.line import SERVICE, Line, Migration
from colonnade.persistence.migrations.versions import CodeTooNew, CodeTooOld, OlderInstances
from colonnade.persistence.postgres import PostgresStore, open_postgres_store
from colonnade.persistence.postgres.versions import enter_line, raise_oldest
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.workers.registration import RENEW_SECONDS, Registration
from colonnade.world import World, real_world
from tests.persistence.interleaving import Actor, Stage, Step, interleavings, stage

WORLD = real_world()


def code(version: int) -> Line:
    """Code of that version."""
    return Line(SERVICE, tuple(Migration(number, Path(f"{number:04}_a.py")) for number in range(1, version + 1)))


class Database:
    """A schema that is opened by several."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.schema = f"versions_{WORLD.ids.new().hex}"
        self.opened: list[PostgresStore] = []

    async def enter(self, version: int) -> PostgresStore:
        """An instance with code of that version."""
        store = await open_postgres_store(self.url, WORLD, schema=self.schema)
        self.opened.append(store)
        await store.versions.enter(code(version))
        return store

    async def run(self, work: Callable[[Any], Awaitable[object]]) -> None:
        """Do it on a connection, in a transaction."""
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                await work(connection)
        finally:
            await connection.close()

    async def expand(self, version: int) -> None:
        """Say that the tables have that version."""
        await self.run(lambda c: c.execute(f'UPDATE "{self.schema}".versions SET version = $1', version))

    async def contract(self, to: int) -> None:
        """Refuse older code."""
        await self.run(lambda c: raise_oldest(c, self.schema, "hall", SERVICE, to))


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """A database."""
    made = Database(postgres.url())
    yield made
    for store in made.opened:
        await store.close()


async def test_code_of_the_version_before_goes_on_beside_the_next(database: Database) -> None:
    """Expanding lets both in, and the older one back; code that comes before its tables is told what to run."""
    await database.enter(1)
    with pytest.raises(CodeTooNew, match=r"the service's own tables have version 1, .* needs 2; run colonnade migrate"):
        await database.enter(2)
    await database.expand(2)
    for version in (2, 1):
        await database.enter(version)


async def test_code_is_refused_only_below_the_oldest(database: Database) -> None:
    """And told so."""
    for store in (await database.enter(2), await database.enter(2)):
        await store.close()
    await database.expand(4)
    await database.contract(3)
    with pytest.raises(CodeTooOld, match="need code of version 3 or newer, and this has 2; start the newer code"):
        await database.enter(2)
    await database.enter(3)
    await database.enter(4)


async def test_nothing_is_contracted_while_older_code_runs(database: Database) -> None:
    """The instances are named; who has closed its store, or was killed long ago, is none."""
    first, second = await database.enter(1), await database.enter(1)
    await database.expand(2)
    with pytest.raises(OlderInstances, match=f"while older code runs: process {os.getpid()} on .* with version 1"):
        await database.contract(2)
    await first.close()
    with pytest.raises(OlderInstances):
        await database.contract(2)
    await database.run(lambda c: c.execute(f'UPDATE "{database.schema}".instances SET expires = 0'))
    await database.contract(2)
    with pytest.raises(CodeTooOld):  # it was only asleep
        await second.versions.renew()


async def test_an_instance_that_was_overtaken_asks_for_its_end(database: Database) -> None:
    """A new process is the only remedy; until then it renews."""
    slept: list[float] = []
    turns = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await turns.acquire()

    store = await database.enter(1)
    registration = Registration("tickets", store.versions, World(WORLD.clock, WORLD.randomness, WORLD.ids, sleep))
    renewing = asyncio.create_task(registration.run())
    await database.run(lambda c: c.execute(f'UPDATE "{database.schema}".instances SET expires = 1'))
    turns.release()
    while len(slept) < 2:
        await WORLD.sleep(0.001)
    assert not registration.health()
    with pytest.raises(OlderInstances):
        await database.contract(2)
    await database.run(lambda c: c.execute(f'UPDATE "{database.schema}".versions SET oldest_code = 2'))
    turns.release()
    while len(slept) < 3:
        await WORLD.sleep(0.001)
    (state,) = registration.health()
    assert state.severity is Severity.FATAL
    assert state.name == "tickets.registration"
    assert set(slept) == {RENEW_SECONDS}
    renewing.cancel()


class Paced:
    """A connection whose statements are steps."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._may = asyncio.Semaphore(0)
        self._did = asyncio.Semaphore(0)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any) -> Any:
            await self._may.acquire()
            try:
                return await getattr(self._connection, name)(*arguments)
            finally:
                self._did.release()

        return run

    async def step(self, task: "asyncio.Task[None]") -> None:
        """Let one statement be run."""
        if not task.done():
            self._may.release()
            did = asyncio.ensure_future(self._did.acquire())
            await asyncio.wait([did, task], return_when=asyncio.FIRST_COMPLETED)
            did.cancel()


def paced(work: Callable[[Any], Awaitable[None]], statements: int) -> Sequence[Step]:
    """Each statement of a transaction a step; what it raises by losing is noted."""
    at_work: list[tuple[Paced, asyncio.Task[None]]] = []

    async def run(connection: Any, seen: list[Any]) -> None:
        await connection.execute("BEGIN")
        try:
            await work(connection)
        except StoreFailed as error:
            seen.append(type(error))
            await connection.execute("ROLLBACK")
        else:
            await connection.execute("COMMIT")

    async def step(actor: Actor) -> None:
        if not at_work:
            connection = Paced(actor.connection)
            at_work.append((connection, asyncio.ensure_future(run(connection, actor.seen))))
        connection, task = at_work[0]
        await connection.step(task)
        if task.done():
            task.result()

    return [step] * statements


@pytest.fixture
async def play(postgres: PostgresServer) -> AsyncIterator[Stage]:
    """A stage."""
    async with stage(postgres.url(), actors=2) as made:
        yield made


async def test_of_a_start_and_a_contraction_one_wins(play: Stage) -> None:
    """In all 210 orders of their statements: either the code is let in, or its tables are contracted."""
    schema = await play.watcher.fetchval("SELECT current_schema()")
    orders = list(interleavings(4, 6))
    assert len(orders) == 210
    for order in orders:
        await play.watcher.execute("TRUNCATE instances, versions")
        await play.watcher.execute("INSERT INTO versions VALUES ('service', 2, 1, 1)")
        starting, contracting = await play.play(
            [
                paced(lambda c: enter_line(c, schema, "hall", SERVICE, 1, "a", "process 1"), 4),
                paced(lambda c: raise_oldest(c, schema, "hall", SERVICE, 2), 6),
            ],
            order,
        )
        oldest = await play.watcher.fetchval("SELECT oldest_code FROM versions")
        there = await play.watcher.fetchval("SELECT count(*) FROM instances")
        assert (oldest, there) in ((2, 0), (1, 1)), order
        assert starting.seen == ([CodeTooOld] if oldest == 2 else []), order
        assert contracting.seen == ([OlderInstances] if oldest == 1 else []), order
