"""The relay: what is in the outbox reaches the broker, in order, at least once."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from colonnade.brokers.broker import Carried, Unreadable
from colonnade.brokers.memory import MemoryBroker
from colonnade.observability.health import Severity
from colonnade.persistence.failures import LeaseLost
from colonnade.persistence.partitions import partition_of
from colonnade.persistence.sqlite import SqliteStore
from colonnade.workers.lanes import LANE_ROWS
from colonnade.workers.relay import LATE_SECONDS, LEASE, LEASE_SECONDS, MARK_SECONDS, Relay
from colonnade.world import World
from tests.workers.hands import WITHIN_SECONDS, Commits, HandClock, commit, opened, published, running, world_of

EVENTS = "shop.events"


class Listener:
    """A member of a group on the broker: remembers what it took over, and may refuse first."""

    def __init__(self) -> None:
        self.taken: list[Carried] = []
        self.refusals = 0
        self.refused = asyncio.Event()
        self._came = asyncio.Event()

    async def receive(self, messages: Sequence[Carried | Unreadable]) -> None:
        """Take `messages` over, or refuse them."""
        if self.refusals:
            self.refusals -= 1
            self.refused.set()
            raise RuntimeError("the disk is full")
        self.taken.extend(each for each in messages if isinstance(each, Carried))
        self._came.set()

    async def until(self, count: int) -> list[Carried]:
        """Wait for so many messages."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(self.taken) < count:
                self._came.clear()
                await self._came.wait()
        return self.taken


async def listening(topic: str = EVENTS) -> tuple[MemoryBroker, Listener]:
    """A broker, and one who listens to `topic`."""
    broker, listener = MemoryBroker(), Listener()
    await broker.subscribe("ordering", [topic], listener.receive)
    return broker, listener


def relay_of(store: SqliteStore, broker: MemoryBroker, world: World, owner: str = "here") -> Relay:
    """The relay of the shop."""
    return Relay("shop", store, broker, world, owner)


def links(messages: Sequence[Carried]) -> dict[int, list[tuple[int, int]]]:
    """(prev, seq) of the messages of each partition, as they came."""
    found: dict[int, list[tuple[int, int]]] = {}
    for message in messages:
        found.setdefault(message.partition, []).append((message.prev, message.seq))
    return found


def chained(seqs: Sequence[int], before: int = 0) -> list[tuple[int, int]]:
    """Each seq after the one before it."""
    return list(zip([before, *seqs], seqs, strict=False))


async def marks_at(store: SqliteStore, clock: HandClock, seq: int, topic: str = EVENTS) -> None:
    """Let the time pass after which marks are written, until the topic's stands at `seq`."""

    async def written() -> bool:
        clock.advance(MARK_SECONDS)
        return max((at for (of, _), at in (await store.outbox.relayed()).items() if of == topic), default=0) == seq

    await Commits(store).until(written)


async def test_messages_leave_in_order_each_naming_the_one_before_it_in_its_partition(tmp_path: Path) -> None:
    """Whatever their keys, the messages of a partition come as they were committed, each with seq and prev."""
    clock = HandClock()
    world = world_of(clock)
    keys = [f"Order/{number % 7}" for number in range(40)]
    broker, listener = await listening()
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world).run):
        for number, key in enumerate(keys):
            await commit(store, world, published(EVENTS, key, number))
        taken = await listener.until(40)
        expected: dict[int, list[int]] = {}
        for seq, key in enumerate(keys, start=1):
            expected.setdefault(partition_of(key, store.partitions), []).append(seq)
    assert len(expected) > 1
    assert links(taken) == {partition: chained(seqs) for partition, seqs in expected.items()}
    assert [message.key for message in taken] == keys
    assert {(message.source, message.history) for message in taken} == {("shop", store.history)}


