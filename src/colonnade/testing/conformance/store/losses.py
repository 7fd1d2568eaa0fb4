"""What is missing in a chain and will not come: noted, and passed over by a person."""

import asyncio
from uuid import UUID

import pytest

from colonnade.persistence.failures import NotLost
from colonnade.persistence.store import Chain, Committed, Loss, Store, Touched
from colonnade.persistence.unit import NoteLoss, PassOver, Receive, Succeed
from colonnade.testing.conformance.store.database import NOW, StoreSuite, commit
from colonnade.testing.conformance.store.inbox import CHAIN, handle, incoming

__all__ = ["LossSuite"]

PRUNED = "its producer has deleted it"


async def holed(store: Store) -> Loss:
    """The chain has come to 2, what has 3 and 4 will not come, and 5 and 6 wait."""
    early = [incoming(5, prev=4, ready=False), incoming(6, ready=False)]
    await commit(store, Receive(CHAIN, 0, 2, [incoming(1), incoming(2), *early]))
    await commit(store, NoteLoss(CHAIN, 2, 4, PRUNED, NOW - 11))
    (loss,) = await store.losses.page()
    return loss


class LossSuite(StoreSuite):
    """From being noted to being passed over."""

    async def test_what_is_lost_is_noted_with_what_waits_for_it(self) -> None:
        """Once, however often it is; with how far the chain has come, which tells whether it is missing still."""
        async with self.store() as store:
            loss = await holed(store)
            assert loss == Loss(loss.row, CHAIN, 2, 4, PRUNED, NOW - 11, 2, 2, None, None)
            assert loss.is_open
            await commit(store, NoteLoss(CHAIN, 2, 3, PRUNED, NOW))
            (again,) = await store.losses.page()
            assert (again.row, again.up_to, again.since) == (loss.row, 3, NOW - 11)
            assert await store.losses.one(loss.row) == again
            assert (await store.losses.page(loss.row), await store.losses.one(loss.row + 1)) == ([], None)
            await commit(store, Receive(CHAIN, 2, 6, [incoming(3), incoming(4)], completed=[5, 6]))
            (filled,) = await store.losses.page()
            assert (filled.received, filled.behind, filled.is_open) == (6, 0, False)

    async def test_a_chain_goes_on_behind_what_is_passed_over(self) -> None:
        """Its mark moves there, who listens is told, and what waits is woken as behind any other message."""
        async with self.store() as store:
            loss = await holed(store)
            told = asyncio.Event()
            store.watch(lambda touched: told.set() if Touched.INBOX in touched else None)
            await commit(store, PassOver(loss.row, "alice"), time=NOW + 5)
            async with asyncio.timeout(10):
                await told.wait()
            assert await store.inbox.chains() == [Chain(CHAIN, 4)]
            passed = await store.losses.one(loss.row)
            assert passed is not None
            assert (passed.passed_at, passed.passed_by, passed.is_open) == (NOW + 5, "alice", False)
            await commit(store, Receive(CHAIN, 4, 7, [incoming(7)], completed=[5, 6]))
            assert await handle(store) == [b'{"seq":%d}' % seq for seq in (1, 2, 5, 6, 7)]

    async def test_what_has_come_after_all_is_not_passed_over(self) -> None:
        """Neither a hole that was filled, nor what is behind a part that came early, nor one that nobody knows."""
        async with self.store() as store:
            loss = await holed(store)
            with pytest.raises(NotLost) as unknown:
                await commit(store, PassOver(loss.row + 1, "alice"))
            assert unknown.value.row == loss.row + 1
            await commit(store, Receive(CHAIN, 2, 2, [incoming(4, ready=False)]))
            await commit(store, PassOver(loss.row, "alice"))
            cut = await store.losses.one(loss.row)
            assert cut is not None
            assert (cut.up_to, await store.inbox.chains()) == (3, [Chain(CHAIN, 3)])
            await commit(store, Receive(CHAIN, 3, 6, [], completed=[4, 5, 6]))
            await commit(store, NoteLoss(CHAIN, 6, 9, PRUNED, NOW))
            _, later = await store.losses.page()
            await commit(store, Receive(CHAIN, 6, 9, [incoming(9, prev=6)]))
            with pytest.raises(NotLost):
                await commit(store, PassOver(later.row, "alice"))
            assert await store.inbox.chains() == [Chain(CHAIN, 9)]

    async def test_a_hole_that_has_closed_is_not_passed_over(self) -> None:
        """What follows the mark is there, and only waits to be woken."""
        async with self.store() as store:
            await commit(store, Receive(CHAIN, 0, 2, [incoming(3, ready=False)]))
            await commit(store, NoteLoss(CHAIN, 2, 4, PRUNED, NOW))
            (loss,) = await store.losses.page()
            with pytest.raises(NotLost):
                await commit(store, PassOver(loss.row, "alice"))
            assert await store.inbox.chains() == [Chain(CHAIN, 2)]

    async def test_a_hole_is_passed_over_by_one(self) -> None:
        """Of several who do it at once; that another notes it again changes nothing of the record."""
        async with self.store() as store:
            loss = await holed(store)
            who = ("alice", "bob", "carol")
            results = await asyncio.gather(
                *(commit(store, PassOver(loss.row, name)) for name in who), return_exceptions=True
            )
            assert sorted(type(result).__name__ for result in results) == ["Committed", "NotLost", "NotLost"]
            (first,) = (name for name, result in zip(who, results, strict=True) if isinstance(result, Committed))
            await commit(store, NoteLoss(CHAIN, 2, 9, PRUNED, NOW))
            (passed,) = await store.losses.page()
            assert (passed.up_to, passed.passed_by) == (4, first)

    async def test_what_was_lost_of_a_history_that_has_ended_is_none_any_more(self) -> None:
        """The chain goes on in another, where the same numbers are other messages."""
        async with self.store() as store:
            loss = await holed(store)
            await commit(store, Succeed(CHAIN, UUID(int=99), 2, "lost"))
            (left,) = await store.losses.page()
            assert (left.received, left.behind, left.is_open) == (None, 0, False)
            with pytest.raises(NotLost):
                await commit(store, PassOver(loss.row, "alice"))
