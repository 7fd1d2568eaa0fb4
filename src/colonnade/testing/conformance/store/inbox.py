"""The inbox: lines in their order, heads that workers look at, chains."""

from typing import Literal
from uuid import UUID

import pytest

from colonnade.persistence.failures import AlreadyHandled, MarkMoved
from colonnade.persistence.slots import SLOTS
from colonnade.persistence.store import Chain, DueMessage, Store
from colonnade.persistence.unit import (
    ChainId,
    Deliver,
    Handled,
    Incoming,
    KeepAside,
    Park,
    Receive,
    Retry,
    Succeed,
)
from colonnade.testing.conformance.store.database import FOR_EVER, NOW, StoreSuite, commit

__all__ = ["TILL", "InboxSuite", "delivered", "due", "envelopes", "handle"]

CHAIN = ChainId("shop", UUID(int=9), "shop.events", 3)
TILL = "subscriber:Till"
WHICH: tuple[Literal["longest", "newest", "again"], ...] = ("longest", "newest", "again")


def incoming(seq: int, key: str = "a", *, prev: int | None = None, ready: bool = True, sent_at: int = NOW) -> Incoming:
    """A message of the chain for the till."""
    return Incoming(seq, seq - 1 if prev is None else prev, TILL, key, b'{"seq":%d}' % seq, ready, sent_at)


def delivered(key: str, number: int, consumer: str = TILL, lane: str = "") -> Deliver:
    """A message of the service to itself."""
    return Deliver(consumer, key, b"%d" % number, lane)


async def due(store: Store, now: int = FOR_EVER, limit: int = 100) -> list[DueMessage]:
    """What the till may handle."""
    return await store.inbox.due(now, limit, consumer=TILL)


async def envelopes(store: Store, now: int = FOR_EVER) -> list[bytes]:
    """The envelopes of what the till may handle."""
    return [message.envelope for message in await due(store, now)]


async def handle(store: Store) -> list[bytes]:
    """Handle all that may be handled, one after the other; their envelopes."""
    handled: list[bytes] = []
    while messages := await due(store, limit=1):
        await commit(store, Handled(messages[0].row))
        handled.append(messages[0].envelope)
    return handled


