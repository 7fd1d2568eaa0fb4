"""Migrations of a PostgreSQL store while it is used."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Index, Integer, MetaData, Table

from colonnade.persistence.migrations.line import COLONNADE, InvalidMigration, Line, Part, read_line
from colonnade.persistence.migrations.plan import Plan, Progress
from colonnade.persistence.migrations.versions import CodeTooOld, OlderInstances
from colonnade.persistence.postgres import PostgresStore, open_postgres_store
from colonnade.persistence.postgres.migrating import (
    FILL_ROWS,
    LockedOut,
    MigrationUnderWay,
    migrating,
    schemas_of,
)
from colonnade.persistence.tables.models import TableChanged
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world
from tests.migrations.files import written
from tests.migrations.seats import BEFORE, MIGRATION, after, later_seats, models, sold, write

WORLD = real_world()
STEPS = {"expand": 5, "contract": 7}


class Killed(Exception):
    """The process that migrates ends here."""


class Hall:
    """A schema, the instances on it, and a connection beside them."""

    def __init__(self, url: str, beside: Any, opened: AsyncExitStack) -> None:
        self.url, self.beside, self._opened = url, beside, opened
        self.schema = f"hall_{WORLD.ids.new().hex}"

    async def open(self, line: Line) -> PostgresStore:
        """An instance with code of that version."""
        store = await open_postgres_store(self.url, WORLD, schema=self.schema)
        self._opened.push_async_callback(store.close)
        await models(store, line)
        return store

    async def migrate(
        self, line: Line, *, contract: bool = False, report: Callable[[Progress], None] = lambda _: None
    ) -> Sequence[Plan]:
        """Carry out what there is to do; what that was."""
        async with migrating(self.url, WORLD, schema=self.schema) as migrations:
            plans = await migrations.plan([line], contract=contract)
            for plan in plans:
                await migrations.run(plan, report)
        return plans

    async def asked(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query on the schema's tables."""
        return [tuple(row) for row in await self.beside.fetch(sql.replace("{s}", f'"{self.schema}"'))]


@pytest.fixture
async def hall(postgres: PostgresServer) -> AsyncIterator[Hall]:
    """A hall."""
    async with AsyncExitStack() as opened:
        beside = await asyncpg.connect(postgres.url())
        opened.push_async_callback(beside.close)
        yield Hall(postgres.url(), beside, opened)


async def test_tables_are_expanded_and_contracted(hall: Hall, tmp_path: Path) -> None:
    """Rows are kept and filled page by page; both versions know their shape, until the older one is refused."""
    store = await hall.open(BEFORE)
    await sold(store, "mnz", FILL_ROWS)
    await sold(store, "a", 3)
    line = after(tmp_path / "migrations")
    filled: list[int] = []
    await hall.migrate(line, report=lambda progress: filled.append(progress.rows))
    assert filled[-4:] == [FILL_ROWS - 3, 2 * FILL_ROWS - 3, 3 * FILL_ROWS - 3, 3 * FILL_ROWS]
    halls = 'SELECT hall, price::text, count(*) FROM {s}."seats__0" GROUP BY 1, 2 ORDER BY 1'
    assert await hall.asked(halls) == [("A", "9.50", 3), ("B", "9.50", 3 * FILL_ROWS)]
    assert await hall.asked("SELECT * FROM {s}.versions WHERE line = 'service'") == [("service", 1, 0, 0)]
    assert not await hall.migrate(line)

    newer = await hall.open(line)
    await write(newer, """INSERT INTO {s}"seats__0" ("letter", number, hall) VALUES ('b', 1, 'A')""")
    await sold(store, "c", 1)
    await hall.open(BEFORE)
    with pytest.raises(OlderInstances):
        await hall.migrate(line, contract=True)
    await hall.beside.execute(f"DELETE FROM \"{hall.schema}\".instances WHERE line = 'service' AND code = 0")
    await hall.migrate(line, contract=True)
    assert await hall.asked("SELECT * FROM {s}.versions WHERE line = 'service'") == [("service", 1, 1, 1)]
    with pytest.raises(CodeTooOld):
        await hall.open(BEFORE)
    columns = (
        "SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = '{s}.\"seats__0\"'::regclass AND attnum > 0"
    )
    assert await hall.asked(f"{columns} AND NOT attisdropped ORDER BY attnum") == [
        ("letter", True),
        ("number", True),
        ("hall", True),
        ("price", True),
    ]
    await hall.open(line)