async def test_each_topic_has_chains_of_its_own(tmp_path: Path) -> None:
    """A message is preceded by one of its own topic, whatever else left between."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    others = Listener()
    await broker.subscribe("payments", ["payments.commands"], others.receive)
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world).run):
        for topic in (EVENTS, "payments.commands", "payments.commands", EVENTS):
            await commit(store, world, published(topic, "a"))
        assert links(await listener.until(2)) == {listener.taken[0].partition: [(0, 1), (1, 4)]}
        assert links(await others.until(2)) == {others.taken[0].partition: [(0, 2), (2, 3)]}


async def test_after_a_restart_it_goes_on_behind_the_last_mark(tmp_path: Path) -> None:
    """Nothing that was marked leaves again, and the next message names the last one before the restart."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world).run):
        await commit(store, world, published(EVENTS, "a", 1), published(EVENTS, "a", 2))
        await listener.until(2)
        await marks_at(store, clock, 2)
    async with opened(tmp_path, world) as store:
        await store.prune([each.seq for each in await store.outbox.left(1)], clock.micros(), 100)
        await commit(store, world, published(EVENTS, "a", 3))
        async with running(relay_of(store, broker, world).run):
            taken = await listener.until(3)
    assert [(message.prev, message.seq) for message in taken] == [(0, 1), (1, 2), (2, 3)]


async def test_what_was_published_but_not_marked_leaves_again_with_the_same_word(tmp_path: Path) -> None:
    """A crash between the broker's acknowledgement and the mark repeats messages, bit by bit."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    async with opened(tmp_path, world) as store:
        await commit(store, world, published(EVENTS, "a", 1))
        async with running(relay_of(store, broker, world).run):
            await listener.until(1)
            await marks_at(store, clock, 1)
            for number in range(2, 6):
                await commit(store, world, published(EVENTS, "a", number))
            await listener.until(5)
            # The clock stands still: no mark is written before the end
        assert max((await store.outbox.relayed()).values()) == 1
        async with running(relay_of(store, broker, world).run):
            taken = await listener.until(9)
    assert taken[5:] == taken[1:5]
    assert [message.prev for message in taken[5:]] == [1, 2, 3, 4]


async def test_an_owner_that_was_overtaken_marks_nothing_and_ends(tmp_path: Path) -> None:
    """Its mark is fenced by the epoch of its lease; the new owner publishes again, with the same word."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world, "old").run) as old:
        await commit(store, world, published(EVENTS, "a", 1), published(EVENTS, "a", 2))
        await listener.until(2)
        clock.jump(LEASE_SECONDS)  # by the store's clock the lease has run out, but it is not yet time to renew it
        assert await store.leases.acquire(LEASE, "new", LEASE_SECONDS) is not None
        await clock.asleep(MARK_SECONDS)
        clock.advance(MARK_SECONDS)
        await asyncio.wait([old], timeout=WITHIN_SECONDS)
        failure = old.exception()
        assert isinstance(failure, BaseExceptionGroup)
        assert failure.subgroup(LeaseLost) is not None
        assert await store.outbox.relayed() == {}
        async with running(relay_of(store, broker, world, "new").run):
            taken = await listener.until(4)
            await marks_at(store, clock, 2)
    assert taken[2:] == taken[:2]


async def test_an_owner_whose_lease_was_taken_ends_when_it_renews(tmp_path: Path) -> None:
    """Also without anything to mark it finds out, and publishes nothing more."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world, "old").run) as old:
        await clock.asleep(LEASE_SECONDS / 3)
        clock.pass_unnoticed(LEASE_SECONDS)
        assert await store.leases.acquire(LEASE, "new", LEASE_SECONDS) is not None
        clock.wake()
        await asyncio.wait([old], timeout=WITHIN_SECONDS)
        failure = old.exception()
        assert isinstance(failure, BaseExceptionGroup)
        assert failure.subgroup(LeaseLost) is not None
        await commit(store, world, published(EVENTS, "a", 1))
        assert listener.taken == []


async def test_a_second_relay_waits_until_the_first_has_let_go(tmp_path: Path) -> None:
    """One owner at a time publishes; one that stops hands over at once, without its lease running out."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    async with opened(tmp_path, world) as store:
        async with running(relay_of(store, broker, world, "first").run):
            await commit(store, world, published(EVENTS, "a", 1))
            await listener.until(1)
            assert await store.leases.acquire(LEASE, "second", LEASE_SECONDS) is None
        assert await store.leases.acquire(LEASE, "second", LEASE_SECONDS) is not None


