"""The relay: what is in the outbox reaches the broker, in order, at least once (transactional outbox, Richardson)."""

import asyncio
from collections.abc import Sequence

from colonnade.brokers.broker import Broker
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.failures import LeaseLost
from colonnade.persistence.store import Lease, Store, Touched
from colonnade.persistence.unit import Fence, Relayed, Unit
from colonnade.workers.lanes import Lane
from colonnade.workers.leasing import Freed
from colonnade.workers.waking import Waking
from colonnade.world import World

__all__ = ["Relay"]

PAGE_ROWS = 256
LEASE = "relay"
LEASE_SECONDS = 30.0
"""How long the lease is held beyond its last renewal, where nobody else waits for it."""

MARK_SECONDS = 0.5
"""How long a mark may lag behind the broker's acknowledgement: what was published meanwhile goes out again after a
crash, with the same word, and is known by it; a commit for every batch would cost more than the batch."""

LATE_SECONDS = 9.0
"""Messages that the broker has not taken for so long are told as a health state: that is within 10 s of its loss."""


class Relay:
    """Publishes the outbox of one service, each topic in a lane of its own.

    Each message says which one went before it in its topic's partition. The marks are written behind the broker's
    acknowledgement, under the lease's epoch.
    """

    def __init__(
        self,
        service: str,
        store: Store,
        broker: Broker,
        world: World,
        owner: str,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._service = service
        self._store = store
        self._broker = broker
        self._world = world
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._freed = Freed(store, world)
        self._waking = Waking(Touched.OUTBOX, world.clock)
        store.watch(self._waking.touched)
        self._lanes: dict[str, Lane] = {}
        self._moved = asyncio.Event()
        self._offered: int | None = None

    def health(self) -> Sequence[HealthState]:
        """Whether messages cannot leave, and of which topics."""
        troubles = [(topic, trouble) for topic, lane in self._lanes.items() if (trouble := lane.trouble()) is not None]
        return [
            HealthState(
                f"{self._service}.relay.{topic}",
                Severity.DEGRADED,
                f"Messages to {topic} have stayed in the outbox for {seconds:.0f} s: {cause}",
            )
            for topic, (seconds, cause) in troubles
            if seconds >= LATE_SECONDS
        ]

    async def is_behind(self) -> bool:
        """Whether messages of the outbox have not reached the broker."""
        if not all(lane.is_empty for lane in self._lanes.values()):
            return True
        outbox = self._store.outbox
        offered = self._offered if self._offered is not None else await outbox.all_left_up_to()
        return bool(await outbox.pending(offered, 1))

    async def run(self) -> None:
        """Relay until cancelled; raises, in a group, `LeaseLost` when another took over."""
        while True:
            await self._hold_and_relay()

    async def _hold_and_relay(self) -> None:
        lease = await self._store.leases.acquire(LEASE, self._owner, self._lease_seconds)
        if lease is None:
            await self._freed.wait(self._lease_seconds / 3)
            return
        try:
            await self._relay(lease)
        except asyncio.CancelledError:
            # Whoever relays next need not wait until the lease has run out
            await self._store.leases.release(lease)
            raise
        finally:
            self._lanes, self._offered = {}, None

    async def _relay(self, lease: Lease) -> None:
        outbox = self._store.outbox
        marks = await outbox.relayed()
        lanes: dict[str, Lane] = {}
        # What has left stays for a while: it is not passed over row by row
        self._lanes, self._offered = lanes, await outbox.all_left_up_to()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew(lease))
            tasks.create_task(self._keep_marks(marks, Fence(LEASE, lease.epoch)))
            while True:
                self._waking.clear()
                page = await outbox.pending(self._offered, PAGE_ROWS)
                for row in page:
                    lane = lanes.get(row.topic)
                    if lane is None:
                        lane = lanes[row.topic] = self._lane(row.topic, marks)
                        tasks.create_task(lane.run(outbox, lambda: self._offered or 0))
                    lane.offer(row)
                if page:
                    self._offered = page[-1].seq
                if len(page) < PAGE_ROWS:
                    await self._waking.wait()

    def _lane(self, topic: str, marks: dict[tuple[str, int], int]) -> Lane:
        reached = {partition: seq for (of, partition), seq in marks.items() if of == topic}
        return Lane(
            topic,
            self._service,
            self._store.history,
            self._broker,
            self._world,
            reached,
            self._moved.set,
            in_halves=self._store.has_server,
        )

    async def _renew(self, lease: Lease) -> None:
        while True:
            await self._world.sleep(self._lease_seconds / 3)
            held = await self._store.leases.acquire(LEASE, self._owner, self._lease_seconds)
            if held is None or held.epoch != lease.epoch:
                raise LeaseLost(LEASE, lease.epoch)

    async def _keep_marks(self, marks: dict[tuple[str, int], int], fence: Fence) -> None:
        written = dict(marks)
        while True:
            await self._moved.wait()
            await self._world.sleep(MARK_SECONDS)
            self._moved.clear()
            moved = [
                Relayed(lane.topic, partition, seq)
                for lane in self._lanes.values()
                for partition, seq in lane.reached.items()
                if written.get((lane.topic, partition)) != seq
            ]
            if not moved:
                continue
            unit = Unit(self._world.clock.micros(), self._world.ids.new(), effects=[*moved], fence=fence)
            await self._store.commit(unit)
            written.update({(mark.topic, mark.partition): mark.seq for mark in moved})
