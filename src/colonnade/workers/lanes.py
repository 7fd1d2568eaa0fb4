"""The messages of a topic on their way to the broker, batch by batch."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from colonnade.brokers.broker import Broker, Carried
from colonnade.observability.logs import get_logger
from colonnade.persistence.store import OutboxRow, OutboxRows
from colonnade.workers.backoff import Backoff
from colonnade.world import World

__all__ = ["LANE_ROWS", "Lane"]

BATCH_ROWS = 256

UNDER_WAY = 2
"""How many batches are on their way at a time: where taking one over is a commit, the next is prepared meanwhile."""

MANY_ROWS = 24
"""Of so many messages that come while none is on its way half go first, where a server commits what comes of them: all
together they would wait for it, come back together, and so on for ever."""

LANE_ROWS = 1_024
"""How many messages of a lane are in memory; when there are more, the rest stays in the outbox until they left."""

_log = get_logger()


@dataclass(eq=False, slots=True)
class _Batch:
    """Messages on their way, `ahead` of which the partitions are when they are taken; the second since which."""

    carried: Sequence[Carried]
    ahead: Mapping[int, int]
    since: float
    failure: str | None = None
    taken: bool = False


class Lane:
    """Publishes the messages of one topic, so that no topic waits for another's consumers.

    Few batches at a time: what comes meanwhile goes together in the next, and none begins while one is refused. Many
    that come together are parted where `in_halves` says so.
    `reached` says for each partition which message the broker has acknowledged last, and all before it.
    `moved` is called whenever that changes.
    """

    def __init__(
        self,
        topic: str,
        source: str,
        history: UUID,
        broker: Broker,
        world: World,
        reached: Mapping[int, int],
        moved: Callable[[], None],
        *,
        in_halves: bool,
    ) -> None:
        self.topic = topic
        self.reached: Mapping[int, int] = dict(reached)
        self._source = source
        self._history = history
        self._broker = broker
        self._world = world
        self._moved = moved
        self._in_halves = in_halves
        self._ahead = self.reached
        """As `reached` will be when all that has been begun is taken: the `prev` of the next."""
        self._waiting: deque[OutboxRow] = deque()
        self._under_way: deque[_Batch] = deque()
        self._changed = asyncio.Event()
        self._left_after: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all that was offered has been acknowledged."""
        return not self._waiting and not self._under_way and self._left_after is None

    def trouble(self) -> tuple[float, str] | None:
        """For how many seconds the broker has not taken the messages at hand, and why, if that is known."""
        if not self._under_way:
            return None
        oldest = self._under_way[0]
        return self._world.clock.monotonic() - oldest.since, oldest.failure or "the broker does not answer"

    def offer(self, row: OutboxRow) -> None:
        """Take `row`, which comes after all offered before; it is left in the outbox while too many wait here."""
        if row.seq <= self.reached.get(row.partition, 0):
            return
        kept = len(self._waiting) + sum(len(batch.carried) for batch in self._under_way)
        if self._left_after is None and kept >= LANE_ROWS:
            self._left_after = row.seq - 1
        if self._left_after is None:
            self._waiting.append(row)
            self._changed.set()

    async def run(self, outbox: OutboxRows, offered: Callable[[], int]) -> None:
        """Publish until cancelled; `offered` tells up to which seq the outbox has been offered."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                if self._waiting and self._may_begin():
                    tasks.create_task(self._publish(self._next_batch()))
                elif not self._waiting and self._left_after is not None:
                    await self._fetch_left(outbox, offered)
                else:
                    self._changed.clear()
                    await self._changed.wait()

    async def _fetch_left(self, outbox: OutboxRows, offered: Callable[[], int]) -> None:
        assert self._left_after is not None
        page = await outbox.pending(self._left_after, BATCH_ROWS)
        # What comes later than all that was offered will be offered
        up_to = offered()
        self._waiting.extend(row for row in page if row.topic == self.topic and row.seq <= up_to)
        done = not page or page[-1].seq >= up_to
        self._left_after = None if done else page[-1].seq

    def _may_begin(self) -> bool:
        return len(self._under_way) < UNDER_WAY and all(batch.failure is None for batch in self._under_way)

    def _next_batch(self) -> _Batch:
        count = len(self._waiting)
        if self._in_halves and not self._under_way and count >= MANY_ROWS:
            count = (count + 1) // 2
        ahead = dict(self._ahead)
        carried = []
        for _ in range(min(count, BATCH_ROWS)):
            row = self._waiting.popleft()
            prev = ahead.get(row.partition, 0)
            carried.append(
                Carried(
                    self._source, self._history, row.topic, row.partition, row.seq, prev, row.key, row.envelope
                )
            )  # fmt: skip
            ahead[row.partition] = row.seq
        self._ahead = ahead
        batch = _Batch(carried, ahead, self._world.clock.monotonic())
        self._under_way.append(batch)
        return batch

    async def _publish(self, batch: _Batch) -> None:
        await self._until_taken(batch)
        batch.taken = True
        under_way = self._under_way
        while under_way and under_way[0].taken:
            self.reached = under_way.popleft().ahead
            self._moved()
        self._changed.set()

    async def _until_taken(self, batch: _Batch) -> None:
        backoff: Backoff | None = None
        while True:
            try:
                await self._broker.publish(batch.carried)
            except Exception as error:  # whatever an adapter's client raises: the messages stay, and go again
                if backoff is None:
                    backoff = Backoff(self._world.randomness)
                    _log.warning("messages not taken", service=self._source, topic=self.topic, cause=str(error))
                batch.failure = str(error)
                await self._world.sleep(backoff.next_seconds())
            else:
                return
