"""A PostgreSQL that follows another one by streaming replication."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.server import running
from colonnade.world import World

__all__ = ["PostgresStandby", "standby"]


class PostgresStandby(PostgresServer):
    """A copy of a primary that answers reads, lags by what the network takes, and can become a primary itself.

    The primary keeps for it, in a replication slot, what it has not seen yet. To the primary's
    `synchronous_standby_names` it is known by the slot's name.
    """

    def __init__(
        self, primary: PostgresServer, folder: Path, world: World, *, slot: str, port: int, settings: Mapping[str, str]
    ) -> None:
        self._primary, self._slot = primary, slot
        following = {
            "primary_conninfo": f"host={primary.host} port={primary.port} user=postgres application_name={slot}",
            "primary_slot_name": slot,
            "hot_standby": "on",
        }
        # Not fewer connections than the primary has: it would not start (PostgreSQL, 26.4.3)
        super().__init__(folder, world, port=port, connections=primary.connections, settings={**following, **settings})

    async def fill(self, empty: Path) -> None:
        """Copy the primary, which must run."""
        import asyncpg

        connection = await asyncpg.connect(self._primary.url())
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", self._slot):
                await connection.execute("SELECT pg_create_physical_replication_slot($1)", self._slot)
        finally:
            await connection.close()
        await self.run(
            "pg_basebackup", "-d", self._primary.url(), "-D", str(empty), "-X", "stream", "-S", self._slot,
            "--checkpoint=fast", "--write-recovery-conf",
        )  # fmt: skip

    async def promote(self) -> None:
        """Make it a primary, for good; it takes writes when this returns. The old primary is not told."""
        import asyncpg

        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute("SELECT pg_promote()")  # which waits until it is done
        finally:
            await connection.close()


@asynccontextmanager
async def standby(
    primary: PostgresServer,
    folder: Path,
    world: World,
    *,
    slot: str = "standby",
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[PostgresStandby]:
    """A standby of `primary` on `folder`, as long as the block lasts; raises `ServerFailed`."""
    server = PostgresStandby(primary, folder, world, slot=slot, port=port or free_port(), settings=settings or {})
    async with running(server):
        yield server
