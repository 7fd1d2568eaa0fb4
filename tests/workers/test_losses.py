"""What no producer has any more is noted, and a person can pass over it."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.brokers.broker import Carried
from colonnade.observability.health import Severity
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.store import Loss
from colonnade.persistence.unit import ChainId, NoteLoss, Receive, Relayed
from colonnade.system.admin.operations import OperationFailed, PassOverLost
from colonnade.system.admin.perform import Administered, perform
from colonnade.system.admin.reports import Finished
from colonnade.workers.holes import HOLE_SECONDS
from colonnade.workers.refetching import Obstacle
from tests.workers.door import EVENTS, HISTORY, Door, a_door, bodies, carried
from tests.workers.hands import START_MICROS, commit, opened
from tests.workers.test_holes import sent


async def pruned(shop: SqliteStore, door: Door, messages: Sequence[Carried]) -> None:
    """The shop has deleted these messages, which are its first."""
    await commit(shop, door.world, Relayed(EVENTS, messages[0].partition, messages[-1].seq))
    await shop.prune([each.seq for each in messages], door.clock.micros(), 10)


async def noticed(door: Door) -> None:
    """Time passes until a hole is told, and its producer has been asked."""
    door.clock.advance(HOLE_SECONDS)
    await door.inbox.tend()


async def passed_over(door: Door, *rows: int, shop: SqliteStore | None = None) -> str:
    """Alice passes over them; what she is told."""
    services = {"ordering": Administered(door.store)}
    if shop is not None:
        services["shop"] = Administered(shop)
    operation = PassOverLost("ordering", rows, "alice")
    *_, finished = [report async for report in perform(operation, services, door.world)]
    assert isinstance(finished, Finished)
    return finished.summary


async def losses(door: Door) -> Sequence[Loss]:
    """What is missing and will not come."""
    return [loss for loss in await door.store.losses.page() if loss.is_open]


async def test_a_chain_goes_on_in_order_behind_what_is_passed_over(tmp_path: Path) -> None:
    """Health names the command and goes quiet after it; the record stays."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, two, three, four, _, six = await sent(shop, door, 6)
        await pruned(shop, door, [one, two, three])
        await door.receive(one, four, six)
        await noticed(door)
        (state,) = door.inbox.health()
        assert (state.name, state.severity) == ("ordering.lost", Severity.DEGRADED)
        assert "or pass over it (colonnade lost list, colonnade lost pass-over ordering ROW)" in state.detail
        (loss,) = await losses(door)
        assert (loss.chain.source, loss.after, loss.up_to, loss.behind) == ("shop", one.seq, three.seq, 2)
        assert (loss.reason, loss.since) == ("its producer has deleted it", START_MICROS)
        told = await passed_over(door, loss.row, shop=shop)
        assert told == f"What shop on {EVENTS}/{one.partition} had after 1, up to 3, is passed over by alice."
        await door.inbox.tend()
        await noticed(door)  # the rest is missing no more than any other: it is fetched
        assert (await door.mark(), door.inbox.health()) == (six.seq, [])
        (kept,) = await door.store.losses.page()
        assert (kept.passed_by, kept.passed_at) == ("alice", START_MICROS + HOLE_SECONDS * 1_000_000)


async def test_what_comes_after_it_was_passed_over_is_kept_aside_and_told(tmp_path: Path) -> None:
    """What is behind it has been handled by then; what was received before and comes again is no news."""
    async with a_door(tmp_path) as door:
        door.obstacle = Obstacle.OTHER_HISTORY
        await door.receive(carried(1), carried(4), carried(5))
        await noticed(door)
        (loss,) = await losses(door)
        await passed_over(door, loss.row)
        await door.inbox.tend()
        assert await door.handled() == bodies(1, 4, 5)
        await door.receive(carried(1), carried(3), carried(4), carried(6))
        assert await door.handled() == bodies(6)
        (aside,) = await door.store.inbox.kept_aside()
        assert (aside.origin, aside.data) == (f"shop/{EVENTS}/0/3", carried(3).envelope)
        assert aside.reason == "it came after alice had passed over it on 2027-01-15 at 08:00:10 UTC"
        (state,) = door.inbox.health()
        assert (state.name, state.severity) == ("ordering.passed-over", Severity.DEGRADED)
        assert f"shop/{EVENTS}/0/3; it came after alice" in state.detail


