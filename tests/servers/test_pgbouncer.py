"""PgBouncer from Debian's package."""

from pathlib import Path

import asyncpg
import pytest

from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world
from tests.servers.pgbouncer import pgbouncer

WORLD = real_world()


async def test_it_pools_transactions_for_every_role(tmp_path: Path, postgres: PostgresServer) -> None:
    """Two clients share one connection of the server, as the role that each came as, also after a kill."""
    await postgres.create_database("pooled")
    async with pgbouncer(tmp_path, WORLD, postgres, settings={"default_pool_size": "1"}) as server:
        first, second = [await _connect(server.url("pooled", "pooled")) for _ in range(2)]
        question = "SELECT pg_backend_pid(), current_user::text"
        told = [tuple(await client.fetchrow(question)) for client in (first, second, first)]
        assert told[0] == told[1] == told[2]
        assert told[0][1] == "pooled"
        await server.kill()
        with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
            await _connect(server.url("pooled", "pooled"))
        await server.start()
        third = await _connect(server.url("pooled", "pooled"))
        assert await third.fetchval("SELECT 1") == 1
        for client in (first, second, third):
            client.terminate()
    assert not server.is_running


async def test_it_does_not_run_as_root(tmp_path: Path, postgres: PostgresServer) -> None:
    """It would refuse to."""
    async with pgbouncer(tmp_path, WORLD, postgres) as server:
        status = Path(f"/proc/{server.child.pid}/status").read_text()
        (uids,) = (line for line in status.splitlines() if line.startswith("Uid:"))
        assert "0" not in uids.split()[1:]


async def _connect(url: str) -> asyncpg.Connection:
    """A client that keeps nothing on the connection, as behind a pooler."""
    return await asyncpg.connect(url, statement_cache_size=0)
