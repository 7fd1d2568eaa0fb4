"""The street, on the engines of one process, and on those of a fleet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from colonnade.brokers.nats import connect_to_nats
from colonnade.caching.valkey import ValkeyCache
from colonnade.persistence import DataDirectory
from colonnade.persistence.postgres import PostgresInstance, open_postgres_store
from colonnade.persistence.store import Store
from colonnade.security.tenants import Tenant
from colonnade.system.engines import Engines, engines_of
from colonnade.system.hosts.servers.nats import NatsServer
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.valkey import ValkeyServer
from tests.tenancy.houses import WORLD, Street, street

Servers = tuple[PostgresServer, NatsServer, ValkeyServer]


@pytest.fixture(params=["embedded", "on servers"])
def servers(request: pytest.FixtureRequest) -> Servers | None:
    """What a fleet's engines need; None for those of one process."""
    if request.param == "embedded":
        return None
    postgres, nats, valkey = (request.getfixturevalue(name) for name in ("postgres", "nats", "valkey"))
    return postgres, nats, valkey


@pytest.fixture
async def both(servers: Servers | None, tmp_path: Path) -> AsyncIterator[Street]:
    """Two tenants who have said nothing yet."""
    async with street(tmp_path) if servers is None else _on_servers(tmp_path, *servers) as both:
        yield both


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Street]:
    """The same, in one process whatever the engines."""
    async with street(tmp_path) as both:
        yield both


@asynccontextmanager
async def _on_servers(
    folder: Path, postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer
) -> AsyncIterator[Street]:
    name = f"board{WORLD.ids.new().hex}"
    # In one database: what a service has of its own in a fleet is not at stake here, and takes time to make
    url = postgres.url()
    instance = PostgresInstance(url, WORLD)
    broker = await connect_to_nats(nats.url, WORLD, prefix=name)
    cache = ValkeyCache(valkey.url, name, WORLD)
    schemas: list[str] = []

    def engines(common: Engines, tenant: Tenant) -> Engines:
        async def open_store(service: str) -> Store:
            schemas.append(f"{name}_{tenant.name}_{service}")
            return await open_postgres_store(url, WORLD, schema=schemas[-1], within=instance)

        return engines_of(tenant, common, WORLD, DataDirectory(folder), open_store)

    try:
        async with street(folder, broker, cache, engines, loops={"cache": cache.run}) as both:
            yield both
    finally:
        await instance.close()
        connection = await asyncpg.connect(url)
        for schema in schemas:
            await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
        await connection.close()
