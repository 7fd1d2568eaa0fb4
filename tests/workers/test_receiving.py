"""The inbox's door: what comes from the broker is written down once, whatever the broker doubles or reorders."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.brokers.broker import Carried
from colonnade.persistence.failures import StoreClosed
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.unit import ChainId
from colonnade.workers.consumers import NOBODY
from colonnade.workers.holes import HOLE_SECONDS
from colonnade.workers.succession import Histories
from colonnade.world import datetime_of
from tests.workers.door import EVENTS, HISTORY, PLACED, a_door, bodies, carried
from tests.workers.hands import commit, envelope, opened, published


async def test_a_message_is_acknowledged_once_it_is_committed(tmp_path: Path) -> None:
    """When `receive` returns, the message is in the file, for every consumer that is interested."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1))
        beside = await open_sqlite_store(door.store.path, door.world, read_only=True)
        try:
            found = await beside.inbox.due(door.clock.micros(), 10)
        finally:
            await beside.close()
    assert sorted((message.consumer, message.key) for message in found) == [("Mailing", "a"), ("Saga:Ship", "a")]


async def test_a_message_that_could_not_be_committed_is_not_acknowledged(tmp_path: Path) -> None:
    """The broker hears of the failure; when the message comes again it is taken as if it were new."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1))
        await door.store.close()
        with pytest.raises(StoreClosed):
            await door.receive(carried(2))
        async with opened(tmp_path, door.world, "ordering") as again:
            door.store = again
            door.restart()
            await door.receive(carried(2))
            assert await door.handled() == bodies(1, 2)


async def test_a_message_is_as_old_as_its_envelope_says(tmp_path: Path) -> None:
    """However late it came; but by a producer's clock that is ahead it is not sent after it was received."""
    async with a_door(tmp_path) as door:
        now, minute = door.clock.micros(), 60_000_000
        times = {"a": now - minute, "b": now + minute}
        bodies = {key: envelope(PLACED, key=key, time=datetime_of(moment)) for key, moment in times.items()}
        await door.receive(carried(1, key="a", body=bodies["a"]), carried(2, key="b", body=bodies["b"]))
        found = [(each.key, each.sent_at, each.received_at) for each in await door.due()]
    assert found == [("a", now - minute, now), ("b", now, now)]


async def test_a_duplicate_is_dropped_for_ever(tmp_path: Path) -> None:
    """While it waits, after it was handled, after its row has gone, and after a restart."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(2), carried(1))
        await door.receive(carried(1))
        assert await door.handled() == bodies(1, 2)
        await door.handled("Saga:Ship")
        await door.receive(carried(2), carried(1))
        assert await door.store.inbox.unhandled() == 0
        door.restart()
        await door.receive(carried(1), carried(2), carried(3))
        assert await door.handled() == bodies(3)


async def test_a_message_that_came_early_waits_for_those_before_it(tmp_path: Path) -> None:
    """It is kept, and acknowledged, but not handled before its predecessor has come; then it is not needed again."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1))
        await door.receive(carried(4), carried(3))
        await door.receive(carried(3))
        assert await door.mark() == 1
        assert await door.handled() == bodies(1)
        await door.receive(carried(2))
        assert await door.mark() == 4
        assert await door.handled() == bodies(2, 3, 4)


async def test_what_came_early_is_handled_before_what_came_after_it_in_its_turn(tmp_path: Path) -> None:
    """One batch closes the gap and goes on behind it, in the line of the early message: the early one is first."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(3))
        await door.receive(carried(4), carried(2))
        assert await door.handled() == bodies(1, 2, 3, 4)


async def test_early_messages_are_known_after_a_restart(tmp_path: Path) -> None:
    """They wait in the store, not in memory."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(3))
        door.restart()
        await door.receive(carried(3))
        await door.receive(carried(2))
        assert await door.handled() == bodies(1, 2, 3)


async def test_the_place_of_a_message_that_nobody_wants_is_known(tmp_path: Path) -> None:
    """It moves the chain when it comes in its turn; early it is kept, so that what follows is not held up later."""
    unwanted = envelope("shop.Dusted")
    async with a_door(tmp_path) as door:
        await door.receive(carried(1, body=unwanted))
        assert (await door.mark(), await door.store.inbox.unhandled()) == (1, 0)
        await door.receive(carried(3, body=unwanted), carried(4))
        door.restart()
        await door.receive(carried(2))
        assert await door.mark() == 4
        assert await door.handled() == bodies(2, 4)
        assert [message.envelope for message in await door.due(NOBODY)] == [unwanted]


async def test_partitions_and_topics_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """A hole in one chain holds only its own messages."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1, partition=1, key="before"), carried(3, partition=1, key="held up"))
        await door.receive(carried(1, partition=2, key="b"), carried(1, topic="ordering.commands", key="c"))
        assert [message.key for message in await door.due()] == ["before", "b"]
        assert [message.key for message in await door.due("handlers")] == ["c"]


async def test_a_chain_met_in_the_middle_begins_with_what_its_producer_still_has(tmp_path: Path) -> None:
    """What was pruned before this service ever listened is not waited for; what is still there comes, in order."""
    async with a_door(tmp_path) as door, opened(tmp_path, door.world) as shop:
        door.producer = shop
        for number in range(3):
            await commit(shop, door.world, published(EVENTS, "a", number))
        rows = await shop.outbox.pending(0, 10)
        chain = ChainId("shop", shop.history, EVENTS, rows[0].partition)
        last = Carried("shop", shop.history, EVENTS, rows[0].partition, 3, 2, "a", rows[2].envelope)
        await door.receive(last)
        assert (await door.mark(), door.asked) == (0, [(chain, 0)])
        assert await door.handled() == []
        door.clock.advance(HOLE_SECONDS)
        await door.inbox.tend()
        assert await door.mark() == 3


async def test_without_anything_earlier_a_chain_begins_where_it_is_met(tmp_path: Path) -> None:
    """The message itself is the first that this service will ever see."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(7))
        assert await door.handled() == bodies(7)
        await door.receive(carried(6), carried(8))
        assert await door.handled() == bodies(8)


