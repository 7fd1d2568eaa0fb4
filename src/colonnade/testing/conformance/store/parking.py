"""Parked messages of the inbox: what they hold, tried again in their place in the line, given up."""

from collections.abc import Callable

import pytest

from colonnade.persistence.failures import NotParked
from colonnade.persistence.unit import Discard, Effect, Handled, Park, Retry, Unpark
from colonnade.testing.conformance.store.database import FOR_EVER, NOW, StoreSuite, commit
from colonnade.testing.conformance.store.inbox import delivered, due, envelopes, handle

__all__ = ["ParkingSuite"]


class ParkingSuite(StoreSuite):
    """From parked to tried again, or given up."""

    @pytest.mark.parametrize("hold", [True, False])
    async def test_a_parked_message_holds_its_line_or_lets_it_past(self, hold: bool) -> None:
        """It is shown with its cause; what waits behind it counts as held, and is due only where it does not hold."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2), delivered("a", 3))
            (message,) = await due(store)
            await commit(store, Park(message.row, 20, "poison", hold), time=NOW + 5)
            (parked,) = await store.inbox.parked()
            assert (parked.cause, parked.attempts, parked.parked_at, parked.held) == ("poison", 20, NOW + 5, hold)
            assert (parked.envelope, parked.key, parked.behind) == (b"1", "a", 2 if hold else 0)
            assert await store.inbox.parked_message(parked.row) == parked
            assert await store.inbox.parked(parked.row) == []
            assert (await store.inbox.parked_count(), await store.inbox.unhandled()) == (1, 2)
            assert await store.inbox.held() == (2 if hold else 0)
            assert await envelopes(store) == ([] if hold else [b"2"])

    async def test_a_parked_message_is_tried_again_first_in_its_line(self) -> None:
        """Unparked it comes before all that waited behind it, edited if it was; a second time it is not parked."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2))
            (message,) = await due(store)
            await commit(store, Park(message.row, 20, "poison", hold=True))
            await commit(store, Unpark(message.row, b"edited"))
            (again,) = await due(store)
            assert (again.envelope, again.attempts) == (b"edited", 0)
            with pytest.raises(NotParked):
                await commit(store, Unpark(message.row))
            assert await handle(store) == [b"edited", b"2"]

    async def test_one_that_held_nothing_is_still_first_when_it_is_tried_again(self) -> None:
        """Unparked from a line that went on, it comes before what has not been handled yet."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2), delivered("a", 3))
            (message,) = await due(store)
            await commit(store, Park(message.row, 20, "poison", hold=False))
            (second,) = await due(store)
            await commit(store, Handled(second.row))
            await commit(store, Unpark(message.row))
            assert await handle(store) == [b"1", b"3"]

    async def test_a_line_is_held_again_by_one_that_is_still_parked(self) -> None:
        """An earlier message that is tried again goes past the one that holds the line; what comes later does not."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2), delivered("a", 3))
            (first,) = await due(store)
            await commit(store, Park(first.row, 20, "poison", hold=False))
            (second,) = await due(store)
            await commit(store, Park(second.row, 20, "poison", hold=True))
            await commit(store, Unpark(first.row))
            assert await handle(store) == [b"1"]
            assert (await store.inbox.held(), await store.inbox.unhandled()) == (1, 1)
            await commit(store, Unpark(second.row))
            assert await handle(store) == [b"2", b"3"]

    async def test_what_is_parked_itself_waits_behind_nobody(self) -> None:
        """Of two parked messages that hold one line, each tells how many that are not parked wait behind it."""
        async with self.store() as store:
            await commit(store, *(delivered("a", number) for number in range(4)))
            (first,) = await due(store)
            await commit(store, Park(first.row, 20, "poison", hold=False))
            (second,) = await due(store)
            await commit(store, Park(second.row, 20, "poison", hold=True))
            await commit(store, Unpark(first.row))
            await commit(store, Park(first.row, 20, "poison", hold=True))
            assert [each.behind for each in await store.inbox.parked()] == [2, 2]
            assert await store.inbox.held() == 2

    async def test_one_tried_again_does_not_go_past_an_earlier_one(self) -> None:
        """Unparked later or sooner, messages of a line are handled in the line's order."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2), delivered("a", 3))
            (first,) = await due(store)
            await commit(store, Park(first.row, 20, "poison", hold=False))
            (second,) = await due(store)
            await commit(store, Park(second.row, 20, "poison", hold=True))
            await commit(store, Unpark(first.row))
            await commit(store, Unpark(second.row))
            assert await handle(store) == [b"1", b"2", b"3"]

    async def test_one_tried_again_does_not_wait_for_a_later_one(self) -> None:
        """Though the line waited for another message's next attempt, what was unparked is due at once."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2))
            (first,) = await due(store)
            await commit(store, Park(first.row, 20, "poison", hold=False))
            (second,) = await due(store)
            await commit(store, Retry(second.row, 1, NOW + 100, "failed"))
            assert await envelopes(store, NOW) == []
            await commit(store, Unpark(first.row))
            assert await envelopes(store, NOW) == [b"1"]

    @pytest.mark.parametrize(
        ("finish", "rest"),
        [
            (lambda row: Handled(row), [b"1", b"3"]),
            (lambda row: Retry(row, 1, FOR_EVER - 1, "failed"), [b"1", b"2", b"3"]),
            (lambda row: Park(row, 1, "poison", hold=False), [b"1", b"3"]),
            (lambda row: Park(row, 1, "poison", hold=True), [b"1"]),
        ],
    )
    async def test_a_worker_may_finish_what_is_no_longer_first(
        self, finish: Callable[[int], Effect], rest: list[bytes]
    ) -> None:
        """Done, failed or parked while an earlier message was unparked, it leaves that one first."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2), delivered("a", 3))
            (first,) = await due(store)
            await commit(store, Park(first.row, 20, "poison", hold=False))
            (second,) = await due(store)
            await commit(store, Unpark(first.row))
            await commit(store, finish(second.row))
            assert await handle(store) == rest

    async def test_a_parked_message_is_given_up_and_its_line_goes_on(self) -> None:
        """Discarded it is gone, and what it held is due."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2))
            (message,) = await due(store)
            await commit(store, Park(message.row, 20, "poison", hold=True))
            await commit(store, Discard(message.row))
            with pytest.raises(NotParked):
                await commit(store, Discard(message.row))
            assert (await store.inbox.parked(), await handle(store)) == ([], [b"2"])
