"""What is missing is fetched from its producer, and what is too much is kept out."""

import asyncio
from pathlib import Path

import pytest

from colonnade.brokers.broker import Carried
from colonnade.observability.health import Severity
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.sqlite.rows import SqliteInbox
from colonnade.persistence.store import Chain
from colonnade.persistence.unit import Handled, Park, Relayed
from colonnade.workers.holes import HOLE_SECONDS
from colonnade.workers.refetching import Obstacle
from tests.workers.door import EVENTS, Door, a_door, bodies, carried
from tests.workers.hands import commit, delivered, opened, published


async def sent(shop: SqliteStore, door: Door, count: int) -> list[Carried]:
    """Messages of the shop as a relay would carry them; the shop is where they are fetched from."""
    door.producer = shop
    await commit(shop, door.world, *(published(EVENTS, "a", number) for number in range(count)))
    return [
        Carried("shop", shop.history, row.topic, row.partition, row.seq, row.seq - 1, row.key, row.envelope)
        for row in await shop.outbox.pending(0, count)
    ]


async def test_a_hole_is_told_after_ten_seconds_and_filled_from_the_producer(tmp_path: Path) -> None:
    """Not before, since a broker may only be slow; when it is filled nothing more is told."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, _, _, four = await sent(shop, door, 4)
        await door.receive(one, four)
        door.clock.advance(HOLE_SECONDS - 0.1)
        await door.inbox.tend()
        assert (door.inbox.health(), await door.mark()) == ([], 1)
        door.clock.advance(0.1)
        (state,) = door.inbox.health()
        assert (state.name, state.severity) == ("ordering.hole", Severity.DEGRADED)
        assert f"from shop on {EVENTS}/{one.partition} after 1 has been missing for 10 s" in state.detail
        await door.inbox.tend()
        assert (door.inbox.health(), await door.mark()) == ([], 4)


async def test_a_hole_that_was_there_before_a_restart_is_filled_though_nothing_comes(tmp_path: Path) -> None:
    """The early messages in the store show it."""
    async with a_door(tmp_path) as door:
        door.kept_by_producer = [carried(seq) for seq in range(1, 4)]
        await door.receive(carried(1), carried(3))
        door.restart()
        await door.inbox.tend()
        assert await door.mark() == 1
        door.clock.advance(HOLE_SECONDS)
        assert [state.name for state in door.inbox.health()] == ["ordering.hole"]
        await door.inbox.tend()
        assert await door.handled() == bodies(1, 2, 3)


async def test_holes_that_close_soon_are_none(tmp_path: Path) -> None:
    """A broker that always brings one message too early, and its predecessor right after, has lost nothing."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(3))
        for seq in range(2, 20, 2):
            door.clock.advance(HOLE_SECONDS / 2)
            await door.receive(carried(seq), carried(seq + 3))
            assert door.inbox.health() == []


async def test_a_hole_that_the_producer_cannot_fill_is_told_as_lost(tmp_path: Path) -> None:
    """What it sends instead comes after the hole, and is not taken for what is missing; whatever fills it ends it."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, two, three, four = await sent(shop, door, 4)
        await commit(shop, door.world, Relayed(EVENTS, one.partition, three.seq))
        await shop.prune([one.seq, two.seq], door.clock.micros(), 10)
        await door.receive(one, four)
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        (state,) = door.inbox.health()
        assert (await door.mark(), state.name, state.severity) == (1, "ordering.lost", Severity.DEGRADED)
        assert (
            "after 1 has been missing for 10 s and will not come: its producer has deleted it. 1 mess" in state.detail
        )
        await door.receive(two, three)
        assert (await door.mark(), door.inbox.health()) == (4, [])


async def test_a_hole_is_filled_though_all_up_to_it_has_been_deleted(tmp_path: Path) -> None:
    """The producer knows how far it has pruned a chain, and so that nothing is missing between."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, two, _, four = await sent(shop, door, 4)
        await commit(shop, door.world, Relayed(EVENTS, one.partition, four.seq))
        await door.receive(one, two, four)
        await shop.prune([one.seq, two.seq], door.clock.micros(), 10)
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        assert (await door.mark(), door.inbox.health()) == (4, [])


@pytest.mark.parametrize(
    ("obstacle", "name", "told"),
    [
        (Obstacle.AWAY, "ordering.hole", "its producer cannot be asked"),
        (Obstacle.OTHER_HISTORY, "ordering.lost", "its producer's store is another one by now"),
    ],
)
async def test_why_a_hole_stays_is_told(tmp_path: Path, obstacle: Obstacle, name: str, told: str) -> None:
    """A producer that cannot be asked may come back; a store that was made anew does not know what was before."""
    async with a_door(tmp_path) as door:
        door.obstacle = obstacle
        await door.receive(carried(1), carried(3))
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        (state,) = door.inbox.health()
        assert (state.name, told in state.detail) == (name, True)


