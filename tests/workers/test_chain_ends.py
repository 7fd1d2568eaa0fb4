"""A lost last message of a chain: nothing comes after it that would show that it is missing, but its producer knows."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from colonnade.brokers.broker import Carried
from colonnade.observability.health import Severity
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.unit import ChainId, Relayed
from colonnade.system.assembly import TEND_EVERY_SECONDS
from colonnade.workers.chain_ends import ASK_EVERY_SECONDS, LATE_SECONDS
from colonnade.workers.refetching import PAGE_ROWS, ChainEnd
from tests.workers.door import EVENTS, HISTORY, Door, a_door, carried
from tests.workers.hands import commit, opened, published

TOLD_SECONDS = 10.0
"""By then a lost message is a health state."""


async def relayed(shop: SqliteStore, door: Door, count: int) -> Sequence[Carried]:
    """Messages of one chain, which the broker has acknowledged, as it would carry them."""
    door.producer = shop
    last = (await shop.outbox.pending(0, 10_000))[-1:]
    before = last[0].seq if last else 0
    await commit(shop, door.world, *(published(EVENTS, "a", number) for number in range(count)))
    rows = await shop.outbox.pending(before, count)
    await commit(shop, door.world, Relayed(EVENTS, rows[-1].partition, rows[-1].seq))
    return [
        Carried("shop", shop.history, row.topic, row.partition, row.seq, row.seq - 1, row.key, row.envelope)
        for row in rows
    ]


async def tended(door: Door, seconds: float) -> None:
    """The inbox is tended as a runtime does, for so long."""
    end = door.clock.monotonic() + seconds
    await door.inbox.tend()
    while door.clock.monotonic() < end:
        door.clock.advance(TEND_EVERY_SECONDS)
        await door.inbox.tend()


async def test_a_lost_last_message_is_told_and_fetched(tmp_path: Path) -> None:
    """Not at once, since a broker may only be slow; when it is there nothing more is told."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, _ = await relayed(shop, door, 2)
        await door.receive(one)
        await door.inbox.tend()
        door.clock.advance(LATE_SECONDS - 0.1)
        await door.inbox.tend()
        assert (door.inbox.health(), await door.mark()) == ([], 1)
        door.clock.advance(0.1)
        (state,) = door.inbox.health()
        assert (state.name, state.severity) == ("ordering.hole", Severity.DEGRADED)
        assert f"from shop on {EVENTS}/{one.partition} after 1 has been missing for 4 s" in state.detail
        await door.inbox.tend()
        assert (door.inbox.health(), await door.mark()) == ([], 2)


async def test_it_is_told_within_ten_seconds_of_its_loss(tmp_path: Path) -> None:
    """Also when it was lost right after the producer had been asked."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        (one,) = await relayed(shop, door, 1)
        await door.receive(one)
        await door.inbox.tend()
        await relayed(shop, door, 1)
        lost = door.clock.monotonic()
        while not door.inbox.health():
            await door.inbox.tend()
            door.clock.advance(TEND_EVERY_SECONDS)
        assert door.clock.monotonic() - lost <= TOLD_SECONDS


async def test_a_lost_first_message_is_fetched(tmp_path: Path) -> None:
    """Of a chain that was never heard of."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        await relayed(shop, door, 1)
        await tended(door, TOLD_SECONDS)
        assert (door.inbox.health(), await door.mark()) == ([], 1)


async def test_all_that_a_broker_lost_is_fetched_page_by_page_at_once(tmp_path: Path) -> None:
    """A server that comes back empty has lost more than one message."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, *_ = await relayed(shop, door, 2 * PAGE_ROWS + 3)
        await door.receive(one)
        await tended(door, TOLD_SECONDS)
        assert (door.inbox.health(), await door.mark()) == ([], 2 * PAGE_ROWS + 3)


async def test_what_comes_meanwhile_is_not_fetched(tmp_path: Path) -> None:
    """A chain that moves on is late for nobody, though its producer is always ahead of it."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        for message in await relayed(shop, door, 8):
            await door.receive(message)
            await tended(door, LATE_SECONDS - TEND_EVERY_SECONDS)
            assert door.inbox.health() == []
        assert {after for _, after in door.asked} <= {0}


async def test_of_a_chain_never_heard_of_nothing_is_missing_that_its_producer_no_longer_has(tmp_path: Path) -> None:
    """Such a chain begins with what the producer still has; of one that was heard of it is told."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1))
        door.told_by_producer = [
            ChainEnd(ChainId("shop", HISTORY, EVENTS, 1), 9, False),
            ChainEnd(ChainId("shop", HISTORY, EVENTS, 0), 9, False),
        ]
        await tended(door, TOLD_SECONDS)
        (state,) = door.inbox.health()
        assert f"on {EVENTS}/0 after 1 has been missing" in state.detail


async def test_who_takes_nothing_in_misses_nothing(tmp_path: Path) -> None:
    """While a backlog keeps messages out they wait at the broker, and are not fetched past the door."""
    async with a_door(tmp_path, limit=2) as door:
        door.kept_by_producer = [carried(3)]
        door.told_by_producer = [ChainEnd(ChainId("shop", HISTORY, EVENTS, 0), 3, True)]
        await door.receive(carried(1), carried(2))
        waiting = asyncio.create_task(door.receive(carried(3)))
        await door.clock.asleep(1.0)
        await tended(door, 2 * TOLD_SECONDS)
        assert [state.name for state in door.inbox.health()] == ["ordering.backlog"]
        assert await door.mark() == 2
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_quiet_inbox_asks_now_and_then(tmp_path: Path) -> None:
    """Once in a few seconds, whatever it is tended for besides."""
    async with a_door(tmp_path) as door:
        await tended(door, 60.0)
        assert door.asked_for_ends == 60.0 / ASK_EVERY_SECONDS + 1


async def test_a_producer_that_was_put_back_to_an_older_copy_is_named(tmp_path: Path) -> None:
    """It is in the same history, and what it sends under numbers that have been received passes for duplicates."""
    async with a_door(tmp_path) as door:
        async with opened(tmp_path, door.world) as shop:
            before = await relayed(shop, door, 2)
        shutil.copy(tmp_path / "shop.sqlite3", tmp_path / "backup.sqlite3")
        async with opened(tmp_path, door.world) as shop:
            after = await relayed(shop, door, 2)
        await door.receive(*before, *after)
        async with opened(tmp_path, door.world, "backup") as shop:
            door.producer = shop
            await tended(door, TOLD_SECONDS)
            (state,) = door.inbox.health()
            assert (state.name, state.severity) == ("ordering.rewound.shop", Severity.DEGRADED)
            place = f"{EVENTS}/{before[0].partition}"
            assert f"shop knows nothing of what was received from it up to 4 on {place}: " in state.detail


async def test_a_producer_that_has_not_noted_what_it_published_was_not_put_back(tmp_path: Path) -> None:
    """Its relay ended in between, or the broker does: it knows the message, and is asked about it once."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        first = await relayed(shop, door, 1)
        await commit(shop, door.world, published(EVENTS, "a", 1))
        (row,) = await shop.outbox.pending(1, 10)
        await door.receive(*first, replace(first[0], seq=row.seq, prev=1, envelope=row.envelope))
        await tended(door, 60.0)
        assert (door.inbox.health(), await door.mark()) == ([], 2)
        assert [after for _, after in door.asked] == [1]
