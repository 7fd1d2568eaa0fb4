"""A primary and a streaming standby for tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import pytest

from colonnade.system.hosts.servers.postgresql import PostgresServer, postgresql
from colonnade.system.hosts.servers.standby import PostgresStandby, standby
from colonnade.world import real_world
from tests.servers.running import kept, own_folder

# Their processes are killed, their machine is not
UNSAFE = {"fsync": "off"}


@dataclass(frozen=True)
class Pair:
    """Two servers of which the second follows the first."""

    primary: PostgresServer
    second: PostgresStandby

    async def database(self) -> tuple[str, str]:
        """A new database of a role of its own, there and here."""
        name = f"tabs_{uuid4().hex}"
        url = await self.primary.create_database(name, name, "secret")
        return url, self.second.url(name, name, "secret")

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[None]:
        """The second has all that the first has, and from here on takes over nothing new, for the length of a block."""
        await self.caught_up()
        connection = await asyncpg.connect(self.second.url())
        try:
            await connection.execute("SELECT pg_wal_replay_pause()")
            while await connection.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            try:
                yield
            finally:
                await connection.execute("SELECT pg_wal_replay_resume()")
        finally:
            await connection.close()
        await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until the second has all that the first has."""
        first, second = await asyncpg.connect(self.primary.url()), await asyncpg.connect(self.second.url())
        try:
            reached = await first.fetchval("SELECT pg_current_wal_flush_lsn()")
            while await second.fetchval("SELECT pg_last_wal_replay_lsn()") < reached:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            await first.close()
            await second.close()

    def either(self, url: str) -> str:
        """The address of a database on whichever of the two takes writes, made of that on the first."""
        both = f"{self.primary.host}:{self.primary.port},{self.second.host}:{self.second.port}"
        return f"{url.replace(f'{self.primary.host}:{self.primary.port}', both)}?target_session_attrs=read-write"

    async def cut(self) -> None:
        """Let nothing more through to the second, for good."""
        await self.caught_up()
        connection = await asyncpg.connect(self.primary.url())
        try:
            while True:
                await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
                with suppress(asyncpg.ObjectInUseError):
                    await connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
                    break
                await asyncio.sleep(0.01)
        finally:
            await connection.close()


@asynccontextmanager
async def own_pair() -> AsyncIterator[Pair]:
    """A primary and its standby for one test, which may kill and promote them."""
    world = real_world()
    with own_folder("primary") as one, own_folder("second") as other:
        async with (
            postgresql(one, world, settings=UNSAFE) as primary,
            standby(primary, other, world, settings=UNSAFE) as second,
        ):
            yield Pair(primary, second)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A primary and its standby for the tests of a module: each makes a database of its own."""
    world = real_world()
    with (
        own_folder("primary") as one,
        own_folder("second") as other,
        kept(postgresql(one, world, settings=UNSAFE)) as primary,
        kept(standby(primary, other, world, settings=UNSAFE)) as second,
    ):
        yield Pair(primary, second)