async def test_a_lost_end_of_a_chain_is_passed_over_too(tmp_path: Path) -> None:
    """Nothing has come after it: what its producer says of its end shows it."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, two, three = await sent(shop, door, 3)
        await door.receive(one)
        await pruned(shop, door, [one, two, three])
        await door.inbox.tend()
        await noticed(door)
        (loss,) = await losses(door)
        assert (loss.after, loss.up_to, loss.behind) == (one.seq, three.seq, 0)
        await passed_over(door, loss.row, shop=shop)
        await door.inbox.tend()
        assert (await door.mark(), door.inbox.health()) == (three.seq, [])


async def test_a_hole_is_noted_once_and_reaches_as_far_as_more_is_deleted(tmp_path: Path) -> None:
    """However often its producer is asked, by however many instances."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, two, three, four = await sent(shop, door, 4)
        await pruned(shop, door, [one, two])
        await door.receive(one, four)
        await noticed(door)
        door.restart()
        await door.inbox.tend()
        await noticed(door)
        (loss,) = await losses(door)
        assert (loss.up_to, loss.since) == (two.seq, START_MICROS)
        await pruned(shop, door, [three])
        await door.inbox.tend()
        (more,) = await losses(door)
        assert (more.row, more.up_to) == (loss.row, three.seq)


@pytest.mark.parametrize("which", ["there", "a part", "another history", "came", "unknown"])
async def test_what_is_no_loss_is_not_passed_over(tmp_path: Path, which: str) -> None:
    """What a producer has is fetched, what came is there; the sentence says so, and nothing is changed."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        one, two, three, four = await sent(shop, door, 4)
        chain = ChainId("shop", shop.history, EVENTS, one.partition)
        if which == "another history":
            chain = ChainId("shop", HISTORY, EVENTS, one.partition)
            shop.ended = {HISTORY: 1}
        if which == "a part":
            await pruned(shop, door, [one, two])
        await commit(door.store, door.world, Receive(chain, 0, 1, []), NoteLoss(chain, 1, 3, "it was", 0))
        if which == "came":
            await door.receive(two, three, four)
        row = 2 if which == "unknown" else 1
        with pytest.raises(OperationFailed) as refused:
            await passed_over(door, row, shop=shop)
        assert (await door.store.losses.page())[0].passed_at is None
    place = f"{EVENTS}/{one.partition}"
    fetched = "it is fetched from there while the system runs, and what remains is listed anew."
    sentences = {
        "there": f"shop still has what is missing on {place} after 1; {fetched}",
        "a part": f"shop still has what is missing on {place} after 2; {fetched}",
        "another history": "shop has gone on in another history; its messages are held against that within half a "
        "minute, while the system runs.",
        "came": f"Row 1 of ordering is no hole any more: what shop on {place} was missing after 1 has come.",
        "unknown": "ordering has noted nothing as lost in row 2; see colonnade lost list.",
    }
    assert str(refused.value) == sentences[which]


async def test_of_several_rows_none_is_passed_over_when_one_is_no_loss(tmp_path: Path) -> None:
    """Whoever mistyped a row has not half done it."""
    async with a_door(tmp_path) as door:
        chain = ChainId("shop", UUID(int=7), EVENTS, 0)
        await commit(door.store, door.world, Receive(chain, 0, 1, []), NoteLoss(chain, 1, 3, "it was", 0))
        with pytest.raises(OperationFailed):
            await passed_over(door, 1, 2)
        assert len(await losses(door)) == 1
