"""A PgBouncer of Debian's package before a PostgreSQL, in transaction pooling as teams run it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from struct import pack

from colonnade.system.hosts.servers.child import Child, unprivileged
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.server import HOST, Server, running
from colonnade.world import World
from tests.servers.debian import installed

__all__ = ["PgBouncerServer", "pgbouncer"]

_SSL_REQUEST = pack(">ii", 8, 80877103)
"""The first question of PostgreSQL's protocol; PgBouncer answers it without asking a server."""


class PgBouncerServer(Server):
    """One pooler; it takes every role of the PostgreSQL behind it, and trusts as that does."""

    def __init__(
        self, folder: Path, world: World, behind: PostgresServer, *, port: int, settings: Mapping[str, str]
    ) -> None:
        self._folder = folder.resolve()
        self._configuration = self._folder / "pgbouncer.ini"
        self._settings = {
            "listen_addr": HOST,
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_user": "postgres",
            "auth_query": "SELECT rolname, NULL FROM pg_roles WHERE rolname = $1",
            "pool_mode": "transaction",
            "default_pool_size": "20",
            "max_client_conn": "500",
            **settings,
        }
        self._behind = behind
        command = [str(installed("pgbouncer", "pgbouncer")), str(self._configuration)]
        # It refuses to run as root
        child = Child("PgBouncer", command, self._folder / "pgbouncer.log", user=unprivileged())
        super().__init__(child, port, world)

    def url(self, database: str = "postgres", role: str = "postgres") -> str:
        """Where a database of the PostgreSQL behind it is, for a role."""
        return self._behind.url(database, role).replace(f":{self._behind.port}/", f":{self.port}/")

    async def prepare(self) -> None:
        """Write its configuration."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name} = {value}" for name, value in self._settings.items()]
        where = f"* = host={self._behind.host} port={self._behind.port}"
        self._configuration.write_text("\n".join(["[databases]", where, "", "[pgbouncer]", *lines, ""]))

    async def answers(self) -> bool:
        """It says whether it speaks TLS."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(_SSL_REQUEST)
            return await reader.readexactly(1) in (b"N", b"S")
        finally:
            writer.close()


@asynccontextmanager
async def pgbouncer(
    folder: Path,
    world: World,
    behind: PostgresServer,
    *,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[PgBouncerServer]:
    """A PgBouncer before the PostgreSQL `behind`, as long as the block lasts; skips where it is not installed."""
    server = PgBouncerServer(folder, world, behind, port=port or free_port(), settings=settings or {})
    async with running(server):
        yield server
