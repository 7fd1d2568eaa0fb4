"""The PostgreSQL store keeps what every store promises."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.store import Store
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.conformance.store import Database, StoreConformance
from colonnade.world import real_world


class TestPostgresStore(StoreConformance):
    """The whole suite, on a schema for each test."""

    machine_runs = 8

    @pytest.fixture(autouse=True)
    def _server(self, postgres: PostgresServer) -> None:
        self._url = postgres.url()

    def empty_database(self) -> AbstractAsyncContextManager[Database]:
        return _schema(self._url)


@asynccontextmanager
async def _schema(url: str) -> AsyncIterator[Database]:
    world = real_world()
    schema = f"shop_{world.ids.new().hex}"

    async def database() -> Store:
        return await open_postgres_store(url, world, schema=schema)

    yield database
    connection = await asyncpg.connect(url)
    await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    await connection.close()
