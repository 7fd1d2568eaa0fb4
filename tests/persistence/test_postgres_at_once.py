"""Two processes on one PostgreSQL store that do messages at once, and find those of each other in the inbox."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from colonnade.observability.foreground import Foreground
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.postgres.sealing import candidate
from colonnade.persistence.store import Store
from colonnade.persistence.unit import Effect, Unit
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.conformance.store.database import append
from colonnade.workers.at_once import AtOnce
from colonnade.workers.worker import Worker
from colonnade.world import real_world
from tests.workers.bench import times
from tests.workers.counter import WORK, Clerk, message
from tests.workers.hands import Commits, running

WORLD = real_world()
KEYS = ("a", "b", "c")
SENDERS = 6
MESSAGES = 24
WITHIN_SECONDS = 60.0


@asynccontextmanager
async def instances(url: str, failing: int) -> AsyncIterator[tuple[Store, list[AtOnce]]]:
    """Two of them at work, in which the first messages of each line fail so often."""
    schema = f"at_once_{WORLD.ids.new().hex}"
    async with AsyncExitStack() as opened:
        at_once = []
        stores = [await open_postgres_store(url, WORLD, schema=schema) for _ in range(2)]
        for store in stores:
            opened.push_async_callback(store.close)
            each = AtOnce(store, WORLD)
            clerk = Clerk(store, WORLD, each)
            clerk.faults |= {key: times(failing, lambda: RuntimeError("not now")) for key in KEYS}
            worker = Worker("shop", store, {WORK: clerk}, WORLD, Foreground(), at_once=each)
            await opened.enter_async_context(running(worker.run))
            at_once.append(each)
        yield stores[0], at_once
    connection = await asyncpg.connect(url)
    await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await connection.close()


@pytest.mark.parametrize("failing", [0, 1])
async def test_each_sender_s_order_is_kept(postgres: PostgresServer, failing: int) -> None:
    """And each message takes effect once, whichever of them does it and whether at once or from the inbox."""
    async with instances(postgres.url(), failing) as (store, at_once), asyncio.timeout(WITHIN_SECONDS):

        async def send(sender: int) -> None:
            # Now through the one, now through the other, as a client behind a balancer does
            for number in range(MESSAGES):
                effects = [message(KEYS[number % 3], f"{sender} {number}")]
                through = at_once[(sender + number // 3) % 2]
                await through.commit(Unit(WORLD.clock.micros(), UUID(int=3), effects=effects))

        await asyncio.gather(*(send(sender) for sender in range(SENDERS)))

        async def all_are_done() -> bool:
            return await store.inbox.unhandled() == 0

        await Commits(store).until(all_are_done)
        for place, key in enumerate(KEYS):
            events = await store.log.stream(f"Done/{key}", limit=SENDERS * MESSAGES)
            done = [event.data.decode().strip('"') for event in events]
            for sender in range(SENDERS):
                said = [each for each in done if each.startswith(f"{sender} ")]
                assert said == [f"{sender} {number}" for number in range(place, MESSAGES, 3)]


def test_followers_that_go_on_in_a_stream_go_into_the_batch() -> None:
    """One after the other, each effect in a statement of its own, they would take many times as long."""
    first, second = _unit(append("Sale/1", 0)), _unit(append("Sale/1", 1), append("Sale/1", 2))
    assert not candidate(0, _unit(followers=[first, second])).apart
    assert candidate(0, _unit(followers=[first, first])).apart


def _unit(*effects: Effect, followers: Sequence[Unit] = ()) -> Unit:
    return Unit(1, UUID(int=1), effects=[*effects], followers=followers)
