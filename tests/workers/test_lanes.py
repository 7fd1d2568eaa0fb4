"""A topic's messages on their way: a second batch goes while the first is being taken, and no message is left out."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.brokers.broker import Broker, Carried, Receiver, Subscription
from colonnade.persistence.store import OutboxRow
from colonnade.workers.lanes import MANY_ROWS, UNDER_WAY, Lane
from tests.workers.hands import WITHIN_SECONDS, HandClock, opened, running, world_of

TOPIC = "shop.events"


class Held:
    """A broker that takes each batch when the test says so."""

    def __init__(self) -> None:
        self.batches: list[tuple[Sequence[Carried], asyncio.Future[None]]] = []
        self._came = asyncio.Event()

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Wait for the test's word."""
        word: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append((messages, word))
        self._came.set()
        await word

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Nobody listens."""
        raise AssertionError("nobody subscribes here")

    async def close(self) -> None:
        """There is nothing to close."""

    async def until(self, count: int) -> list[list[int]]:
        """The seqs of each batch, when so many have come and no more do."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(self.batches) < count:
                self._came.clear()
                await self._came.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        return [[each.seq for each in messages] for messages, _ in self.batches]


def a_lane(broker: Broker, clock: HandClock, *, in_halves: bool = False) -> tuple[Lane, list[Mapping[int, int]]]:
    """A lane, and what it has told of how far it has come."""
    told: list[Mapping[int, int]] = []
    lane = Lane(
        TOPIC,
        "shop",
        UUID(int=1),
        broker,
        world_of(clock),
        {},
        lambda: told.append(lane.reached),
        in_halves=in_halves,
    )
    return lane, told


def offer(lane: Lane, *seqs: int) -> None:
    """Messages of one partition."""
    for seq in seqs:
        lane.offer(OutboxRow(seq, TOPIC, 0, "a", UUID(int=seq), b"{}"))


async def test_a_second_batch_goes_while_the_first_is_being_taken_and_a_third_does_not(tmp_path: Path) -> None:
    """What comes meanwhile goes together in the next, and follows in its chain what is on its way."""
    broker = Held()
    lane, told = a_lane(broker, HandClock())
    async with opened(tmp_path, world_of(HandClock())) as store, running(lambda: lane.run(store.outbox, lambda: 0)):
        for seq in range(1, UNDER_WAY + 1):
            offer(lane, seq)
            await broker.until(seq)
        offer(lane, 3, 4)
        assert await broker.until(2) == [[1], [2]]
        broker.batches[0][1].set_result(None)
        assert await broker.until(3) == [[1], [2], [3, 4]]
        assert [each.prev for messages, _ in broker.batches for each in messages] == [0, 1, 2, 3]
        assert told == [{0: 1}]


async def test_nothing_passes_for_taken_before_what_goes_before_it(tmp_path: Path) -> None:
    """The mark is moved over a batch only when all before it are taken too: else a crash would lose those."""
    broker = Held()
    lane, told = a_lane(broker, HandClock())
    async with opened(tmp_path, world_of(HandClock())) as store, running(lambda: lane.run(store.outbox, lambda: 0)):
        for seq in (1, 2):
            offer(lane, seq)
            await broker.until(seq)
        broker.batches[1][1].set_result(None)
        await broker.until(2)
        assert told == []
        assert not lane.is_empty
        broker.batches[0][1].set_result(None)
        await broker.until(2)
        assert lane.reached == {0: 2}
        assert lane.is_empty


async def test_while_a_batch_is_refused_no_other_begins(tmp_path: Path) -> None:
    """A broker that takes some batches and not others leaves no more than one hole."""
    broker, clock = Held(), HandClock()
    lane, _ = a_lane(broker, clock)
    async with opened(tmp_path, world_of(HandClock())) as store, running(lambda: lane.run(store.outbox, lambda: 0)):
        for seq in (1, 2):
            offer(lane, seq)
            await broker.until(seq)
        broker.batches[0][1].set_exception(RuntimeError("the disk is full"))
        await clock.asleep(1.0)
        broker.batches[1][1].set_result(None)
        offer(lane, 3)
        assert await broker.until(2) == [[1], [2]]
        assert (trouble := lane.trouble()) is not None
        assert trouble[1] == "the disk is full"
        clock.advance(1.0)
        assert await broker.until(3) == [[1], [2], [1]]
        broker.batches[2][1].set_result(None)
        assert await broker.until(4) == [[1], [2], [1], [3]]
        assert lane.reached == {0: 2}


@pytest.mark.parametrize(
    ("count", "in_halves", "batches"),
    [(MANY_ROWS, True, [MANY_ROWS // 2] * 2), (MANY_ROWS - 1, True, [MANY_ROWS - 1]), (MANY_ROWS, False, [MANY_ROWS])],
)
async def test_many_that_come_together_go_in_halves_where_a_server_commits(
    tmp_path: Path, count: int, in_halves: bool, batches: list[int]
) -> None:
    """One half is prepared while the other is committed; few are not worth a batch more."""
    broker = Held()
    lane, _ = a_lane(broker, HandClock(), in_halves=in_halves)
    async with opened(tmp_path, world_of(HandClock())) as store, running(lambda: lane.run(store.outbox, lambda: 0)):
        offer(lane, *range(1, count + 1))
        assert [len(seqs) for seqs in await broker.until(len(batches))] == batches