async def test_a_hole_at_the_beginning_is_filled_though_the_producer_knows_no_more_what_came_before(
    tmp_path: Path,
) -> None:
    """Of a chain of which nothing has come, the first message that its producer has is the first."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        await commit(shop, door.world, published("shop.others", "a"))
        _, _, three = await sent(shop, door, 3)
        await door.receive(three)
        assert await door.mark() == 0
        await commit(shop, door.world, Relayed(EVENTS, three.partition, three.seq))
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        assert (await door.mark(), door.inbox.health()) == (4, [])


async def test_a_hole_is_filled_page_by_page(tmp_path: Path) -> None:
    """However much is missing: one page after the other, without another wait."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        messages = await sent(shop, door, 600)
        await door.receive(messages[0], messages[-1])
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        assert (await door.mark(), len(door.asked)) == (600, 3)
        assert await door.store.inbox.early(door.asked[0][0]) == []


async def test_flows_that_begin_together_forget_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart messages of several flows come at once: what came early in one of them is still known."""
    async with a_door(tmp_path) as door:
        inbox = door.store.inbox

        async def chains_over_a_network() -> list[Chain]:
            found = await SqliteInbox.chains(inbox)
            await asyncio.sleep(0)
            return found

        monkeypatch.setattr(inbox, "chains", chains_over_a_network)
        topics = [f"shop.topic{number}" for number in range(8)]
        await door.receive(*(carried(1, topic=topic, key=topic) for topic in topics))
        door.restart()
        await asyncio.gather(*(door.receive(carried(3, topic=topic, key=topic)) for topic in topics))
        await asyncio.gather(*(door.receive(carried(2, topic=topic, key=topic)) for topic in topics))
        assert [chain.received for chain in await inbox.chains()] == [3] * 8
        assert len(await door.handled()) == 24


async def backlog(door: Door, count: int, consumer: str = "handlers") -> None:
    """So many messages of the service to itself, each with a key of its own."""
    await commit(door.store, door.world, *(delivered(consumer, f"{number}", b"{}") for number in range(count)))


async def handle(door: Door, count: int) -> None:
    """Handle so many of the backlog."""
    for message in (await door.due("handlers"))[:count]:
        await commit(door.store, door.world, Handled(message.row))


async def test_above_the_limit_nothing_is_taken_in_until_half_is_done(tmp_path: Path) -> None:
    """The broker's messages wait where they are; that they do is a health state for as long as it lasts."""
    async with a_door(tmp_path, limit=10) as door:
        await backlog(door, 10)
        await door.receive(carried(1))  # ten are not too many, twelve are: it is taken in for two consumers
        assert door.inbox.health() == []
        receiving = asyncio.create_task(door.receive(carried(2)))
        await door.clock.asleep(1.0)
        (state,) = door.inbox.health()
        assert state.name == "ordering.backlog"
        assert "More than 10 messages wait" in state.detail
        for done, unhandled in ((2, 10), (4, 6)):
            await handle(door, done)
            assert await door.store.inbox.unhandled() == unhandled
            door.clock.advance(1.0)
            await door.clock.asleep(1.0)
            assert not receiving.done()
        await handle(door, 1)
        door.clock.advance(1.0)
        await receiving
        assert (await door.mark(), door.inbox.health()) == (2, [])


async def test_what_waits_behind_a_parked_message_does_not_close_the_door(tmp_path: Path) -> None:
    """Nobody can handle it before a person has decided, and all other lines go on."""
    async with a_door(tmp_path, limit=10) as door:
        await commit(door.store, door.world, *(delivered("handlers", "poison", b"%d" % n) for n in range(30)))
        (first,) = await door.due("handlers")
        await commit(door.store, door.world, Park(first.row, 20, "it is poison", True))
        await door.receive(carried(1))
        assert (await door.mark(), door.inbox.health()) == (1, [])


async def test_a_hole_is_filled_though_the_door_is_closed(tmp_path: Path) -> None:
    """The backlog may be what waits behind the hole: it would never become less."""
    async with a_door(tmp_path, limit=10) as door, opened(tmp_path, door.world) as shop:
        one, two, *rest = await sent(shop, door, 14)
        await door.receive(one)
        await door.receive(*rest)
        receiving = asyncio.create_task(door.receive(two))
        await door.clock.asleep(1.0)
        assert [state.name for state in door.inbox.health()] == ["ordering.backlog"]
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        assert await door.mark() == 14
        receiving.cancel()
        await asyncio.wait([receiving])


async def test_one_who_gave_up_waiting_leaves_the_door_as_it_is(tmp_path: Path) -> None:
    """A relay that is stopped while it waits takes nothing away from the next one, and tells nothing untrue."""
    async with a_door(tmp_path, limit=10) as door:
        await backlog(door, 11)
        receiving = asyncio.create_task(door.receive(carried(1)))
        await door.clock.asleep(1.0)
        receiving.cancel()
        await asyncio.wait([receiving])
        await handle(door, 11)
        await door.inbox.tend()
        assert door.inbox.health() == []
        await door.receive(carried(1))
        assert await door.mark() == 1
