"""A shop for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Store
from colonnade.system.hosts.servers.postgresql import PostgresServer
from tests.execution.shops import WORLD, Shop


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Where the shop's database is; None for a file."""
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url()


@pytest.fixture
async def shop(url: str | None, tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop with nothing sold."""
    store: Store
    if url is None:
        store = await open_sqlite_store(tmp_path / "shop.sqlite3", WORLD)
    else:
        store = await open_postgres_store(url, WORLD, schema=f"shop_{WORLD.ids.new().hex}")
    yield Shop(store)
    await store.close()
