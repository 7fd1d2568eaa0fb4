"""What a store refuses: it is told in the port's own words, and others of the same batch do not notice."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest

from colonnade.persistence.failures import (
    AlreadyHandled,
    MessageTooLarge,
    MissedRow,
    NotParked,
    VersionConflict,
    WriteFailed,
)
from colonnade.persistence.store import Committed, Store
from colonnade.persistence.unit import Append, Deliver, Discard, Handled, NewEvent, Park, Publish, Unit, Unpark
from colonnade.testing.conformance.store.database import (
    FOR_EVER,
    StoreSuite,
    append,
    commit,
    missing,
    numbers,
    sale,
    unit,
)

__all__ = ["RefusalSuite"]

TILL = "subscriber:Till"
LIMIT_BYTES = 256 * 1024
NO_TEXT = "\ud800"
"""Half a character: no encoding has it."""

Untakeable = Callable[[Store], Unit]

UNTAKEABLE: dict[str, Untakeable] = {
    "stream": lambda store: unit(append(NO_TEXT, 0)),
    "stream of a second append": lambda store: unit(append("Sale/lost", 0), append(NO_TEXT, 0)),
    "event's name": lambda store: unit(append("Sale/lost", 0, NO_TEXT)),
    "principal": lambda store: unit(append("Sale/lost", 0), principal=NO_TEXT),
    "schema": lambda store: unit(Append("Sale/lost", 0, [NewEvent(UUID(int=1), "shop.Sold", 1 << 70, b"{}")])),
    "topic": lambda store: unit(append("Sale/lost", 0), Publish(NO_TEXT, "a", UUID(int=1), b"{}")),
    "key": lambda store: unit(append("Sale/lost", 0), Publish("shop.events", NO_TEXT, UUID(int=1), b"{}")),
    "consumer": lambda store: unit(append("Sale/lost", 0), Deliver(NO_TEXT, "a", b"{}")),
    "read model": lambda store: unit(append("Sale/lost", 0), sale(store, 1 << 70)),
}


class RefusalSuite(StoreSuite):
    """One unit's fault is its own."""

    @pytest.mark.parametrize("untakeable", UNTAKEABLE.values(), ids=UNTAKEABLE.keys())
    async def test_a_value_that_the_database_cannot_take_is_refused(self, untakeable: Untakeable) -> None:
        """By name, whatever column it was for; units committed at the same time are committed."""
        async with self.store() as store:
            units = [unit(append(f"Sale/{number}", 0), sale(store, number)) for number in range(4)]
            units.insert(2, untakeable(store))
            results = await asyncio.gather(*(store.commit(each) for each in units), return_exceptions=True)
            assert isinstance(results.pop(2), WriteFailed)
            assert [type(result) for result in results] == [Committed] * 4
            assert await store.log.streams("Sale") == [f"Sale/{number}" for number in range(4)]
            assert await numbers(store) == [0, 1, 2, 3]
            assert (await store.outbox.pending(0, 10), await store.inbox.unhandled()) == ([], 0)

    async def test_who_lost_against_a_refused_unit_has_not_lost(self) -> None:
        """A version that a refused unit wanted goes to the next one that asked for it, in the same batch."""
        async with self.store() as store:
            first, second, third = await asyncio.gather(
                commit(store, append("Sale/1", 0), missing(store, 77)),
                commit(store, append("Sale/1", 0, "shop.Second")),
                commit(store, append("Sale/1", 0, "shop.Third")),
                return_exceptions=True,
            )
            assert isinstance(first, MissedRow)
            assert isinstance(second, Committed)
            assert isinstance(third, VersionConflict)
            assert [event.name for event in await store.log.stream("Sale/1")] == ["shop.Second"]

    async def test_many_refused_units_of_many_kinds_harm_nobody(self) -> None:
        """Every other unit of a crowd fails, each in its own way; the others are all there, once."""
        async with self.store() as store:
            await commit(store, sale(store, 1_000))
            kinds: list[Callable[[], Unit]] = [
                lambda: unit(append("Lost/1", 0), missing(store, 77)),
                lambda: unit(append("Lost/1", 0), sale(store, 1_000)),
                lambda: unit(append("Lost/1", 3)),
                lambda: unit(append("Lost/1", 0), Publish("t", "a", UUID(int=1), b"x" * (LIMIT_BYTES + 1))),
                lambda: unit(append("Lost/1", 0), principal=NO_TEXT),
            ]
            units: list[Unit] = []
            for number in range(20):
                units += [unit(append(f"Sale/{number:02}", 0), sale(store, number)), kinds[number % 5]()]
            results = await asyncio.gather(*(store.commit(each) for each in units), return_exceptions=True)
            assert all(isinstance(result, Committed) for result in results[::2])
            expected = [MissedRow, WriteFailed, VersionConflict, MessageTooLarge, WriteFailed]
            assert [type(result) for result in results[1::2]] == expected * 4
            assert await store.log.streams("Sale") == [f"Sale/{number:02}" for number in range(20)]
            assert await store.log.stream("Lost/1") == []
            assert await numbers(store) == [*range(20), 1_000]

    async def test_one_message_is_not_done_twice_in_one_unit(self) -> None:
        """The second mark of the same row loses, and the first with it."""
        async with self.store() as store:
            await commit(store, Deliver(TILL, "a", b"1"))
            (message,) = await store.inbox.due(FOR_EVER, 10)
            with pytest.raises(AlreadyHandled) as raised:
                await commit(store, Handled(message.row), append("Sale/1", 0), Handled(message.row))
            assert raised.value.row == message.row
            assert await store.inbox.due(FOR_EVER, 10) == [message]
            await commit(store, Park(message.row, 1, "poison", hold=True))
            with pytest.raises(NotParked) as again:
                await commit(store, Discard(message.row), append("Sale/1", 0), Unpark(message.row))
            assert again.value.row == message.row
            assert await store.inbox.parked_count() == 1
            assert await store.log.end() == 0

    @pytest.mark.parametrize("kind", ["published", "delivered", "edited"])
    async def test_a_message_of_256_kibibytes_is_taken_and_a_larger_one_is_not(self, kind: str) -> None:
        """The refusal tells its size and the limit."""
        async with self.store() as store:
            await commit(store, Deliver(TILL, "parked", b"1"))
            (message,) = await store.inbox.due(FOR_EVER, 10)
            await commit(store, Park(message.row, 1, "poison", hold=True))

            def of(size: int) -> Publish | Deliver | Unpark:
                envelope = b"x" * size
                if kind == "published":
                    return Publish("shop.events", "a", UUID(int=1), envelope)
                return Deliver(TILL, "a", envelope) if kind == "delivered" else Unpark(message.row, envelope)

            with pytest.raises(MessageTooLarge) as raised:
                await commit(store, of(LIMIT_BYTES + 1))
            assert (raised.value.size_bytes, raised.value.limit_bytes) == (LIMIT_BYTES + 1, LIMIT_BYTES)
            assert isinstance(await commit(store, of(LIMIT_BYTES)), Committed)
