"""Where the stores of these tests lie: on each engine that read models work on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Store
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world

ENGINES = ("sqlite", "postgresql")

_IN_SQLITE = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '*__[0-9]*'"
_IN_POSTGRES = r"SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename ~ '__\d+$'"


@dataclass(frozen=True)
class Home:
    """A place for one store, which may be opened again and again, also by several at the same time."""

    engine: str
    unused: int
    """How many positions its log leaves out before the first event."""

    open: Callable[[], Awaitable[Store]]


def in_folder(folder: Path) -> Home:
    """A SQLite file."""

    async def opened() -> Store:
        return await open_sqlite_store(folder / "tabs.sqlite3", real_world())

    return Home("sqlite", 0, opened)


def on_server(url: str) -> Home:
    """A schema of its own in a PostgreSQL database."""
    schema = f"tabs_{uuid4().hex}"

    async def opened() -> Store:
        return await open_postgres_store(url, real_world(), schema=schema)

    return Home("postgresql", 1, opened)


@pytest.fixture(params=ENGINES, scope="session")
def new_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Home]:
    """Makes empty homes on the engine that the test is run for."""
    if request.param == "sqlite":
        return lambda: in_folder(tmp_path_factory.mktemp("home"))
    server: PostgresServer = request.getfixturevalue("postgres")
    return lambda: on_server(server.url())


@pytest.fixture
def home(new_home: Callable[[], Home]) -> Home:
    """An empty home on the engine that the test is run for."""
    return new_home()


async def tables_of_read_models(store: Store) -> list[str]:
    """The physical tables of read models."""
    dialect: Any = store.dialect
    asked = (_IN_SQLITE, ()) if dialect.name == "sqlite" else (_IN_POSTGRES, (dialect.tables_schema,))
    (found,) = await store.query([asked])
    return sorted(name for (name,) in found)
