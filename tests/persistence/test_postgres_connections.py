"""What is left on a connection by those who had it before."""

import asyncpg
import pytest

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.postgres import open_postgres_store
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world

WORLD = real_world()


async def test_values_that_cannot_be_sent_leave_nothing_locked(postgres: PostgresServer) -> None:
    """A statement whose values have no form on the wire has ended all the same: its tables can be changed."""
    schema = f"left_{WORLD.ids.new().hex}"
    store = await open_postgres_store(postgres.url(), WORLD, schema=schema)
    with pytest.raises(StoreFailed, match="out of"):
        await store.log.stream("Sale/1", limit=1 << 80)
    watcher = await asyncpg.connect(postgres.url())
    locked = "SELECT count(*) FROM pg_locks WHERE relation = $1::text::regclass"
    assert await watcher.fetchval(locked, f'"{schema}".events') == 0
    await store.close()
    await watcher.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await watcher.close()


async def test_who_only_reads_writes_nothing_when_it_goes(postgres: PostgresServer) -> None:
    """Nor does it try: the server has no error to log."""
    schema = f"read_{WORLD.ids.new().hex}"
    store = await open_postgres_store(postgres.url(), WORLD, schema=schema)
    reader = await open_postgres_store(postgres.url(), WORLD, schema=schema, read_only=True)
    assert await reader.log.read() == []
    await reader.close()
    assert schema not in postgres.child.log.read_text()
    await store.close()
    watcher = await asyncpg.connect(postgres.url())
    await watcher.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await watcher.close()