async def test_a_new_history_of_a_producer_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    """A restored store numbers its messages anew: they are no duplicates of the lost ones, nor the other way round."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(2))
        for consumer in ("Mailing", "Saga:Ship"):
            assert await door.handled(consumer) == bodies(1, 2)
        door.told = Histories(UUID(int=2), {HISTORY: 0})
        restored = carried(1, history=UUID(int=2), body=envelope(PLACED, b'{"n":"new"}'))
        await door.receive(restored)
        await door.receive(carried(2), carried(3), restored)
        assert await door.handled() == [restored.envelope]
        assert [(chain.id.history, chain.received) for chain in await door.store.inbox.chains()] == [(UUID(int=2), 1)]
        assert [each.data for each in await door.store.inbox.kept_aside()] == bodies(2, 3)


async def test_commands_go_to_the_handlers_and_replies_to_who_asked(tmp_path: Path) -> None:
    """The topic says what a message is; a reply names the consumer and the key that wait for it."""
    async with a_door(tmp_path) as door:
        reply = envelope("colonnade.Reply", replykey="Saga:Ship|order-7|pay|1")
        await door.receive(
            carried(1, topic="ordering.commands", key="c"), carried(1, topic="ordering.replies", body=reply)
        )
        assert [message.key for message in await door.due("handlers")] == ["c"]
        assert [message.key for message in await door.due("Saga:Ship")] == ["order-7"]


@pytest.mark.parametrize(
    ("topic", "body", "reason"),
    [
        (EVENTS, b"\xff\x00 no message", "not a CloudEvents 1.0 message"),
        (EVENTS, b'{"specversion": "1.0"}', "not a CloudEvents 1.0 message"),
        ("ordering.replies", envelope("colonnade.Reply"), "does not say to whom"),
    ],
)
async def test_what_is_no_message_is_kept_aside(tmp_path: Path, topic: str, body: bytes, reason: str) -> None:
    """Its bytes stay, with where they came from and what is wrong; the chain goes on behind it."""
    async with a_door(tmp_path) as door:
        good = envelope("colonnade.Reply", replykey="Saga:Ship|order-7|pay") if topic != EVENTS else carried(2).envelope
        await door.receive(carried(1, topic=topic, body=body), carried(2, topic=topic, body=good))
        await door.receive(carried(1, topic=topic, body=body))
        (kept,) = await door.store.inbox.kept_aside()
        assert (kept.origin, kept.data) == (f"shop/{topic}/0/1", body)
        assert reason in kept.reason
        assert [message.envelope for message in await door.due("Saga:Ship")] == [good]


async def test_what_is_no_message_is_kept_aside_once_though_it_came_early(tmp_path: Path) -> None:
    """Early, again, after a restart, and in its turn: it is one row."""
    async with a_door(tmp_path) as door:
        await door.receive(carried(1), carried(3, body=b"?"))
        await door.receive(carried(3, body=b"?"))
        door.restart()
        await door.receive(carried(3, body=b"?"), carried(2), carried(4))
        assert [kept.data for kept in await door.store.inbox.kept_aside()] == [b"?"]
        assert await door.handled() == bodies(1, 2, 4)


@settings(max_examples=40)
@given(st.data())
def test_whatever_the_broker_doubles_reorders_and_splits_each_takes_effect_once_in_order(data: st.DataObject) -> None:
    """Messages of two partitions in any order and any batches, some of them twice, with restarts between."""
    chains = {
        0: data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=8, unique=True).map(sorted), "partition 0"),
        1: data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=8, unique=True).map(sorted), "partition 1"),
    }
    sent = [
        carried(seq, prev, partition=partition, key=f"{partition}/{seq % 2}")
        for partition, seqs in chains.items()
        for prev, seq in zip([0, *seqs], seqs, strict=False)
    ]
    twice = data.draw(st.lists(st.sampled_from(sent), max_size=6), "doubled")
    order = data.draw(st.permutations([*sent, *twice]), "order")
    cuts = data.draw(st.sets(st.integers(1, len(order)), max_size=5), "batches")
    restarts = data.draw(st.sets(st.sampled_from(sorted(cuts)) if cuts else st.nothing()), "restarts")
    handling = data.draw(st.sets(st.sampled_from(sorted(cuts)) if cuts else st.nothing()), "handled at")

    async def run(path: Path) -> list[bytes]:
        taken = []
        async with a_door(path) as door:
            door.kept_by_producer = sent
            for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(order)], strict=True):
                if begin in restarts:
                    door.restart()
                if begin in handling:
                    taken += await door.handled()
                await door.receive(*order[begin:end])
            taken += await door.handled()
            assert {chain.received for chain in await door.store.inbox.chains()} == {
                max(each) for each in chains.values()
            }
        return taken

    with TemporaryDirectory() as folder:
        taken = asyncio.run(run(Path(folder)))
    for key in {message.key for message in sent}:
        mine = [message.envelope for message in sent if message.key == key]
        assert [body for body in taken if body in mine] == mine
    assert len(taken) == len(sent)
