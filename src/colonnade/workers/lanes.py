"""The messages of a topic on their way to the broker, one batch after the other."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from uuid import UUID

from colonnade.brokers.broker import Broker, Carried
from colonnade.observability.logs import get_logger
from colonnade.persistence.store import OutboxRow, OutboxRows
from colonnade.workers.backoff import Backoff
from colonnade.world import World

__all__ = ["LANE_ROWS", "Lane"]

BATCH_ROWS = 256

LANE_ROWS = 1_024
"""How many messages of a lane wait in memory; when there are more, the rest stays in the outbox until they left."""

_log = get_logger()


class Lane:
    """Publishes the messages of one topic, so that no topic waits for another's consumers.

    One batch at a time: what comes while it is taken over, which may be a commit, goes together in the next.
    `reached` says for each partition which message the broker has acknowledged last; it is the `prev` of the next.
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
    ) -> None:
        self.topic = topic
        self.reached = dict(reached)
        self._source = source
        self._history = history
        self._broker = broker
        self._world = world
        self._moved = moved
        self._rows: deque[OutboxRow] = deque()
        self._filled = asyncio.Event()
        self._left_after: int | None = None
        self._publishing_since: float | None = None
        self._failure: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all that was offered has been acknowledged."""
        return not self._rows and self._left_after is None

    def trouble(self) -> tuple[float, str] | None:
        """For how many seconds the broker has not taken the messages at hand, and why, if that is known."""
        if self._publishing_since is None:
            return None
        return self._world.clock.monotonic() - self._publishing_since, self._failure or "the broker does not answer"

    def offer(self, row: OutboxRow) -> None:
        """Take `row`, which comes after all offered before; it is left in the outbox while too many wait here."""
        if row.seq <= self.reached.get(row.partition, 0):
            return
        if self._left_after is None and len(self._rows) >= LANE_ROWS:
            self._left_after = row.seq - 1
        if self._left_after is None:
            self._rows.append(row)
            self._filled.set()

    async def run(self, outbox: OutboxRows, offered: Callable[[], int]) -> None:
        """Publish until cancelled; `offered` tells up to which seq the outbox has been offered."""
        while True:
            if self._rows:
                await self._publish(list(islice(self._rows, BATCH_ROWS)))
            elif self._left_after is not None:
                await self._fetch_left(outbox, offered)
            else:
                self._filled.clear()
                await self._filled.wait()

    async def _fetch_left(self, outbox: OutboxRows, offered: Callable[[], int]) -> None:
        assert self._left_after is not None
        page = await outbox.pending(self._left_after, BATCH_ROWS)
        # What comes later than all that was offered will be offered
        up_to = offered()
        self._rows.extend(row for row in page if row.topic == self.topic and row.seq <= up_to)
        done = not page or page[-1].seq >= up_to
        self._left_after = None if done else page[-1].seq

    async def _publish(self, rows: Sequence[OutboxRow]) -> None:
        ahead = dict(self.reached)
        carried = []
        for row in rows:
            prev = ahead.get(row.partition, 0)
            carried.append(
                Carried(
                    self._source, self._history, row.topic, row.partition, row.seq, prev, row.key, row.envelope
                )
            )  # fmt: skip
            ahead[row.partition] = row.seq
        await self._until_taken(carried)
        for _ in rows:
            self._rows.popleft()
        self.reached = ahead
        self._moved()

    async def _until_taken(self, carried: Sequence[Carried]) -> None:
        backoff: Backoff | None = None
        self._publishing_since = self._world.clock.monotonic()
        try:
            while True:
                try:
                    await self._broker.publish(carried)
                except Exception as error:  # whatever an adapter's client raises: the messages stay, and go again
                    if backoff is None:
                        backoff = Backoff(self._world.randomness)
                        _log.warning("messages not taken", service=self._source, topic=self.topic, cause=str(error))
                    self._failure = str(error)
                    await self._world.sleep(backoff.next_seconds())
                else:
                    return
        finally:
            self._publishing_since = self._failure = None
