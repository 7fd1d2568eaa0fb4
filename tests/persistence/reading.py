"""Readers of a PostgreSQL store that sleep until they are woken, as relays and projections do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from operator import attrgetter
from typing import Generic, TypeVar

import asyncpg

from colonnade.persistence.postgres import PostgresStore, open_postgres_store
from colonnade.persistence.store import OutboxRow, StoredEvent, Touched
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.workers.waking import LONGEST_WAIT_SECONDS, Waking
from colonnade.world import real_world

__all__ = ["Projecting", "Reading", "Relaying", "stores"]

WORLD = real_world()
WITHIN_SECONDS = 20.0
assert WITHIN_SECONDS < LONGEST_WAIT_SECONDS
PAGE_ROWS = 16

Row = TypeVar("Row")


@asynccontextmanager
async def stores(server: PostgresServer, *urls: str) -> AsyncIterator[Sequence[PostgresStore]]:
    """One store, opened at each of `urls`, as by as many processes."""
    schema = f"relaying_{WORLD.ids.new().hex}"
    async with AsyncExitStack() as opened:
        found = []
        for url in urls:
            found.append(await open_postgres_store(url, WORLD, schema=schema))
            opened.push_async_callback(found[-1].close)
        yield found
    connection = await asyncpg.connect(server.url())
    await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await connection.close()


class Reading(Generic[Row]):
    """Reads on from where it is whenever it is woken."""

    def __init__(
        self,
        store: PostgresStore,
        interest: Touched,
        read: Callable[[int, int], Awaitable[Sequence[Row]]],
        place: Callable[[Row], int],
    ) -> None:
        self._read = read
        self._place = place
        self._waking = Waking(interest, WORLD.clock)
        store.watch(self._waking.touched)
        self.taken: list[Row] = []
        self.turns = 0
        self._turned = asyncio.Condition()

    async def run(self) -> None:
        """Until it is cancelled."""
        after = 0
        while True:
            self._waking.clear()
            page = await self._read(after, PAGE_ROWS)
            self.taken += page
            if page:
                after = self._place(page[-1])
            async with self._turned:
                self.turns += 1
                self._turned.notify_all()
            if len(page) < PAGE_ROWS:
                await self._waking.wait()

    async def until(self, taken: int, turns: int = 0) -> None:
        """Wait until it has taken so much, in so many turns or more."""
        async with asyncio.timeout(WITHIN_SECONDS), self._turned:
            await self._turned.wait_for(lambda: len(self.taken) >= taken and self.turns >= turns)


class Relaying(Reading[OutboxRow]):
    """Takes messages as a relay does."""

    def __init__(self, store: PostgresStore) -> None:
        super().__init__(store, Touched.OUTBOX, store.outbox.pending, attrgetter("seq"))


class Projecting(Reading[StoredEvent]):
    """Takes events as a projection does."""

    def __init__(self, store: PostgresStore, *names: str) -> None:
        async def read(after: int, limit: int) -> Sequence[StoredEvent]:
            return (await store.log.page(after, limit, names))[1]

        super().__init__(store, Touched.EVENTS, read, attrgetter("position"))
