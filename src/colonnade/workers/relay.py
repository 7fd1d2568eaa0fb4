"""The relay: what is in the outbox reaches the broker, in order, at least once (transactional outbox, Richardson)."""

from collections.abc import Sequence

from colonnade.brokers.broker import Broker, Carried
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import OutboxRow, Store, Touched
from colonnade.persistence.unit import Fence, Relayed, Unit
from colonnade.workers.backoff import Backoff
from colonnade.workers.waking import Waking
from colonnade.world import World

__all__ = ["Relay"]

PAGE_ROWS = 256
LEASE = "relay"
LEASE_SECONDS = 30.0


class Relay:
    """Publishes the outbox of one service.

    Each message says which one went before it in its topic's partition. The mark is written behind the broker's
    acknowledgement, under the lease's epoch; what was published and not marked is published again with the same word.
    """

    def __init__(self, service: str, store: Store, broker: Broker, world: World, owner: str) -> None:
        self._service = service
        self._store = store
        self._broker = broker
        self._world = world
        self._owner = owner
        self._waking = Waking(Touched.OUTBOX, world.clock)
        store.watch(self._waking.touched)
        self._failing: HealthState | None = None
        self._after = 0

    def health(self) -> Sequence[HealthState]:
        """Whether messages cannot leave."""
        return (self._failing,) if self._failing is not None else ()

    async def is_behind(self) -> bool:
        """Whether messages of the outbox have not reached the broker."""
        return bool(await self._store.outbox.pending(self._after, 1))

    async def run(self) -> None:
        """Relay until cancelled."""
        backoff = Backoff(self._world.randomness)
        while True:
            try:
                await self._hold_and_relay()
            except (Exception, ExceptionGroup) as error:
                self._failing = HealthState(
                    f"{self._service}.relay", Severity.DEGRADED, f"Messages stay in the outbox: {error}"
                )
                await self._world.sleep(backoff.next_seconds())
            else:
                backoff.reset()

    async def _hold_and_relay(self) -> None:
        lease = await self._store.leases.acquire(LEASE, self._owner, LEASE_SECONDS)
        if lease is None:
            await self._world.sleep(LEASE_SECONDS / 3)
            return
        fence = Fence(LEASE, lease.epoch)
        marks = await self._store.outbox.relayed()
        self._after = 0
        renew_at = self._world.clock.monotonic() + LEASE_SECONDS / 3
        while True:
            self._waking.clear()
            page = await self._store.outbox.pending(self._after, PAGE_ROWS)
            fresh = [row for row in page if row.seq > marks.get((row.topic, row.partition), 0)]
            if fresh:
                await self._publish(fresh, marks, fence)
                self._failing = None
            if page:
                self._after = page[-1].seq
            else:
                await self._waking.wait(self._world.clock.micros() + int(LEASE_SECONDS / 3 * 1_000_000))
            if self._world.clock.monotonic() >= renew_at:
                if await self._store.leases.acquire(LEASE, self._owner, LEASE_SECONDS) is None:
                    return
                renew_at = self._world.clock.monotonic() + LEASE_SECONDS / 3

    async def _publish(self, rows: Sequence[OutboxRow], marks: dict[tuple[str, int], int], fence: Fence) -> None:
        ahead = dict(marks)
        carried = []
        for row in rows:
            chain = (row.topic, row.partition)
            carried.append(
                Carried(
                    self._service, self._store.history, row.topic, row.partition, row.seq, ahead.get(chain, 0),
                    row.key, row.envelope,
                )
            )  # fmt: skip
            ahead[chain] = row.seq
        await self._broker.publish(carried)
        moved = [
            Relayed(topic, partition, seq)
            for (topic, partition), seq in ahead.items()
            if marks.get((topic, partition)) != seq
        ]
        unit = Unit(self._world.clock.micros(), rows[0].id, effects=[*moved], fence=fence)
        await self._store.commit(unit)
        marks.update(ahead)
