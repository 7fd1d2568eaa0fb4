"""PostgreSQL from its wheel."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import postgresql
from colonnade.world import real_world

WORLD = real_world()


async def test_what_was_committed_outlives_a_kill(tmp_path: Path) -> None:
    """Killed with -9 and started again it has all that it had acknowledged, at the same address."""
    async with postgresql(tmp_path, WORLD) as server:
        url = await server.create_database("shop")
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept (number integer)")
        await connection.execute("INSERT INTO kept VALUES (7)")
        await server.kill()
        assert not server.child.is_running
        await server.start()
        again = await asyncpg.connect(url)
        assert await again.fetchval("SELECT number FROM kept") == 7
        await again.close()


async def test_each_service_has_a_database_and_a_role(tmp_path: Path) -> None:
    """Made once, however often asked; its role owns it and is no superuser."""
    async with postgresql(tmp_path, WORLD) as server:
        url = await server.create_database("shop", password="it's")
        assert await server.create_database("shop", password="it's") == url
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE SCHEMA mine")
        row = await connection.fetchrow("SELECT current_user, usesuper FROM pg_user WHERE usename = current_user")
        assert tuple(row) == ("shop", False)
        await connection.close()


async def test_it_does_not_run_as_root(tmp_path: Path) -> None:
    """Whoever starts it."""
    async with postgresql(tmp_path, WORLD) as server:
        status = Path(f"/proc/{server.child.pid}/status").read_text()
        (uids,) = (line for line in status.splitlines() if line.startswith("Uid:"))
        assert "0" not in uids.split()[1:]


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """With the end of its log: here the port is taken."""
    async with postgresql(tmp_path / "first", WORLD) as first:
        with pytest.raises(ServerFailed, match=r"(?s)PostgreSQL failed: it ended at once; its log ends with:.*in use"):
            async with postgresql(tmp_path / "second", WORLD, port=first.port):
                pass


def test_nothing_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    """The server and all its processes end with it."""
    port = free_port()
    program = (
        "import asyncio, pathlib, sys\n"
        "from colonnade.system.hosts.servers.postgresql import postgresql\n"
        "from colonnade.world import real_world\n"
        "async def main():\n"
        f"    async with postgresql(pathlib.Path({str(tmp_path)!r}), real_world(), port={port}) as server:\n"
        "        print(server.child.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = os.pidfd_open(int(starter.stdout.readline()))
        os.kill(starter.pid, signal.SIGKILL)
    try:
        ended, _, _ = select.select([server], [], [], 30)
        assert ended == [server]
    finally:
        os.close(server)