@pytest.mark.parametrize("part", ["expand", "contract"])
async def test_what_was_broken_off_goes_on_there(hall: Hall, tmp_path: Path, part: Part) -> None:
    """Wherever it was killed: what was carried out is not carried out again."""
    line = after(tmp_path / "migrations")
    for last in range(1, STEPS[part] + 1):
        hall.schema = f"hall_{WORLD.ids.new().hex}"
        store = await hall.open(BEFORE)
        await sold(store, "am", 2)
        await store.close()
        if part == "contract":
            await hall.migrate(line)
        begun: list[int] = []

        def killed(progress: Progress, last: int = last, begun: list[int] = begun) -> None:
            if progress.step == last:
                raise Killed
            begun.append(progress.step)

        with pytest.raises(Killed):
            await hall.migrate(line, contract=part == "contract", report=killed)
        assert begun == list(range(1, last))

        def noted(progress: Progress, begun: list[int] = begun) -> None:
            if progress.part.part == part and not progress.rows:
                begun.append(progress.step)

        await hall.migrate(line, contract=part == "contract", report=noted)
        assert sorted(set(begun)) == list(range(1, STEPS[part] + 1)), last
        assert len(begun) == STEPS[part], last
        (count,) = await hall.asked(f"SELECT count(*) FROM {{s}}.migrations WHERE part = '{part}'")
        assert count == (STEPS[part],)
        await (await hall.open(line)).close()


async def test_an_index_that_was_broken_off_is_made_anew(hall: Hall, tmp_path: Path) -> None:
    """An invalid one that is left over is dropped first; a valid one that nobody noted is kept."""
    store = await hall.open(BEFORE)
    await sold(store, "a", 2)
    name = f'"{hall.schema}"."seats__0_by_hall"'
    with pytest.raises(asyncpg.UniqueViolationError):
        await hall.beside.execute(
            f'CREATE UNIQUE INDEX CONCURRENTLY "seats__0_by_hall" ON "{hall.schema}"."seats__0" ("letter")'
        )
    valid = f"SELECT indisvalid, indisunique FROM pg_index WHERE indexrelid = '{name}'::regclass"
    assert await hall.asked(valid) == [(False, True)]
    line = after(tmp_path / "migrations")
    await hall.migrate(line)
    assert await hall.asked(valid) == [(True, False)]
    await hall.beside.execute(f'DELETE FROM "{hall.schema}".migrations WHERE statement >= 3')
    await hall.beside.execute(f"UPDATE \"{hall.schema}\".versions SET version = 0 WHERE line = 'service'")
    (before,) = await hall.asked(f"SELECT '{name}'::regclass::oid")
    await hall.migrate(line)
    assert await hall.asked(f"SELECT '{name}'::regclass::oid") == [before]


async def test_a_lock_is_not_waited_for_for_long(hall: Hall, tmp_path: Path) -> None:
    """Who holds the table delays the migration; who comes after that waits for a moment only."""
    await hall.open(BEFORE)
    line = after(tmp_path / "migrations")
    async with hall.beside.transaction():
        await hall.beside.execute(f'SELECT FROM "{hall.schema}"."seats__0"')
        migration = asyncio.create_task(hall.migrate(line))
        reader = await asyncpg.connect(hall.url)
        try:
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
            while not await reader.fetchval(waits):
                await WORLD.sleep(0.01)
            async with asyncio.timeout(20):  # the migration waits behind the holder for as long as that is there
                await reader.execute(f'SELECT FROM "{hall.schema}"."seats__0"')
        finally:
            await reader.close()
        assert not migration.done()
    await migration


