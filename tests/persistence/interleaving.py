"""Steps of several transactions in every order: what only happens between two processes, made to happen."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import asyncpg

from colonnade.persistence.postgres import open_postgres_store
from colonnade.world import real_world

__all__ = ["Actor", "Stage", "interleavings", "sampled", "stage"]

Step = Callable[["Actor"], Awaitable[None]]


class Actor:
    """One connection and what it is to do, step by step."""

    def __init__(self, connection: Any, steps: Sequence[Step]) -> None:
        self.connection = connection
        self.pid: int = connection.get_server_pid()
        self._left = list(steps)
        self._at_work: asyncio.Future[None] | None = None
        self.seen: list[Any] = []

    @property
    def waits(self) -> bool:
        """Whether its last step waits for another actor."""
        return self._at_work is not None and not self._at_work.done()

    async def go(self, watcher: Any) -> None:
        """Do the next step, to its end or until it waits for somebody; nothing while one is at work."""
        if self.waits or not self._left:
            return
        self._finished()
        self._at_work = asyncio.ensure_future(self._left.pop(0)(self))
        while not self._at_work.done():
            await asyncio.wait([self._at_work], timeout=0.002)
            if not self._at_work.done() and await watcher.fetchval("SELECT pg_blocking_pids($1)", self.pid):
                return

    async def finish(self) -> None:
        """Do all that is left."""
        while self._at_work is not None or self._left:
            if self._at_work is not None:
                await asyncio.wait([self._at_work])
                self._finished()
            elif self._left:
                self._at_work = asyncio.ensure_future(self._left.pop(0)(self))

    def _finished(self) -> None:
        if self._at_work is not None:
            self._at_work.result()
            self._at_work = None


class Stage:
    """A store's schema, emptied for each play, and connections for the actors."""

    def __init__(self, watcher: Any, connections: Sequence[Any]) -> None:
        self.watcher = watcher
        self._connections = connections

    async def play(self, parts: Sequence[Sequence[Step]], order: Sequence[int]) -> Sequence[Actor]:
        """Let the actors do their steps in `order`, as far as they do not wait for each other."""
        actors = [Actor(connection, steps) for connection, steps in zip(self._connections, parts, strict=False)]
        for number in order:
            await actors[number].go(self.watcher)
        async with asyncio.timeout(30):
            await asyncio.gather(*(actor.finish() for actor in actors))
        return actors

    async def empty(self) -> None:
        """Forget everything."""
        await self.watcher.execute("TRUNCATE events, outbox, inbox, heads, leases, chains, losses")


@asynccontextmanager
async def stage(url: str, actors: int = 3) -> AsyncIterator[Stage]:
    """A stage on a schema of its own."""
    world = real_world()
    schema = f"play_{world.ids.new().hex}"
    store = await open_postgres_store(url, world, schema=schema)
    await store.close()
    connections = [await asyncpg.connect(url, server_settings={"search_path": schema}) for _ in range(actors + 1)]
    try:
        yield Stage(connections[0], connections[1:])
    finally:
        await connections[0].execute(f'DROP SCHEMA "{schema}" CASCADE')
        for connection in connections:
            await connection.close()


def interleavings(*counts: int) -> Iterator[tuple[int, ...]]:
    """Every order of so many steps of each actor, that keeps each actor's own."""
    if not any(counts):
        yield ()
        return
    for actor, count in enumerate(counts):
        if count:
            rest = [*counts[:actor], count - 1, *counts[actor + 1 :]]
            yield from ((actor, *order) for order in interleavings(*rest))


def sampled(seed: int, many: int, *counts: int) -> Sequence[tuple[int, ...]]:
    """So many of the orders, drawn by `seed`."""
    chance = random.Random(seed)  # noqa: S311 - orders, no secrets

    def drawn() -> Iterator[tuple[int, ...]]:
        steps = [actor for actor, count in enumerate(counts) for _ in range(count)]
        while True:
            yield tuple(chance.sample(steps, len(steps)))

    return list(islice(drawn(), many))
