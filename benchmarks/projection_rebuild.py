"""Bar (e), ours: how fast a projection is rebuilt from the log, in events a second and CPU an event, on SQLite FULL.

python -m benchmarks.projection_rebuild [events]
"""

import asyncio
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from sqlalchemy import Column, DateTime, MetaData, Numeric, String, Table, Uuid

from benchmarks.measuring import Measured, Stopwatch, tell
from colonnade.application import Projection, Write, change, upsert
from colonnade.messages import Event, Metadata, Value
from colonnade.messages.codec import MessageCodec
from colonnade.messages.names import MessageNames
from colonnade.persistence.sqlite import SqliteStore, open_sqlite_store
from colonnade.persistence.tables.models import ReadModels
from colonnade.persistence.unit import Append, NewEvent, Unit
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.workers.projections import Projector
from colonnade.world import World, real_world

EVENTS = 40_000
ORDERS_IN_A_UNIT = 250


class Line(Value):
    product_id: int
    quantity: int
    price: Decimal


class Placed(Event):
    order_id: UUID
    customer_id: UUID
    lines: tuple[Line, ...]
    total: Decimal


class Confirmed(Event):
    order_id: UUID


orders = Table(
    "orders",
    MetaData(),
    Column("order_id", Uuid, primary_key=True),
    Column("customer_id", Uuid, nullable=False),
    Column("total", Numeric, nullable=False),
    Column("status", String, nullable=False),
    Column("placed_at", DateTime(timezone=True), nullable=False),
)


class Orders(Projection[Placed | Confirmed]):
    tables = (orders,)

    def on(self, event: Placed | Confirmed, meta: Metadata) -> Write:
        match event:
            case Placed():
                return upsert(
                    orders,
                    order_id=event.order_id,
                    customer_id=event.customer_id,
                    total=event.total,
                    status="pending",
                    placed_at=meta.time,
                )
            case Confirmed():
                return change(orders, order_id=event.order_id, status="confirmed")


async def measure(events: int) -> Measured:
    """Rebuild the read model of so many events; half of them make a row and half change one."""
    world = real_world()
    names = MessageNames()
    names.bind("sales", [Placed, Confirmed], {})
    codec = MessageCodec(names)
    with tempfile.TemporaryDirectory() as folder:
        store = await open_sqlite_store(Path(folder) / "sales.sqlite3", world)
        try:
            await _record(store, codec, world, events)
            models = ReadModels("sales", store, world)
            projector = Projector(Orders(), ["sales.Placed", "sales.Confirmed"], store, codec, models, world)
            await projector.open()
            while await projector.step():
                continue
            spare_what_stays()  # as a host does
            watch = Stopwatch()
            with watch.running():
                async for progress in projector.rebuild():
                    if progress.position == events:
                        break
            while await projector.step():  # the old rows go, which is not part of it
                continue
            return watch.of(events)
        finally:
            await store.close()


async def _record(store: SqliteStore, codec: MessageCodec, world: World, events: int) -> None:
    lines = tuple(Line(product, 2, Decimal("3.50")) for product in range(4))
    for first in range(0, events // 2, ORDERS_IN_A_UNIT):
        unit = Unit(world.clock.micros(), world.ids.new())
        for number in range(first, min(first + ORDERS_IN_A_UNIT, events // 2)):
            order = UUID(int=number)
            happened = [Placed(order, UUID(int=number % 2_469), lines, Decimal("28.00")), Confirmed(order)]
            encoded = [codec.encode(event) for event in happened]
            new = [NewEvent(world.ids.new(), each.name, each.version, each.data) for each in encoded]
            unit.effects.append(Append(f"Order/{order}", 0, new))
        await store.commit(unit)


if __name__ == "__main__":
    tell(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)))
