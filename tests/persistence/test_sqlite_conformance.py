"""The SQLite store keeps what every store promises."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Store
from colonnade.testing.conformance.store import Database, StoreConformance
from colonnade.world import real_world


class TestSqliteStore(StoreConformance):
    """The whole suite, on a file for each test."""

    def empty_database(self) -> AbstractAsyncContextManager[Database]:
        return _file()


@asynccontextmanager
async def _file() -> AsyncIterator[Database]:
    with TemporaryDirectory() as folder:

        async def database() -> Store:
            return await open_sqlite_store(Path(folder) / "shop.sqlite3", real_world())

        yield database
