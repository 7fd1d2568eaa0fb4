"""Messages that are done with the unit that brings them, instead of being taken into the inbox."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from colonnade.persistence.failures import AlreadyAnswered, LineBusy, StoreConflict, VersionConflict
from colonnade.persistence.store import Committed, Store
from colonnade.persistence.unit import (
    Answer,
    ChainId,
    Deliver,
    Handled,
    HandledAtOnce,
    Incoming,
    Park,
    Receive,
    Retry,
    Unit,
)
from colonnade.testing.conformance.store.database import FOR_EVER, NOW, StoreSuite, append, commit, unit

__all__ = ["AtOnceSuite"]

CHAIN = ChainId("shop", UUID(int=9), "shop.events", 3)
OTHER_CHAIN = ChainId("shop", UUID(int=9), "shop.events", 4)
TILL = "subscriber:Till"


def incoming(seq: int, key: str, *, ready: bool = True) -> Incoming:
    """A message of the chain for the till."""
    return Incoming(seq, seq - 1, TILL, key, b"%d" % seq, ready, NOW)


async def waiting(store: Store) -> Sequence[bytes]:
    """The envelopes of the messages that may be handled."""
    return [message.envelope for message in await store.inbox.due(FOR_EVER, 100, consumer=TILL)]


async def received(store: Store) -> int:
    """How far the chain has come."""
    return next((chain.received for chain in await store.inbox.chains() if chain.id == CHAIN), 0)


class AtOnceSuite(StoreSuite):
    """What is promised of units with followers, and of lines that must be free."""

    async def test_followers_are_committed_with_their_unit(self) -> None:
        """Each of their events says why that one happened; the position is behind all of them."""
        async with self.store() as store:
            cause, later = UUID(int=7), NOW + 5
            follower = unit(append("Bill/1", 0), time=later, correlation_id=UUID(int=2), causation_id=cause)
            committed = await store.commit(_with(unit(append("Sale/1", 0)), follower))
            (sale,), (bill,) = await store.log.stream("Sale/1"), await store.log.stream("Bill/1")
            assert (sale.correlation_id, sale.causation_id, sale.time) == (UUID(int=1), None, NOW)
            assert (bill.correlation_id, bill.causation_id, bill.time) == (UUID(int=2), cause, later)
            assert committed == Committed(max(sale.position, bill.position))

    @pytest.mark.parametrize("loser", ["unit", "follower"])
    async def test_followers_and_their_unit_are_one(self, loser: str) -> None:
        """Whichever of them loses, nothing of any is kept; units committed beside them are."""
        async with self.store() as store:
            await commit(store, append("Taken/1", 0))
            streams = {"unit": "Sale/1", "follower": "Bill/1"} | {loser: "Taken/1"}
            together = _with(
                unit(append(streams["unit"], 0), Deliver(TILL, "a", b"a")), unit(append(streams["follower"], 0))
            )
            beside = [unit(append(f"Beside/{number}", 0)) for number in range(4)]
            results = await asyncio.gather(
                *(store.commit(each) for each in [*beside[:2], together, *beside[2:]]), return_exceptions=True
            )
            assert isinstance(results.pop(2), VersionConflict)
            assert all(isinstance(result, Committed) for result in results)
            assert await store.log.streams("Sale") == await store.log.streams("Bill") == []
            assert await store.inbox.unhandled() == 0

    async def test_followers_may_want_the_same_as_their_unit(self) -> None:
        """Then they come after it."""
        async with self.store() as store:
            await store.commit(_with(unit(append("Sale/1", 0)), unit(append("Sale/1", 1, "shop.Paid"))))
            assert [event.name for event in await store.log.stream("Sale/1")] == ["shop.Sold", "shop.Paid"]

    async def test_followers_may_go_on_where_others_end(self) -> None:
        """Each of a stream's events says whose it is; where the stream has moved, nothing of any is kept."""
        async with self.store() as store:
            await commit(store, append("Sale/1", 0), append("Moved/1", 0))

            def going_on(stream: str) -> Unit:
                first = unit(append(stream, 1), append(stream, 2), causation_id=UUID(int=8))
                return _with(unit(), first, unit(append(stream, 3, "shop.Paid"), causation_id=UUID(int=9)))

            moved = going_on("Moved/1")
            await commit(store, append("Moved/1", 1))
            beside = [unit(append(f"Beside/{number}", 0)) for number in range(4)]
            results = await asyncio.gather(
                *(store.commit(each) for each in [*beside[:2], going_on("Sale/1"), moved, *beside[2:]]),
                return_exceptions=True,
            )
            lost = results.pop(3)
            assert isinstance(lost, VersionConflict)
            assert (lost.stream, lost.expected, lost.actual) == ("Moved/1", 1, 2)
            assert all(isinstance(result, Committed) for result in results)
            events = await store.log.stream("Sale/1")
            assert [event.version for event in events] == [1, 2, 3, 4]
            assert [event.causation_id and event.causation_id.int for event in events] == [None, 8, 8, 9]
            assert len(await store.log.stream("Moved/1")) == 2

    async def test_a_unit_and_its_followers_answer_once(self) -> None:
        """Two of them that give an answer of the same scope are two that would do the same: nothing of any is kept."""
        async with self.store() as store:
            follower = unit(append("Bill/1", 0), Answer("scope", b"undone", b"", FOR_EVER))
            with pytest.raises(AlreadyAnswered) as raised:
                await store.commit(_with(unit(append("Sale/1", 0), Answer("scope", b"done", b"", FOR_EVER)), follower))
            assert raised.value.answer.fingerprint == b"done"
            assert await store.answers("scope") == {}
            assert await store.log.streams("Sale") == await store.log.streams("Bill") == []

    @pytest.mark.parametrize("stands", ["waits", "tried again", "parked"])
    async def test_a_message_is_not_done_before_those_in_its_line(self, stands: str) -> None:
        """The unit that would do it loses while another is there; once that is done, it is committed."""
        async with self.store() as store:
            await commit(store, Deliver(TILL, "a", b"first"))
            (first,) = await store.inbox.due(FOR_EVER, 1, consumer=TILL)
            if stands == "tried again":
                await commit(store, Retry(first.row, 1, FOR_EVER - 1, "no"))
            elif stands == "parked":
                await commit(store, Park(first.row, 1, "no", hold=True))
            with pytest.raises(LineBusy) as raised:
                await store.commit(
                    _with(unit(append("Sale/1", 0)), unit(HandledAtOnce(TILL, "a"), append("Bill/1", 0)))
                )
            assert (raised.value.consumer, raised.value.key) == (TILL, "a")
            assert await store.log.streams("Sale") == await store.log.streams("Bill") == []
            if stands != "parked":
                await commit(store, Handled(first.row))
                await commit(store, HandledAtOnce(TILL, "a"), append("Bill/1", 0))
                assert await store.log.streams("Bill") == ["Bill/1"]

    async def test_a_follower_may_send_to_the_line_of_what_the_unit_handles(self) -> None:
        """The message in the inbox is done with it, and first; one behind that is in the way."""
        async with self.store() as store:
            await commit(store, Deliver(TILL, "a", b"1"))
            (first,) = await store.inbox.due(FOR_EVER, 1)
            answered = unit(append("Bill/1", 0), HandledAtOnce(TILL, "a"))
            await store.commit(_with(unit(Handled(first.row), HandledAtOnce(TILL, "b")), answered))
            assert await waiting(store) == []
            await commit(store, Deliver(TILL, "a", b"2"), Deliver(TILL, "a", b"3"))
            (second,) = await store.inbox.due(FOR_EVER, 1)
            again = unit(append("Bill/2", 0), HandledAtOnce(TILL, "a"))
            with pytest.raises(LineBusy):
                await store.commit(_with(unit(Handled(second.row), HandledAtOnce(TILL, "b")), again))

    async def test_a_message_is_done_at_once_with_the_one_before_it(self) -> None:
        """The unit that handles the last message of a line may send it another, unless there is one between them."""
        async with self.store() as store:
            await commit(store, Deliver(TILL, "a", b"first"), Deliver(TILL, "a", b"second"))
            (first,) = await store.inbox.due(FOR_EVER, 1, consumer=TILL)
            with pytest.raises(LineBusy):
                await commit(store, Handled(first.row), HandledAtOnce(TILL, "a"), append("Bill/1", 0))
            await commit(store, Handled(first.row))
            (second,) = await store.inbox.due(FOR_EVER, 1, consumer=TILL)
            await commit(store, Handled(second.row), HandledAtOnce(TILL, "a"), append("Bill/1", 0))
            assert await store.log.streams("Bill") == ["Bill/1"]
            assert await store.inbox.unhandled() == 0

    async def test_a_line_is_one_consumer_s_and_one_key_s(self) -> None:
        """Those of others, of other lanes and of chains are none of its business."""
        async with self.store() as store:
            await commit(
                store,
                Deliver(TILL, "b", b"other key"),
                Deliver("subscriber:Mail", "a", b"other consumer"),
                Deliver(TILL, "a", b"other lane", "timers"),
                Receive(CHAIN, 0, 1, [incoming(1, "a")]),
            )
            await commit(store, HandledAtOnce(TILL, "a"), append("Sale/1", 0))
            await commit(store, Receive(OTHER_CHAIN, 0, 1, [], at_once=[(TILL, "a")]))

    async def test_what_a_chain_brings_can_be_done_at_once(self) -> None:
        """The mark moves, nothing is taken in of it, and the rest waits as ever."""
        async with self.store() as store:
            receive = Receive(CHAIN, 0, 3, [incoming(2, "b")], at_once=[(TILL, "a"), (TILL, "c")])
            await store.commit(_with(unit(receive), unit(append("Sale/1", 0)), unit(append("Sale/3", 0))))
            assert await received(store) == 3
            assert await waiting(store) == [b"2"]
            assert await store.log.streams("Sale") == ["Sale/1", "Sale/3"]

    @pytest.mark.parametrize("ready", [True, False])
    async def test_what_a_chain_brings_is_not_done_before_what_it_brought(self, ready: bool) -> None:
        """A message in its line that waits, or came too early to be handled, goes first; the mark stays."""
        async with self.store() as store:
            early = 1 if ready else 5
            await commit(store, Receive(CHAIN, 0, 1 if ready else 0, [incoming(early, "a", ready=ready)]))
            before = await received(store)
            with pytest.raises(LineBusy):
                await commit(
                    store, Receive(CHAIN, before, 2, [], at_once=[(TILL, "a")]), append("Sale/1", 0)
                )  # fmt: skip
            assert await received(store) == before
            assert await store.log.streams("Sale") == []

    async def test_of_two_that_receive_the_same_one_does_it(self) -> None:
        """Done at once or taken in: a message takes effect once."""
        async with self.store() as store:
            at_once = [_with(unit(Receive(CHAIN, 0, 1, [], at_once=[(TILL, "a")])), unit(append("Sale/1", 0)))] * 2
            taken_in = [unit(Receive(CHAIN, 0, 1, [incoming(1, "a")]))] * 2
            results = await asyncio.gather(
                *(store.commit(each) for each in [*at_once, *taken_in]), return_exceptions=True
            )
            assert sum(isinstance(result, Committed) for result in results) == 1
            assert sum(isinstance(result, StoreConflict) for result in results) == 3
            assert len(await store.log.streams("Sale")) + len(await waiting(store)) == 1


def _with(brings: Unit, *followers: Unit) -> Unit:
    brings.followers = followers
    return brings
