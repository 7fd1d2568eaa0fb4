"""Migrations of a SQLite store, by whoever opens it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.migrations.line import COLONNADE, InvalidMigration, Line, read_line
from colonnade.persistence.migrations.plan import Progress
from colonnade.persistence.migrations.versions import CodeTooNew, CodeTooOld
from colonnade.persistence.sqlite import SqliteStore, open_sqlite_store
from colonnade.persistence.sqlite.opening import connect_to_write
from colonnade.persistence.sqlite.versions import enter_line
from colonnade.world import real_world
from tests.migrations.files import written
from tests.migrations.seats import BEFORE, MIGRATION, after, models, sold, write

WORLD = real_world()


@asynccontextmanager
async def opened(folder: Path, line: Line) -> AsyncIterator[SqliteStore]:
    """The store as code of that version opens it."""
    store = await open_sqlite_store(folder / "hall.sqlite3", WORLD)
    try:
        await models(store, line)
        yield store
    finally:
        await store.close()


async def asked(store: SqliteStore, sql: str) -> Sequence[Any]:
    """The rows of a query."""
    (rows,) = await store.query([(sql, ())])
    return rows


@pytest.fixture
async def before(tmp_path: Path) -> Path:
    """A folder with a store of the version before, in which five seats are sold."""
    async with opened(tmp_path, BEFORE) as store:
        await sold(store, "m", 3)
        await sold(store, "a", 2)
    return tmp_path


async def test_opening_a_store_takes_its_tables_along(before: Path) -> None:
    """Both parts at once, since nobody else uses them; what is declared is what is there."""
    line = after(before / "migrations")
    async with opened(before, line) as store:
        halls = 'SELECT hall, price, count(*) FROM "seats__0" GROUP BY 1, 2 ORDER BY 1'
        assert await asked(store, halls) == [("A", "9.50", 2), ("B", "9.50", 3)]
        columns = await asked(store, "SELECT name FROM pragma_table_info('seats__0')")
        assert [name for (name,) in columns] == ["letter", "number", "hall", "price"]
        assert await asked(store, "SELECT name FROM pragma_index_list('seats__0') WHERE origin = 'c'") == [
            ("seats__0_by_hall",)
        ]
        for wrong in ("'z', 1, NULL, '1'", "'z', 1, 'A', '-1'"):
            with pytest.raises(StoreFailed, match="constraint failed"):
                await write(store, f'INSERT INTO {{s}}"seats__0" VALUES ({wrong})')
        assert await asked(store, "SELECT count(*) FROM migrations") == [(6,)]
    async with opened(before, line):
        pass


async def test_there_is_a_way_back(before: Path) -> None:
    """Older code is refused by name; the file as it was lies beside the new one, and takes its place."""
    line = after(before / "migrations")
    async with opened(before, line):
        pass
    with pytest.raises(CodeTooOld, match="need code of version 1 or newer, and this has 0; start the newer code"):
        async with opened(before, BEFORE):
            pass
    (before / "hall.sqlite3.before-service-1").replace(before / "hall.sqlite3")
    async with opened(before, BEFORE) as store:
        assert await asked(store, "SELECT count(*) FROM seats__0") == [(5,)]
    async with opened(before, line):
        pass


async def test_a_migration_happens_or_not(before: Path) -> None:
    """Broken off at any of its steps it leaves the store as it was, and is carried out when it is opened again."""
    line = after(before / "migrations")

    class Killed(Exception):
        pass

    for last in range(6):
        connection = connect_to_write(before / "hall.sqlite3")
        steps: list[str] = []

        def killed(progress: Progress, steps: list[str] = steps, last: int = last) -> None:
            if len(steps) == last:
                raise Killed
            steps.append(progress.part.steps[progress.step - 1].sql)

        with pytest.raises(Killed):
            enter_line(connection, before / "hall.sqlite3", line, killed)
        connection.close()
        async with opened(before, BEFORE) as store:
            assert await asked(store, "SELECT count(*) FROM migrations") == [(0,)]
    async with opened(before, line) as store:
        assert await asked(store, "SELECT count(hall) FROM seats__0") == [(5,)]


async def test_rows_that_break_a_new_rule_keep_the_old_tables(before: Path) -> None:
    """The reason is told, and nothing is changed."""
    body = MIGRATION.replace('server_default="9.50"))', 'server_default="-1.00"))')
    line = after(before / "migrations", body)
    with pytest.raises(StoreFailed, match="CHECK constraint failed: dear"):
        async with opened(before, line):
            pass
    async with opened(before, BEFORE):
        pass


async def test_what_a_migration_forgets_is_told(before: Path) -> None:
    """As on PostgreSQL."""
    line = after(before / "migrations", MIGRATION.replace('op.create_index("by_hall",', "print("))
    with pytest.raises(InvalidMigration, match="no migration makes its index by_hall"):
        async with opened(before, line):
            pass


async def test_colonnade_s_own_tables_come_first(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file is opened; whoever only reads it waits for that."""
    body = """
        def expand() -> None:
            op.add_column("answers", Column("tenant", String))
    """
    written(before / "migrations", body)
    monkeypatch.setattr("colonnade.persistence.sqlite.opening.OWN_LINE", read_line(COLONNADE, before / "migrations"))
    with pytest.raises(CodeTooNew, match="Colonnade's own tables have version 0, and this code needs 1"):
        await open_sqlite_store(before / "hall.sqlite3", WORLD, read_only=True)
    async with opened(before, BEFORE) as store:
        assert await asked(store, "SELECT tenant FROM answers") == []
    reading = await open_sqlite_store(before / "hall.sqlite3", WORLD, read_only=True)
    await reading.close()
    with closing(apsw.Connection(str(before / "hall.sqlite3.before-colonnade-1"))) as copy:
        assert copy.execute("PRAGMA integrity_check").get == "ok"
