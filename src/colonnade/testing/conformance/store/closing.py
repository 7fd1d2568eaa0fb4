"""The end of a store: what was taken is finished, what comes later is told so, and it opens again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.schema import CreateTable

from colonnade.persistence.failures import StoreClosed
from colonnade.persistence.store import Committed, Store
from colonnade.testing.conformance.store.database import NOW, WORLD, StoreSuite, append, commit, sql

__all__ = ["ClosingSuite"]

LATE = Table("late", MetaData(), Column("a", Integer))
ASKED: dict[str, Callable[[Store], Awaitable[object]]] = {
    "commit": lambda store: commit(store, append("Sale/late", 0)),
    "load": lambda store: store.log.load(["Sale/1"], snapshots=True),
    "log": lambda store: store.log.read(),
    "outbox": lambda store: store.outbox.pending(0, 1),
    "left": lambda store: store.outbox.left(1),
    "inbox": lambda store: store.inbox.due(NOW, 1),
    "timers": lambda store: store.timers.due(NOW, 1),
    "acquire": lambda store: store.leases.acquire("relay", "a", 1.0),
    "checkpoint": lambda store: store.checkpoint("Sales"),
    "answers": lambda store: store.answers("scope"),
    "define": lambda store: store.define([sql(store, CreateTable(LATE))]),
    "prune": lambda store: store.prune([], NOW, 1),
    "query": lambda store: store.query([("SELECT 1", ())]),
}


class ClosingSuite(StoreSuite):
    """Nothing is left half-way."""

    async def test_closing_finishes_what_was_taken(self) -> None:
        """Units taken before `close`, though it may be called more than once, are committed and told so."""
        async with self.empty_database() as database:
            store = await database()
            waiting = [asyncio.ensure_future(commit(store, append(f"Sale/{number}", 0))) for number in range(200)]
            await WORLD.sleep(0)
            await asyncio.gather(store.close(), store.close())
            assert all(each.done() for each in waiting)
            assert all(isinstance(result, Committed) for result in await asyncio.gather(*waiting))
            await store.close()
            again = await database()
            assert len(await again.log.streams("Sale")) == 200
            await again.close()

    async def test_closing_waits_for_the_queries_at_hand(self) -> None:
        """Who had asked before is answered."""
        async with self.empty_database() as database:
            store = await database()
            query = asyncio.ensure_future(store.query([("SELECT 1", ())]))
            several = asyncio.ensure_future(store.query([("SELECT 7", ())] * 2))
            await WORLD.sleep(0)
            await store.close()
            assert (await query, await several) == ([[(1,)]], [[(7,)]] * 2)

    async def test_a_close_that_was_cancelled_can_be_done_again(self) -> None:
        """However far it had come: what was taken is committed, and the database opens again."""
        async with self.empty_database() as database:
            for turns in range(5):
                store = await database()
                waiting = asyncio.ensure_future(commit(store, append("Sale/1", turns)))
                await WORLD.sleep(0)
                closing = asyncio.ensure_future(store.close())
                for _ in range(turns):
                    await WORLD.sleep(0)
                closing.cancel()
                await asyncio.wait([closing])
                await store.close()
                assert isinstance(await waiting, Committed)

    @pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED.keys())
    async def test_a_closed_store_says_so(self, ask: Callable[[Store], Awaitable[object]]) -> None:
        """Whatever it is asked."""
        async with self.empty_database() as database:
            store = await database()
            await ask(store)
            await store.close()
            with pytest.raises(StoreClosed):
                await ask(store)
