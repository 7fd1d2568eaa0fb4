"""An instance of a service as a process: it shares the lines of a store with others, and counts in each line.

`python -m tests.workers.counting URL SCHEMA OWNER LEASE_SECONDS`: works until it is terminated, and ends in order.
"""

import asyncio
import signal
import sys
from dataclasses import dataclass

import msgspec

from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.observability.foreground import Foreground
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.slots import SLOTS
from colonnade.persistence.store import DueMessage, Store
from colonnade.persistence.unit import Append, Effect, Handled, NewEvent, Unit
from colonnade.workers.sharing import Sharing
from colonnade.workers.worker import Worker
from colonnade.world import World, real_world

__all__ = ["CONSUMER", "Counted"]

CONSUMER = "counter"
WORK_SECONDS = 0.002
"""How long a message takes: so long two may be at it, if its line is moved."""


class Counted(msgspec.Struct):
    """What was found in a message, and by whom."""

    number: int
    owner: str


@dataclass(frozen=True)
class Counter:
    """Writes down what each message says, at the end of its key's stream as that is when it begins."""

    store: Store
    world: World
    owner: str
    holds: bool = True
    joins: bool = False

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Write it down, once."""
        stream = f"Count/{due.key}"
        version = len(await self.store.log.stream(stream, limit=10_000))
        await self.world.sleep(WORK_SECONDS)
        data = msgspec.json.encode(Counted(msgspec.json.decode(envelope.data, type=int), self.owner))
        event = NewEvent(self.world.ids.new(), "counter.Counted", 1, data)
        effects: list[Effect] = [Handled(due.row), Append(stream, version, [event])]
        await self.store.commit(Unit(self.world.clock.micros(), context.correlation_id, effects=effects))


async def run(url: str, schema: str, owner: str, seconds: float) -> None:
    """Work until terminated."""
    world = real_world()
    store = await open_postgres_store(url, world, schema=schema)
    worker = Worker("shop", store, {CONSUMER: Counter(store, world, owner)}, world, Foreground())
    sharing = Sharing(
        "lines",
        SLOTS,
        store,
        owner,
        seconds,
        world,
        lambda slots: worker.work_on(None if len(slots) == SLOTS else slots),
    )
    working = asyncio.ensure_future(sharing.run(worker.run))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    await asyncio.wait([working])
    await store.close()
    if not working.cancelled():
        working.result()


if __name__ == "__main__":
    url, schema, owner, seconds = sys.argv[1:]
    asyncio.run(run(url, schema, owner, float(seconds)))
