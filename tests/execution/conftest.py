"""A shop for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from colonnade.persistence.sqlite import open_sqlite_store
from tests.execution.shops import WORLD, Shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop with nothing sold."""
    store = await open_sqlite_store(tmp_path / "shop.sqlite3", WORLD)
    yield Shop(store)
    await store.close()