async def test_a_lease_that_is_renewed_is_kept(tmp_path: Path) -> None:
    """However long the relay works, nobody else gets its lease, and it goes on publishing."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world).run) as relay:
        for number in range(1, 6):
            await commit(store, world, published(EVENTS, "a", number))
            await listener.until(number)
            await clock.asleep(LEASE_SECONDS / 3)
            clock.advance(LEASE_SECONDS / 3)
            assert await store.leases.acquire(LEASE, "other", LEASE_SECONDS) is None
        assert not relay.done()


async def test_what_the_broker_refuses_is_tried_again_and_nothing_is_lost(tmp_path: Path) -> None:
    """Messages stay in the outbox, in order, until they are taken; that it lasts is told as a health state."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    listener.refusals = 3
    async with opened(tmp_path, world) as store:
        relay = relay_of(store, broker, world)
        async with running(relay.run):
            await commit(store, world, *(published(EVENTS, f"Order/{number}", number) for number in range(1, 6)))
            await listener.refused.wait()
            assert not relay.health()
            assert await relay.is_behind()
            await clock.asleep(1.0)
            clock.pass_unnoticed(LATE_SECONDS)
            (state,) = relay.health()
            assert (state.name, state.severity) == ("shop.relay.shop.events", Severity.DEGRADED)
            assert state.detail == "Messages to shop.events have stayed in the outbox for 9 s: the disk is full"
            clock.wake()
            while listener.refusals:
                listener.refused.clear()
                await clock.asleep(1.0)
                clock.advance(1.0)
                await listener.refused.wait()
            await clock.asleep(1.0)
            clock.advance(1.0)
            taken = await listener.until(5)
            await marks_at(store, clock, 5)
            assert not relay.health()
    assert sorted(message.seq for message in taken) == [1, 2, 3, 4, 5]


async def test_a_topic_that_nobody_takes_holds_no_other_up(tmp_path: Path) -> None:
    """Each topic has a lane of its own: the other one's messages leave while the first still fails."""
    clock = HandClock()
    world = world_of(clock)
    broker, refusing = await listening()
    well = Listener()
    await broker.subscribe("payments", ["payments.commands"], well.receive)
    refusing.refusals = 1_000_000
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world).run):
        await commit(store, world, published(EVENTS, "a", 1))
        await refusing.refused.wait()
        for number in range(2, 5):
            await commit(store, world, published("payments.commands", "a", number))
        await well.until(3)
        await marks_at(store, clock, 4, "payments.commands")
        assert [topic for topic, _ in await store.outbox.relayed()] == ["payments.commands"]


async def test_more_than_fits_into_memory_stays_in_the_outbox_until_there_is_room(tmp_path: Path) -> None:
    """While a topic stands still only so many of its messages are in memory; all leave, each once, chains in order."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    listener.refusals = 1
    count = 2 * LANE_ROWS + 300
    async with opened(tmp_path, world) as store, running(relay_of(store, broker, world).run):
        await commit(store, world, published(EVENTS, "Order/0", 0))
        await listener.refused.wait()
        await commit(store, world, *(published(EVENTS, f"Order/{number % 5}", number) for number in range(1, count)))
        await clock.asleep(1.0)
        clock.advance(1.0)
        await listener.until(count)
        await commit(store, world, published(EVENTS, "Order/1", count))
        taken = await listener.until(count + 1)
        await marks_at(store, clock, count + 1)
    assert sorted(message.seq for message in taken) == list(range(1, count + 2))
    assert all(pairs == chained([seq for _, seq in pairs]) for pairs in links(taken).values())


async def test_it_is_behind_until_the_broker_has_taken_everything(tmp_path: Path) -> None:
    """Before it has looked, while a message is on its way, and not any more once it was taken."""
    clock = HandClock()
    world = world_of(clock)
    broker, listener = await listening()
    listener.refusals = 1
    async with opened(tmp_path, world) as store:
        relay = relay_of(store, broker, world)
        assert not await relay.is_behind()
        await commit(store, world, published(EVENTS, "a", 1))
        assert await relay.is_behind()
        async with running(relay.run):
            await listener.refused.wait()
            assert await relay.is_behind()
            await clock.asleep(1.0)
            clock.advance(1.0)
            await listener.until(1)
            await marks_at(store, clock, 1)
            assert not await relay.is_behind()


async def test_a_message_says_from_which_history_it_comes(tmp_path: Path) -> None:
    """Two stores, were they of one service, number their messages alike and are told apart."""
    clock = HandClock()
    world = world_of(clock)
    histories: set[UUID] = set()
    for name in ("shop", "restored"):
        broker, listener = await listening()
        async with opened(tmp_path, world, name) as store, running(relay_of(store, broker, world).run):
            await commit(store, world, published(EVENTS, "a", 1))
            histories.add((await listener.until(1))[0].history)
            assert listener.taken[0].seq == 1
    assert len(histories) == 2