async def test_who_gets_no_lock_says_who_holds_it(hall: Hall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on there when it is started again."""
    monkeypatch.setattr("colonnade.persistence.postgres.migrating.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("colonnade.persistence.postgres.migrating.LOCK_SECONDS", 0.05)
    await hall.open(BEFORE)
    line = after(tmp_path / "migrations")
    async with hall.beside.transaction():
        await hall.beside.execute(f'SELECT FROM "{hall.schema}"."seats__0"')
        with pytest.raises(LockedOut, match=r"COLUMN hall.*process \d+ .*SELECT FROM .*run colonnade migrate again"):
            await hall.migrate(line)
    await hall.migrate(line)


async def test_one_migrates_at_a_time(hall: Hall) -> None:
    """The second is told by whom it was forestalled."""
    await hall.open(BEFORE)
    async with migrating(hall.url, WORLD, schema=hall.schema):
        with pytest.raises(MigrationUnderWay, match=r"another colonnade migrate is at work there .*process \d+"):
            await hall.migrate(BEFORE)


async def test_a_file_that_was_begun_stays_as_it_is(hall: Hall, tmp_path: Path) -> None:
    """Else nobody could tell what is still to be done."""
    await hall.open(BEFORE)
    await hall.migrate(after(tmp_path / "migrations"))
    await hall.beside.execute(f"UPDATE \"{hall.schema}\".versions SET version = 0 WHERE line = 'service'")
    changed = after(tmp_path / "migrations", MIGRATION.replace('"price"', '"cost"'))
    with pytest.raises(InvalidMigration, match=r"its step 2 was carried out already, as .* and is another one now"):
        await hall.migrate(changed)


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ('op.add_column("seats", Column("hall", String, server_default="A"))', "no migration adds its column hall"),
        ('op.create_index("by_hall", "seats", ["hall", "letter"])', "no migration makes its index by_hall"),
        ('op.alter_column("seats", "sold_to", nullable=True)', "it does not declare the column sold_to, without which"),
    ],
)
async def test_what_a_migration_forgets_is_told_before_anything_is_done(
    hall: Hall, tmp_path: Path, left_out: str, told: str
) -> None:
    """By the name of the column or index, with what to write."""
    await hall.open(BEFORE)
    body = MIGRATION.replace(left_out, "pass")
    with pytest.raises(InvalidMigration, match=rf"the table seats of version 1: {told}.*write op\."):
        await hall.migrate(after(tmp_path / "migrations", body))
    assert await hall.asked("SELECT count(*) FROM {s}.migrations") == [(0,)]


async def test_a_column_is_declared_as_it_is_added(hall: Hall, tmp_path: Path) -> None:
    """Its type on this engine is compared."""
    await hall.open(BEFORE)
    body = MIGRATION.replace("Numeric(8, 2)", "Integer")
    with pytest.raises(InvalidMigration, match=r"price is declared as NUMERIC\(8, 2\), and added as BIGINT"):
        await hall.migrate(after(tmp_path / "migrations", body))


async def test_code_of_another_shape_without_a_migration_is_refused(hall: Hall) -> None:
    """With what to do about it."""
    store = await hall.open(BEFORE)
    await store.close()
    with pytest.raises(TableChanged, match=r"write the next migration in .* and run colonnade migrate"):
        await hall.open(Line(BEFORE.name, (), (later_seats,)))


async def test_a_new_store_has_the_newest_tables(hall: Hall, tmp_path: Path) -> None:
    """Nothing is to be migrated, and older code cannot use them."""
    line = after(tmp_path / "migrations")
    assert not await _planned_without_store(hall, line)
    await hall.open(line)
    assert not await hall.migrate(line, contract=True)
    with pytest.raises(CodeTooOld):
        await hall.open(BEFORE)
    assert hall.schema in await schemas_of(hall.url)


async def _planned_without_store(hall: Hall, line: Line) -> Sequence[Plan]:
    store = await open_postgres_store(hall.url, WORLD, schema=hall.schema)
    await store.close()
    return await hall.migrate(line)


async def test_a_table_that_a_migration_makes_is_known_to_its_code(hall: Hall, tmp_path: Path) -> None:
    """It is made once, with its index."""
    prices = Table("prices", MetaData(), Column("id", Integer, primary_key=True), Column("cents", Integer))
    Index("by_cents", prices.c.cents)
    await hall.open(Line(BEFORE.name))
    body = """
        def expand() -> None:
            op.create_table("prices", Column("id", Integer, primary_key=True), Column("cents", Integer))
            op.create_index("by_cents", "prices", ["cents"])
    """
    line = written(tmp_path / "migrations", body, tables=(prices,))
    await hall.migrate(line)
    store = await hall.open(line)
    await write(store, 'INSERT INTO {s}"prices__0" VALUES (1, 5)')
    (index,) = await hall.asked("SELECT pg_get_indexdef('{s}.\"prices__0_by_cents\"'::regclass)")
    assert index[0].endswith("(cents NULLS FIRST)")


async def test_colonnade_s_own_tables_are_migrated_alike(hall: Hall, tmp_path: Path) -> None:
    """Under their own names; one line does not wait for the other."""
    await hall.open(BEFORE)
    body = """
        def expand() -> None:
            op.add_column("answers", Column("tenant", String))
    """
    written(tmp_path / "migrations", body)
    await hall.migrate(read_line(COLONNADE, tmp_path / "migrations"))
    assert await hall.asked("SELECT line, version FROM {s}.versions ORDER BY 1") == [("colonnade", 1), ("service", 0)]
    await hall.asked("SELECT tenant FROM {s}.answers")
