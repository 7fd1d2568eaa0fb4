"""Old messages leave the outbox for good, and expired answers go.

A message stays for a while after the broker has taken it: a consumer that the broker loses it for, or that was away for
longer than the broker keeps it, fetches it from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from colonnade.persistence.store import LeftMessage, Store
from colonnade.world import World

__all__ = ["Pruning", "Retention"]

KEPT_SECONDS = 14 * 86_400.0
"""Twice as long as a broker's streams keep what a consumer does not fetch (decision 33)."""

KEPT_BYTES = 64 << 20

ROW_BYTES = 250
"""What a message takes in the outbox beside its envelope: its other columns, its places in the indexes."""

PRUNE_EVERY_SECONDS = 5.0
PRUNE_ROWS = 500
WEIGH_ROWS = 5_000
_REST_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a message is kept after it has left: so long, and while the whole outbox is not larger than this.

    What has not left stays, however old and large; it counts, for the disk is one.
    """

    seconds: float = KEPT_SECONDS
    bytes: int = KEPT_BYTES


class Pruning:
    """Prunes one store, in pages and with rests between, so that commits do not wait for it."""

    def __init__(self, store: Store, world: World, retention: Retention) -> None:
        self._store = store
        self._world = world
        self._retention = retention
        self._weighed = 0
        self._bytes = 0

    async def run(self) -> None:
        """Prune until cancelled; one process at a time for each store."""
        self._weighed = self._bytes = 0  # another may have pruned meanwhile
        while True:
            await self._world.sleep(PRUNE_EVERY_SECONDS)
            await self.prune()

    async def prune(self) -> None:
        """Delete all that has been kept for long enough, and all answers that have expired."""
        await self._weigh()
        while True:
            now = self._world.clock.micros()
            gone = self._outlived(await self._store.outbox.left(PRUNE_ROWS), now)
            answers = await self._store.prune([message.seq for message in gone], now, PRUNE_ROWS)
            self._bytes -= sum(map(_bytes_of, gone))
            if max(len(gone), answers) < PRUNE_ROWS:
                return
            await self._world.sleep(_REST_SECONDS)

    async def _weigh(self) -> None:
        while True:
            weight = await self._store.outbox.weigh(self._weighed, WEIGH_ROWS)
            self._weighed = weight.last
            self._bytes += weight.envelope_bytes + ROW_BYTES * weight.messages
            if weight.messages < WEIGH_ROWS:
                return

    def _outlived(self, left: Sequence[LeftMessage], now: int) -> Sequence[LeftMessage]:
        old = now - int(self._retention.seconds * 1_000_000)
        bytes = self._bytes
        for place, message in enumerate(left):
            # None behind one that stays goes, whatever its clock said: what is gone of a chain is its beginning
            if message.time > old and bytes <= self._retention.bytes:
                return left[:place]
            bytes -= _bytes_of(message)
        return left


def _bytes_of(message: LeftMessage) -> int:
    return message.envelope_bytes + ROW_BYTES
