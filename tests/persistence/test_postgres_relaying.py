"""A relay on a PostgreSQL store: it is handed what its own process committed, and looks for what others did."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.postgres import PostgresStore
from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.store import OutboxRow
from colonnade.persistence.unit import Effect, Publish, Write
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.conformance.store.database import append, commit
from tests.persistence.reading import Relaying, stores
from tests.persistence.severing import Break, severed
from tests.workers.hands import running


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements by which messages were looked for, as they are sent."""
    sent: list[str] = []
    send = Pages.all

    async def counted(pages: Pages, sql: str, *values: Any) -> Sequence[Any]:
        if "pending_messages" in sql:
            sent.append(sql)
        return await send(pages, sql, *values)

    monkeypatch.setattr(Pages, "all", counted)
    return sent


def message(number: int) -> Publish:
    """One that is known by its number."""
    return Publish("shop.events", f"key {number % 7}", UUID(int=number), b"%d" % number)


async def lying(store: PostgresStore) -> list[OutboxRow]:
    """All that is in the outbox, as whoever begins finds it."""
    return await store.outbox.pending(0, 10_000)


async def test_a_relay_alone_looks_when_it_begins(postgres: PostgresServer, looks: list[str]) -> None:
    """What its process commits from then on it is handed as it lies in the outbox, without a statement."""
    async with stores(postgres, postgres.url()) as (store,):
        await commit(store, message(0))
        relaying = Relaying(store)
        async with running(relaying.run):
            await relaying.until(1)
            for number in range(1, 20):
                events = [append(f"Sale/{number}", 0, "shop.Sold", "shop.Paid")] if number % 3 else []
                await commit(store, *events, message(number), message(number + 100))
                await relaying.until(1 + 2 * number)
            assert len(looks) == 1
        assert relaying.taken == await lying(store)


async def test_many_commits_at_once_are_handed_on_in_order(postgres: PostgresServer, looks: list[str]) -> None:
    """Also those of a second writer, whose positions lie between the first one's, and those that conflict."""
    async with stores(postgres, postgres.url()) as (store,):
        relaying = Relaying(store)
        async with running(relaying.run):
            await relaying.until(0, turns=1)

            async def work(number: int) -> int:
                effects: list[Effect] = [message(number)]
                if number % 3 == 0:
                    effects.insert(0, append(f"Sale/{number % 30}", 0))
                if number % 5 == 0:
                    effects.append(Write("SELECT 1", ()))
                try:
                    await commit(store, *effects)
                except StoreFailed:
                    raise
                except Exception:
                    return 0
                return 1

            messages = 0
            for wave in range(8):
                messages += sum(await asyncio.gather(*(work(wave * 50 + number) for number in range(50))))
            await relaying.until(messages)
        assert relaying.taken == await lying(store)
        assert len(looks) < messages / 2


async def test_what_another_process_commits_between_is_not_skipped(postgres: PostgresServer) -> None:
    """Two publish as fast as they can, one relays: it gets everything of both, in order, within seconds."""
    async with stores(postgres, postgres.url(), postgres.url()) as (first, second):
        relaying = Relaying(first)
        async with running(relaying.run):

            async def work(store: PostgresStore, begin: int) -> None:
                for number in range(begin, begin + 40):
                    events = [append(f"Sale/{number}", 0)] if number % 3 == 0 else []
                    await commit(store, *events, message(number))

            await asyncio.gather(*(work((first, second)[lane % 2], lane * 1_000) for lane in range(6)))
            await relaying.until(240)
        assert relaying.taken == await lying(second)
        assert len(relaying.taken) == 240


async def test_what_was_committed_over_a_broken_connection_is_relayed(postgres: PostgresServer) -> None:
    """Though what it had drawn went with the connection; and what is committed after it."""
    async with severed(postgres) as way, stores(postgres, way.url) as (store,):
        relaying = Relaying(store)
        async with running(relaying.run):
            await commit(store, message(1))
            await relaying.until(1)
            way.at(b"broken", Break.NOT_ANSWERED)
            await commit(store, Publish("shop.events", "broken", UUID(int=2), b"2"), message(3))
            assert way.broken.is_set()
            await relaying.until(3)
            await commit(store, message(4))
            await relaying.until(4)
        assert relaying.taken == await lying(store)
