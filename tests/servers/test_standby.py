"""A streaming standby of PostgreSQL."""

from pathlib import Path

import asyncpg

from colonnade.system.hosts.servers.postgresql import postgresql
from colonnade.system.hosts.servers.standby import standby
from colonnade.world import real_world

WORLD = real_world()


async def test_a_standby_follows_and_takes_over(tmp_path: Path) -> None:
    """It has what the primary acknowledged, takes no writes until it is promoted, and goes on as a primary."""
    async with (
        # Acknowledged once the standby has applied it: a read there needs no waiting
        postgresql(
            tmp_path / "primary",
            WORLD,
            settings={"synchronous_standby_names": "second", "synchronous_commit": "local"},
        ) as primary,
        standby(primary, tmp_path / "second", WORLD, slot="second") as second,
    ):
        writer = await asyncpg.connect(primary.url())
        await writer.execute("SET synchronous_commit = remote_apply")
        await writer.execute("CREATE TABLE kept (number integer)")
        await writer.execute("INSERT INTO kept VALUES (7)")
        reader = await asyncpg.connect(second.url())
        assert await reader.fetchval("SELECT number FROM kept") == 7
        try:
            await reader.execute("INSERT INTO kept VALUES (8)")
            raise AssertionError("a standby took a write")
        except asyncpg.ReadOnlySQLTransactionError:
            await reader.close()

        await second.kill()
        await second.start()
        await writer.execute("INSERT INTO kept VALUES (8)")
        await primary.kill()
        await second.promote()
        taking_over = await asyncpg.connect(second.url())
        await taking_over.execute("INSERT INTO kept VALUES (9)")
        assert await taking_over.fetchval("SELECT array_agg(number) FROM kept") == [7, 8, 9]
        await second.kill()
        await second.start()
        again = await asyncpg.connect(second.url())
        assert await again.fetchval("SELECT pg_is_in_recovery()") is False
        await again.close()
