"""Batches that have drawn positions and are not committed: whom they hold back is woken when they end."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from colonnade.persistence.postgres import notices
from colonnade.persistence.unit import Effect, Forget, Publish, Write
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.conformance.store.database import append, commit
from colonnade.world import real_world
from tests.persistence.reading import WITHIN_SECONDS, Projecting, Relaying, stores
from tests.persistence.stalling import stalled_at
from tests.workers.hands import running

WORLD = real_world()
MESSAGE, EVENT = Publish("shop.events", "a", UUID(int=1), b"1"), append("Sale/1", 0)


@pytest.mark.parametrize("kind", [Relaying, Projecting])
@pytest.mark.parametrize("by", ["this process", "another process"])
@pytest.mark.parametrize("comes_to_nothing", [False, True], ids=["commits", "comes to nothing"])
async def test_who_held_readers_back_wakes_them(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, kind: type, by: str, comes_to_nothing: bool
) -> None:
    """A batch with lower positions ends, and adds nothing that they wait for: they take what was behind it."""
    if by == "this process" or not comes_to_nothing:  # this is told: nobody shall find it by looking now and then
        for name in ("LOOK_SECONDS", "LISTENING_LOOK_SECONDS"):
            monkeypatch.setattr(notices, name, 3_600.0)
    async with stores(postgres, *[postgres.url()] * (1 if by == "this process" else 2)) as (first, *others):
        lock = WORLD.ids.new().int & 0x7FFF_FFFF_FFFF_FFFF
        holder = await asyncpg.connect(postgres.url())
        await holder.execute("SELECT pg_advisory_lock($1)", lock)
        reading: Relaying | Projecting = Relaying(first) if kind is Relaying else Projecting(first, "shop.Sold")
        wanted, unwanted = (MESSAGE, EVENT) if kind is Relaying else (EVENT, MESSAGE)
        try:
            async with running(reading.run):
                await reading.until(0, turns=1)
                wait = Write("SELECT pg_advisory_xact_lock($1)", (lock,))
                fail = [Write("SELECT 1 / 0", ())] if comes_to_nothing else []
                # One row twice: they are carried out one after the other
                effects: list[Effect] = [unwanted, Forget("a"), wait, *fail, Forget("a")]
                long = asyncio.ensure_future(commit([first, *others][-1], *effects))
                async with asyncio.timeout(WITHIN_SECONDS):
                    while await first.log.held() is None:
                        await WORLD.sleep(0.01)
                turns = reading.turns
                await commit(first, wanted)
                await reading.until(0, turns + 1)
                assert reading.taken == []
                await holder.execute("SELECT pg_advisory_unlock($1)", lock)
                (result,) = await asyncio.gather(long, return_exceptions=True)
                assert isinstance(result, Exception) is comes_to_nothing, result
                await reading.until(1)
        finally:
            await holder.close()


async def test_what_was_given_once_is_not_taken_back(postgres: PostgresServer) -> None:
    """A writer that stalls before its lock takes the horizon back: what was seen in the outbox is still there."""
    async with stores(postgres, postgres.url()) as (store,):
        for number in range(4):
            await commit(store, Publish("shop.events", "a", UUID(int=10 + number), b"{}"))
        rows = await store.outbox.pending(0, 3)
        rows += await store.outbox.pending(rows[-1].seq, 3)
        assert len(rows) == 4
        async with stalled_at(postgres.url(), store, rows[0].seq):
            await commit(store, MESSAGE)
            assert await store.outbox.pending(rows[1].seq, 9) == rows[2:]
        assert [row.id for row in await store.outbox.pending(rows[-1].seq, 9)] == [MESSAGE.id]
