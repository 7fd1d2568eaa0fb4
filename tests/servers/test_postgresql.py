"""PostgreSQL from its wheel."""

import os
import signal
from pathlib import Path

import asyncpg
import pytest

from colonnade.system.hosts.servers import postgresql as module
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer, postgresql
from colonnade.world import real_world
from tests.servers.starters import ends_with_its_starter, started

WORLD = real_world()


async def test_what_was_committed_outlives_a_kill(tmp_path: Path) -> None:
    """Killed with -9 and started again it has all that it had acknowledged, at the same address."""
    async with postgresql(tmp_path, WORLD) as server:
        url = await server.create_database("shop")
        # As durable as those of production, or a proof on development servers would prove nothing
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert await _fetchval(url, f"SHOW {setting}") == "on", setting
        assert "syncing data to disk ... ok" in server.child.log.read_text()
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept (number integer)")
        await connection.execute("INSERT INTO kept VALUES (7)")
        await server.kill()
        assert not server.is_running
        await server.start()
        assert await _fetchval(url, "SELECT number FROM kept") == 7


async def test_it_starts_again_after_somebody_else_killed_it_alone(tmp_path: Path) -> None:
    """Its processes, which outlive it for a moment, are waited for."""
    async with postgresql(tmp_path, WORLD) as server:
        connections = [await asyncpg.connect(server.url()) for _ in range(10)]
        assert server.child.pid is not None
        os.kill(server.child.pid, signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
        await server.start()
        assert await _fetchval(server.url(), "SELECT 1") == 1
        for connection in connections:
            connection.terminate()


async def test_stopped_and_started_it_is_as_it_was(tmp_path: Path) -> None:
    """On its folder, by another starter and on another port."""
    async with postgresql(tmp_path, WORLD) as server:
        await server.create_database("shop", role="keeper")
    assert not server.is_running
    async with postgresql(tmp_path, WORLD, connections=33, settings={"work_mem": "5MB"}) as again:
        url = again.url("shop", "keeper")
        assert await _fetchval(url, "SELECT current_setting('max_connections')") == "33"
        assert await _fetchval(url, "SELECT current_setting('work_mem')") == "5MB"


async def test_each_service_has_a_database_and_a_role(postgres: PostgresServer) -> None:
    """Made once, however often asked; its role owns it and is no superuser."""
    url = await postgres.create_database("a shop", password="it's")
    assert await postgres.create_database("a shop", password="it's") == url
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE SCHEMA mine")
    row = await connection.fetchrow("SELECT current_user, usesuper FROM pg_user WHERE usename = current_user")
    assert tuple(row) == ("a shop", False)
    await connection.close()


def test_it_does_not_run_as_root(postgres: PostgresServer) -> None:
    """Whoever starts it."""
    status = Path(f"/proc/{postgres.child.pid}/status").read_text()
    (uids,) = (line for line in status.splitlines() if line.startswith("Uid:"))
    assert "0" not in uids.split()[1:]


async def test_a_port_that_is_taken_is_named(tmp_path: Path, postgres: PostgresServer) -> None:
    """Before anything is started, and with the remedy."""
    with pytest.raises(ServerFailed, match=rf"port {postgres.port} is taken by another program: give it another port"):
        async with postgresql(tmp_path, WORLD, port=postgres.port):
            pass
    assert not (tmp_path / "postgresql").exists()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """With its exit code and the end of its log; and then does not run."""
    server = PostgresServer(tmp_path, WORLD, port=free_port(), connections=10, settings={"wal_level": "nonsense"})
    with pytest.raises(ServerFailed, match=r"(?s)PostgreSQL failed: it ended before it was ready, .*wal_level.*nonse"):
        await server.start()
    assert not server.is_running


async def test_a_folder_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """And both versions are named."""
    data = tmp_path / "postgresql"
    data.mkdir()
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(ServerFailed, match=r"was made by PostgreSQL 16, and this is 18: move the folder away"):
        async with postgresql(tmp_path, WORLD):
            pass
    assert (data / "PG_VERSION").read_text() == "16\n"


async def test_a_start_that_was_broken_off_is_begun_anew(tmp_path: Path) -> None:
    """A data directory is there whole or not at all."""
    half = tmp_path / "postgresql.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    async with postgresql(tmp_path, WORLD) as server:
        assert await _fetchval(server.url(), "SELECT 1") == 1
    assert not half.exists()


async def test_it_starts_again_where_another_starter_was_killed_just_now(tmp_path: Path) -> None:
    """On the same folder and port, while what that one had started still ends."""
    port = free_port()
    starter = started(module.__name__, "postgresql", tmp_path, port=port)
    starter.process.kill()
    async with postgresql(tmp_path, WORLD, port=port) as server:
        assert server.child.pid != starter.server
        assert await _fetchval(server.url(), "SELECT 1") == 1
    starter.process.wait()


def test_nothing_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    """The server ends with it, and its own processes with the server."""
    assert ends_with_its_starter(module.__name__, "postgresql", tmp_path)


async def _fetchval(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
