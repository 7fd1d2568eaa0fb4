"""Bar (a), ours: an aggregate is loaded by nobody, records events and is saved in one unit of work, on SQLite FULL.

python -m benchmarks.unit_of_work TASKS EVENTS
"""

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import uvloop

from benchmarks.measuring import Measured, Stopwatch, tell
from colonnade.application import Ids, Repository
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event, Value
from colonnade.system import Service, System
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.testing import running_system

SECONDS = 1.0
WARM_SECONDS = 0.3


class Line(Value):
    product_id: int
    quantity: int
    price: Decimal


class Placed(Event):
    customer_id: UUID
    lines: tuple[Line, ...]
    total: Decimal


class Amended(Event):
    lines: tuple[Line, ...]
    total: Decimal


LINES = tuple(Line(1_000_000 + number, 1, Decimal("2.99")) for number in range(5))
TOTAL = Decimal("14.95")


class Order(Aggregate[Placed | Amended]):
    def apply(self, event: Placed | Amended) -> None:
        self.lines, self.total = event.lines, event.total


class Place(Command):
    events: int


@dataclass(frozen=True)
class PlaceHandler:
    orders: Repository[Order]
    ids: Ids

    async def __call__(self, command: Place) -> None:
        order = Order(self.ids.new())
        order.record(Placed(order.id, LINES, TOTAL))
        for _ in range(command.events - 1):
            order.record(Amended(LINES, TOTAL))
        self.orders.add(order)


shop = System("bench", [Service("shop", handlers=[PlaceHandler])])


async def measure(tasks: int, events: int) -> Measured:
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as data:
        async with running_system(shop, Path(data)) as system:
            command, operations = Place(events), 0

            async def work(until: float) -> None:
                nonlocal operations
                while loop.time() < until:
                    await system.execute(command)
                    operations += 1

            async def all_work(seconds: float) -> None:
                async with asyncio.TaskGroup() as group:
                    for _ in range(tasks):
                        group.create_task(work(loop.time() + seconds))

            spare_what_stays()  # as a host does
            await all_work(WARM_SECONDS)
            operations, watch = 0, Stopwatch()
            with watch.running():
                await all_work(SECONDS)
            return watch.of(operations)


if __name__ == "__main__":
    tell(uvloop.run(measure(int(sys.argv[1]), int(sys.argv[2]))))
