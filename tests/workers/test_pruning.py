"""What has left stays for a while, on both engines, and no longer than it may."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from colonnade.brokers.memory import MemoryBroker
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.store import OutboxRow, Store
from colonnade.persistence.unit import Answer, ChainId, Relayed
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.workers.pruning import PRUNE_EVERY_SECONDS, PRUNE_ROWS, ROW_BYTES, Pruning, Retention
from colonnade.workers.refetching import Obstacle, from_outbox
from colonnade.workers.relay import Relay
from colonnade.world import World, real_world
from tests.workers.hands import HandClock, commit, opened, published, running, world_of

EVENTS = "shop.events"
DAY_SECONDS = 86_400.0


@pytest.fixture
def clock() -> HandClock:
    """The time, which the test moves."""
    return HandClock()


@pytest.fixture
def world(clock: HandClock) -> World:
    """The world in which it passes."""
    return world_of(clock)


@pytest.fixture(params=["sqlite", "postgres"])
async def shop(
    request: pytest.FixtureRequest, tmp_path: Path, world: World, postgres: PostgresServer
) -> AsyncIterator[Store]:
    """The shop's store on each engine."""
    if request.param == "sqlite":
        async with opened(tmp_path, world) as store:
            yield store
        return
    schema = f"shop_{real_world().ids.new().hex}"
    on_server = await open_postgres_store(postgres.url(), real_world(), schema=schema)
    try:
        yield on_server
    finally:
        await on_server.close()


async def kept(store: Store) -> list[OutboxRow]:
    """What lies in the outbox."""
    return await store.outbox.pending(0, 10_000)


async def left(store: Store, world: World, count: int) -> list[OutboxRow]:
    """So many messages more of one key that have reached the broker."""
    await commit(store, world, *(published(EVENTS, "a", number) for number in range(count)))
    rows = (await kept(store))[-count:]
    await commit(store, world, Relayed(EVENTS, rows[-1].partition, rows[-1].seq))
    return rows


async def test_what_has_left_stays_for_its_time(shop: Store, world: World, clock: HandClock) -> None:
    """And goes when it is over; what has not left stays, and answers that have expired go at once."""
    pruning = Pruning(shop, world, Retention(seconds=7 * DAY_SECONDS))
    old = await left(shop, world, 3)
    clock.advance(DAY_SECONDS)
    young = await left(shop, world, 2)
    await commit(shop, world, published(EVENTS, "a", 9), Answer("asked", b"", b"", expires=clock.micros()))
    rows = await kept(shop)
    clock.advance(6 * DAY_SECONDS - 1.0)
    await pruning.prune()
    assert await kept(shop) == rows
    assert await shop.answers("asked") == {}
    clock.advance(1.0)
    await pruning.prune()
    assert await kept(shop) == rows[len(old) :]
    clock.advance(30 * DAY_SECONDS)
    await pruning.prune()
    assert await kept(shop) == rows[len(old) + len(young) :]


async def test_no_more_is_kept_than_may_be(shop: Store, world: World, clock: HandClock) -> None:
    """Of too much the oldest that has left goes, whatever its age, page by page; what has not left stays."""
    await left(shop, world, 2 * PRUNE_ROWS + 50)
    rows = await kept(shop)
    pruning = Pruning(shop, world, Retention(bytes=sum(len(row.envelope) + ROW_BYTES for row in rows[-10:])))
    async with running(pruning.run):
        for _ in range(3):  # pages
            await clock.asleep(PRUNE_EVERY_SECONDS)
            clock.advance(PRUNE_EVERY_SECONDS)
        await clock.asleep(PRUNE_EVERY_SECONDS)
    assert await kept(shop) == rows[-10:]
    await left(shop, world, 3)
    rows = await kept(shop)
    await pruning.prune()
    assert len(await kept(shop)) in (9, 10)  # as long as their numbers are
    await commit(shop, world, *(published(EVENTS, "a", number) for number in range(20)))
    await pruning.prune()
    assert len(await kept(shop)) == 20


async def test_a_consumer_is_told_what_is_kept_and_what_is_gone(shop: Store, world: World, clock: HandClock) -> None:
    """Days after it left it is fetched; beyond what was deleted the producer says so, and never pretends."""
    pruning = Pruning(shop, world, Retention(seconds=7 * DAY_SECONDS))
    first, second = await left(shop, world, 2)
    clock.advance(6 * DAY_SECONDS)
    third, fourth = await left(shop, world, 2)
    chain = ChainId("shop", shop.history, EVENTS, first.partition)
    await pruning.prune()
    refetched = await from_outbox(shop, chain, first.seq)
    assert ([each.seq for each in refetched.messages], refetched.obstacle) == (
        [second.seq, third.seq, fourth.seq],
        None,
    )
    assert [each.prev for each in refetched.messages] == [first.seq, second.seq, third.seq]
    clock.advance(DAY_SECONDS)
    await pruning.prune()
    assert (await from_outbox(shop, chain, second.seq)).obstacle is None
    refetched = await from_outbox(shop, chain, first.seq)
    assert refetched.obstacle is Obstacle.PRUNED
    assert [(each.prev, each.seq) for each in refetched.messages] == [(second.seq, third.seq), (third.seq, fourth.seq)]


async def test_a_relay_passes_over_nothing_that_has_left(
    shop: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is kept: it begins behind it, and is not behind with it."""
    rows = await left(shop, world, 1_000)
    relay = Relay("shop", shop, MemoryBroker(), world, "here")
    assert not await relay.is_behind()
    asked: list[int] = []
    pending = shop.outbox.pending

    async def counted(after: int, limit: int) -> list[OutboxRow]:
        asked.append(after)
        return await pending(after, limit)

    monkeypatch.setattr(shop.outbox, "pending", counted)
    async with running(relay.run):
        while not asked:
            await real_world().sleep(0.001)
        assert not await relay.is_behind()
    assert min(asked) >= rows[-1].seq