class InboxSuite(StoreSuite):
    """From receiving to done."""

    async def test_a_key_is_handled_in_the_order_of_its_chain(self) -> None:
        """Of each key only the first message is due; the next one when it is done."""
        async with self.store() as store:
            messages = [incoming(1, "a"), incoming(2, "b"), incoming(3, "a"), incoming(4, "a")]
            await commit(store, Receive(CHAIN, 0, 4, messages))
            first, other = await due(store)
            assert (first.key, other.key, first.consumer, first.lane) == ("a", "b", TILL, "")
            assert (first.attempts, first.received_at) == (0, NOW)
            await commit(store, Handled(other.row))
            assert await handle(store) == [b'{"seq":1}', b'{"seq":3}', b'{"seq":4}']
            assert await store.inbox.unhandled() == 0

    async def test_a_message_is_handled_once(self) -> None:
        """The second mark of the same row loses, by whichever effect."""
        async with self.store() as store:
            await commit(store, delivered("a", 1))
            (message,) = await due(store)
            await commit(store, Handled(message.row))
            for effect in (Handled(message.row), Retry(message.row, 1, 0, "no"), Park(message.row, 1, "no", True)):
                with pytest.raises(AlreadyHandled):
                    await commit(store, effect)

    async def test_a_chain_s_mark_moves_from_where_it_stands(self) -> None:
        """Who does not know how far the chain has come receives nothing; what is received is told per chain."""
        async with self.store() as store:
            await commit(store, Receive(CHAIN, 0, 2, [incoming(1), incoming(2)]))
            with pytest.raises(MarkMoved) as raised:
                await commit(store, Receive(CHAIN, 1, 3, [incoming(3)]))
            assert (raised.value.expected, raised.value.actual) == (1, 2)
            other = ChainId("shop", UUID(int=10), "shop.events", 3)
            await commit(store, Receive(other, 0, 1, [incoming(1, "b")]))
            assert {chain.id: chain.received for chain in await store.inbox.chains()} == {CHAIN: 2, other: 1}

    async def test_a_chain_goes_on_in_another_history(self) -> None:
        """From where both have the same; what is beyond and not done is kept aside, and lines go on without it."""
        after = ChainId(CHAIN.source, UUID(int=99), CHAIN.topic, CHAIN.partition)
        async with self.store() as store:
            messages = [
                incoming(1, "a"), incoming(2, "a"), incoming(4, "b"), incoming(5, "c"), incoming(7, "a", ready=False),
            ]  # fmt: skip
            await commit(store, Receive(CHAIN, 0, 5, messages))
            (parked,) = [message for message in await due(store) if message.key == "b"]
            await commit(store, Park(parked.row, 1, "no", True))
            await commit(store, Succeed(CHAIN, after.history, 3, "lost"))
            assert await store.inbox.chains() == [Chain(after, 3)]
            kept = [(each.origin, each.reason, each.data) for each in await store.inbox.kept_aside()]
            assert kept == [
                (f"shop/shop.events/{CHAIN.partition}/{seq}", "lost", b'{"seq":%d}' % seq) for seq in (4, 5, 7)
            ]
            assert await store.inbox.unhandled() == 2
            assert await store.inbox.parked() == []
            # The same numbers are other messages now
            await commit(store, Receive(after, 3, 5, [incoming(4, "b"), incoming(5, "a")]))
            assert await handle(store) == [b'{"seq":1}', b'{"seq":2}', b'{"seq":4}', b'{"seq":5}']

    async def test_a_chain_that_has_gone_on_does_not_go_on_again(self) -> None:
        """Another instance has seen to it; one that has come less far than the fork keeps its mark."""
        after = ChainId(CHAIN.source, UUID(int=99), CHAIN.topic, CHAIN.partition)
        async with self.store() as store:
            await commit(store, Receive(CHAIN, 0, 2, [incoming(1)]))
            for shared in (7, 1):
                await commit(store, Succeed(CHAIN, after.history, shared, "lost"))
            assert await store.inbox.chains() == [Chain(after, 2)]
            with pytest.raises(MarkMoved):
                await commit(store, Receive(CHAIN, 2, 3, [incoming(3)]))

    async def test_an_early_message_waits_for_the_one_before_it(self) -> None:
        """It is kept and named, is not due, and is when its gap is closed; coming again it is kept once."""
        async with self.store() as store:
            await commit(store, Receive(CHAIN, 0, 1, [incoming(1), incoming(3, ready=False)]))
            await commit(store, Receive(CHAIN, 1, 1, [incoming(3, ready=False)]))
            assert await store.inbox.early(CHAIN) == [(3, 2)]
            assert await handle(store) == [b'{"seq":1}']
            await commit(store, Receive(CHAIN, 1, 3, [incoming(2)], completed=[3]))
            assert await store.inbox.early(CHAIN) == []
            assert await handle(store) == [b'{"seq":2}', b'{"seq":3}']

    async def test_an_early_message_is_not_overtaken_in_its_line(self) -> None:
        """What closes its gap may bring what comes behind it in the same unit: it is due before that."""
        async with self.store() as store:
            await commit(store, Receive(CHAIN, 0, 1, [incoming(1), incoming(3, ready=False)]))
            await commit(store, Receive(CHAIN, 1, 4, [incoming(2), incoming(4)], completed=[3]))
            assert await handle(store) == [b'{"seq":%d}' % seq for seq in (1, 2, 3, 4)]

    async def test_lines_are_taken_by_who_has_waited_longest(self) -> None:
        """In the order in which they were sent, a page of them, without those that are at work already."""
        async with self.store() as store:
            await commit(store, *(delivered(f"k{number}", number) for number in range(6)))
            page = await store.inbox.due(FOR_EVER, 2, consumer=TILL)
            assert [message.envelope for message in page] == [b"0", b"1"]
            rest = await store.inbox.due(FOR_EVER, 2, consumer=TILL, without=[message.row for message in page])
            assert [message.envelope for message in rest] == [b"2", b"3"]

    async def test_the_newest_can_be_asked_for(self) -> None:
        """Those that were sent last, of those that have not failed."""
        async with self.store() as store:
            await commit(store, *(delivered(f"k{number}", number) for number in range(5)))
            last = (await due(store))[-1]
            await commit(store, Retry(last.row, 1, NOW, "failed"))
            newest = await store.inbox.due(FOR_EVER, 2, consumer=TILL, which="newest")
            assert [message.envelope for message in newest] == [b"3", b"2"]

    async def test_a_message_is_as_old_as_when_it_was_sent(self) -> None:
        """Whenever it was received: who was sent first is taken first, who was sent last is the newest."""
        async with self.store() as store:
            await commit(store, delivered("own", 9))
            sent = {1: NOW - 3, 2: NOW - 1, 3: NOW - 5, 4: NOW - 2}
            keys = {1: "a", 2: "b", 3: "c", 4: "a"}
            messages = [incoming(seq, keys[seq], sent_at=moment) for seq, moment in sent.items()]
            await commit(store, Receive(CHAIN, 0, 4, messages))
            assert [(each.key, each.sent_at) for each in await due(store)] == [
                ("c", NOW - 5), ("a", NOW - 3), ("b", NOW - 1), ("own", NOW),
            ]  # fmt: skip
            newest = await store.inbox.due(FOR_EVER, 2, consumer=TILL, which="newest")
            assert [each.key for each in newest] == ["own", "b"]
            await commit(store, Handled((await due(store))[1].row))
            assert [(each.key, each.sent_at) for each in await due(store)] == [
                ("c", NOW - 5), ("a", NOW - 2), ("b", NOW - 1), ("own", NOW),
            ]  # fmt: skip

    async def test_the_oldest_is_told_whether_it_is_due_or_not(self) -> None:
        """Of those that are first in line: one that is parked is not told, nor what waits behind it."""
        async with self.store() as store:
            assert await store.inbox.oldest() is None
            sent = {1: ("a", NOW - 9), 2: ("a", NOW - 8), 3: ("b", NOW - 7), 4: ("c", NOW - 6)}
            messages = [incoming(seq, key, sent_at=moment) for seq, (key, moment) in sent.items()]
            await commit(store, Receive(CHAIN, 0, 4, messages), delivered("own", 5, "handlers"))
            rows = {each.key: each.row for each in await store.inbox.due(NOW, 10)}
            await commit(store, Retry(rows["a"], 3, FOR_EVER, "failed"))
            oldest = await store.inbox.oldest()
            assert oldest is not None
            assert (oldest.row, oldest.key, oldest.attempts, oldest.sent_at) == (rows["a"], "a", 3, NOW - 9)
            told = []
            for effect in (
                Park(rows["a"], 4, "no", hold=True), Handled(rows["b"]), Handled(rows["c"]), Handled(rows["own"])
            ):  # fmt: skip
                await commit(store, effect)
                oldest = await store.inbox.oldest()
                told.append(oldest and oldest.key)
            assert told == ["b", "c", "own", None]

    async def test_those_to_be_tried_again_can_be_asked_for(self) -> None:
        """When their moment has come, the earliest first, and none that has not been tried."""
        async with self.store() as store:
            await commit(store, *(delivered(f"k{number}", number) for number in range(5)))
            for number, moment in ((3, NOW + 1), (1, NOW + 2), (2, NOW + 3)):
                row = next(each.row for each in await due(store) if each.key == f"k{number}")
                await commit(store, Retry(row, 1, moment, "failed"))
            again = await store.inbox.due(NOW + 2, 5, consumer=TILL, which="again")
            assert [message.envelope for message in again] == [b"3", b"1"]

    async def test_consumers_do_not_wait_for_each_other(self) -> None:
        """The same key has a line for each consumer; who has messages waiting is told."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2, "handlers"))
            assert sorted(await store.inbox.consumers()) == ["handlers", TILL]
            assert len(await store.inbox.due(FOR_EVER, 10)) == 2
            assert [message.envelope for message in await store.inbox.due(FOR_EVER, 10, consumer="handlers")] == [b"2"]
            assert await store.inbox.due(FOR_EVER, 10, consumer="saga:None") == []

    async def test_lines_fall_into_slots_by_their_keys(self) -> None:
        """Each into one, whatever its consumer; a look into some slots finds what a look into all does there."""
        async with self.store() as store:
            keys = [f"k{number}" for number in range(100)]
            await commit(store, *(Deliver(consumer, key, b"") for key in keys for consumer in (TILL, "handlers")))
            retried = [message.row for message in await due(store)][::3]
            for row in retried:
                await commit(store, Retry(row, 1, 5, "failed"))
            slots: dict[str, int] = {}
            for consumer in (TILL, "handlers"):
                for slot in range(SLOTS):
                    for message in await store.inbox.due(FOR_EVER, 200, consumer=consumer, slots=[slot]):
                        assert slots.setdefault(message.key, slot) == slot
            assert sorted(slots) == sorted(keys)
            assert len(set(slots.values())) > SLOTS // 2
            own = [1, 2, 3, 8, 13]
            for which in WHICH:
                everywhere = await store.inbox.due(FOR_EVER, 200, consumer=TILL, which=which)
                expected = [message for message in everywhere if slots[message.key] in own]
                assert expected
                found = await store.inbox.due(FOR_EVER, 200, consumer=TILL, which=which, slots=own)
                assert found == expected
                first = await store.inbox.due(
                    FOR_EVER, 3, consumer=TILL, which=which, slots=own, without=[expected[0].row]
                )  # fmt: skip
                assert first == expected[1:4]
            to_any = await store.inbox.due(FOR_EVER, 300, slots=own)
            assert len(to_any) == 2 * sum(slot in own for slot in slots.values())
            assert await store.inbox.due(FOR_EVER, 10, consumer=TILL, slots=[]) == []

    async def test_lanes_do_not_wait_for_each_other(self) -> None:
        """Timers and a person's decisions are due though a message of their key is parked and holds it."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2, lane="timers"), delivered("a", 3, lane="controls"))
            message = next(each for each in await due(store) if each.lane == "")
            await commit(store, Park(message.row, 1, "poison", hold=True))
            assert {each.lane for each in await due(store)} == {"timers", "controls"}

    async def test_a_failed_message_waits_and_its_line_with_it(self) -> None:
        """Until its moment nothing of its key is due; then it comes with its attempts, before the others."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), delivered("a", 2), delivered("b", 3))
            message = (await due(store))[0]
            await commit(store, Retry(message.row, 3, NOW + 100, "failed"))
            assert await envelopes(store, NOW + 99) == [b"3"]
            assert await store.inbox.next_due_after(NOW) == NOW + 100
            assert await store.inbox.next_due_after(NOW + 100) is None
            again = next(each for each in await due(store, NOW + 100) if each.key == "a")
            assert (again.envelope, again.attempts) == (b"1", 3)

    async def test_bytes_that_are_no_message_are_kept_aside(self) -> None:
        """With where they came from and what is wrong, page by page, and never due."""
        async with self.store() as store:
            await commit(store, KeepAside("shop/1", "no JSON", b"\xff"), KeepAside("shop/2", "no JSON", b""))
            first, second = await store.inbox.kept_aside()
            assert (first.origin, first.reason, first.data, first.received_at) == ("shop/1", "no JSON", b"\xff", NOW)
            assert await store.inbox.kept_aside(first.row) == [second]
            assert await due(store) == []

    async def test_whether_older_messages_wait_is_known(self) -> None:
        """Of one consumer and key, received before a moment and not parked; other lanes do not count."""
        async with self.store() as store:
            await commit(store, delivered("a", 1), time=NOW)
            await commit(store, delivered("b", 2, lane="timers"), time=NOW)
            waiting = store.inbox.waiting_before
            assert await waiting(TILL, "a", NOW + 1)
            assert not await waiting(TILL, "a", NOW)
            assert not await waiting(TILL, "b", NOW + 1)
            assert not await waiting("handlers", "a", NOW + 1)
            message = next(each for each in await due(store) if each.key == "a")
            await commit(store, Park(message.row, 1, "poison", hold=True))
            assert not await waiting(TILL, "a", NOW + 1)
