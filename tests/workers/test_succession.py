"""A producer that was promoted or restored: what both histories have is done once, what is lost is told."""

import shutil
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.observability.health import Severity
from colonnade.persistence.store import Chain
from colonnade.persistence.unit import ChainId, Publish, Relayed
from colonnade.workers.holes import HOLE_SECONDS
from colonnade.workers.succession import ASK_SECONDS, Histories, ProducerAway
from colonnade.world import real_world
from tests.workers.door import EVENTS, HISTORY, Door, a_door, bodies, carried
from tests.workers.hands import commit, opened

AFTER = UUID(int=2)
WORLD = real_world()


def promoted(door: Door, shared: int) -> None:
    """The shop is in another history, which has all of the former up to `shared`."""
    door.told = Histories(AFTER, {HISTORY: shared})


async def test_a_chain_goes_on_where_both_histories_are_the_same(tmp_path: Path) -> None:
    """What comes again is known, what is new follows, and nothing is told, for nothing is lost."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(2))
        promoted(door, 5)
        await door.receive(carried(2, history=AFTER), carried(3, history=AFTER))
        # It was on its way when the shop was promoted
        await door.receive(carried(3), carried(4))
        await door.receive(carried(9, 4, history=AFTER))
        assert await door.handled() == bodies(1, 2, 3, 4, 9)
        assert await door.store.inbox.chains() == [Chain(ChainId("shop", AFTER, EVENTS, 0), 9)]
        assert door.inbox.health() == []


async def test_what_was_received_and_is_lost_is_told(tmp_path: Path) -> None:
    """Handled or not; what is not is kept aside, and the numbers of both are no more mixed up."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(2), carried(3))
        for consumer in ("Mailing", "Saga:Ship"):
            assert await door.handled(consumer) == bodies(1, 2, 3)
        await door.receive(carried(4), carried(6))
        promoted(door, 2)
        await door.receive(carried(4, 2, history=AFTER))
        assert await door.handled() == bodies(4)
        lost, _ = await door.store.inbox.kept_aside()
        assert lost.origin == f"shop/{EVENTS}/0/4"
        (state,) = door.inbox.health()
        assert (state.name, state.severity) == ("ordering.lost.shop", Severity.DEGRADED)
        assert f"{EVENTS}/0 after 2 up to 4" in state.detail
        assert f"had handled them: shop/{EVENTS}/0/4 (" in state.detail
        assert f"shop/{EVENTS}/0/6 (" in state.detail


async def test_what_comes_of_a_lost_history_is_kept_aside(tmp_path: Path) -> None:
    """A former primary that goes on sending changes nothing, and is named."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1))
        promoted(door, 1)
        await door.receive(carried(2, history=AFTER), carried(2, body=b"{}"))
        await door.receive(carried(3, body=b"{}"), carried(3, history=AFTER))
        assert await door.handled() == bodies(1, 2, 3)
        assert [each.origin[-2:] for each in await door.store.inbox.kept_aside()] == ["/2", "/3"]
        assert [state.name for state in door.inbox.health()] == ["ordering.former.shop"]


async def test_nothing_is_received_before_it_is_known_where_it_begins(tmp_path: Path) -> None:
    """While the producer cannot be asked its messages stay with the broker; after a restart as well."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1))
        door.told = None
        for _ in range(2):
            with pytest.raises(ProducerAway, match="Messages of shop are of a history that is new here"):
                await door.receive(carried(2, history=AFTER))
            door.restart()
        promoted(door, 1)
        await door.receive(carried(2, history=AFTER))
        assert await door.handled() == bodies(1, 2)


async def test_who_sends_nothing_is_asked(tmp_path: Path) -> None:
    """A loss shows though nothing follows it."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(2))
        promoted(door, 1)
        await door.inbox.tend()
        assert [state.name for state in door.inbox.health()] == ["ordering.lost.shop"]
        assert await door.mark() == 1


async def test_a_hole_of_the_former_history_is_filled_in_the_present(tmp_path: Path) -> None:
    """What is missing up to the fork the producer has still, and only under its present history."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(3))
        promoted(door, 3)
        door.kept_by_producer = [carried(2, history=AFTER), carried(3, history=AFTER)]
        door.clock.advance(max(HOLE_SECONDS, ASK_SECONDS))
        await door.inbox.tend()
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        assert await door.handled() == bodies(1, 2, 3)


async def test_a_restored_service_asks_for_what_came_after_its_backup(tmp_path: Path) -> None:
    """Its marks are those of the backup: what its producer sent since comes out of the producer's log, once."""
    backup = tmp_path / "backup"
    async with opened(tmp_path, WORLD, "shop") as shop:
        await commit(shop, WORLD, *(Publish(EVENTS, "a", WORLD.ids.new(), body) for body in bodies(*range(5))))
        rows = await shop.outbox.pending(0, 9)
        await commit(shop, WORLD, Relayed(EVENTS, rows[0].partition, rows[-1].seq))
        sent = [carried(row.seq, history=shop.history, partition=row.partition, body=row.envelope) for row in rows]
        async with a_door(tmp_path) as door:
            await door.receive(*sent[:2])
            assert await door.handled() == [each.envelope for each in sent[:2]]
        shutil.copytree(tmp_path, backup)
        async with a_door(tmp_path) as door:
            await door.receive(*sent[2:])
            assert await door.handled() == [each.envelope for each in sent[2:]]
        async with a_door(backup) as door:
            door.producer = shop
            # Nothing more comes of itself: the broker has delivered all of it
            for _ in range(2):
                await door.inbox.tend()
                door.clock.advance(HOLE_SECONDS)
            await door.inbox.tend()
            assert await door.handled() == [each.envelope for each in sent[2:]]
