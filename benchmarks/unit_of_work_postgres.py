"""The whole unit of work on PostgreSQL, ours: a command through the mediator, its aggregate's stream of ten events
loaded, a decision, and its events and their messages for the outbox committed. No aggregate is in memory, and nobody
relays: what is measured is the command.

python -m benchmarks.postgres unit_of_work_postgres TASKS EVENTS
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from uuid import UUID

import uvloop

from benchmarks.commanding import EVENTS_BEFORE, STREAMS, measured, stream_id
from benchmarks.measuring import Measured, tell
from benchmarks.postgres import Postgres
from colonnade.application import Delivery, Repository, Subscriber
from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Command, Event
from colonnade.persistence import DataDirectory
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.postgres.notices import ANSWER_SECONDS
from colonnade.persistence.store import Store
from colonnade.system import Service, System
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.system.runtime import build
from colonnade.testing.running import RunningSystem
from colonnade.world import real_world

DATABASE, SEEDED = "unit_of_work", "unit_of_work_seeded"
SEEDED_TOGETHER = 100
ORDER = UUID(int=7)


class Reserved(Event):
    order_id: UUID
    quantity: int


class OutOfStock(Conflict):
    """There are no more."""


class Stock(Aggregate[Reserved]):
    on_hand = 1_000_000

    def reserve(self, order_id: UUID, quantity: int) -> None:
        if self.on_hand < quantity:
            raise OutOfStock
        self.record(Reserved(order_id, quantity))

    def apply(self, event: Reserved) -> None:
        self.on_hand -= event.quantity


class Reserve(Command):
    product_id: UUID
    order_id: UUID
    events: int


@dataclass(frozen=True)
class ReserveHandler:
    stocks: Repository[Stock]

    async def __call__(self, command: Reserve) -> None:
        stock = await self.stocks.find(command.product_id) or Stock(command.product_id)
        for _ in range(command.events):
            stock.reserve(command.order_id, 1)
        self.stocks.add(stock)


class Receive(Command):
    """Begin the streams of these products, each with so many events."""

    product_ids: list[UUID]
    events: int


@dataclass(frozen=True)
class ReceiveHandler:
    stocks: Repository[Stock]

    async def __call__(self, command: Receive) -> None:
        for product_id in command.product_ids:
            stock = Stock(product_id)
            for _ in range(command.events):
                stock.reserve(ORDER, 1)
            self.stocks.add(stock)


class TellCustomer(Subscriber[Reserved]):
    async def on(self, event: Reserved, delivery: Delivery) -> None:
        raise AssertionError("nobody relays here")


contracts = ModuleType("contracts")
Reserved.__module__ = contracts.__name__
contracts.Reserved = Reserved  # type: ignore[attr-defined]  # a module made here

own = Service("shop", contracts=contracts, handlers=[ReserveHandler, ReceiveHandler])
shop = System("bench", [own, Service("ordering", subscribers=[TellCustomer])])
unheard = System("bench", [own])
"""Nobody listens, and nothing goes to the outbox."""


async def measure(tasks: int, events: int) -> Measured:
    postgres = Postgres()
    if not await postgres.has(SEEDED):
        async with running(await postgres.make(DATABASE)) as system:
            for first in range(0, STREAMS, SEEDED_TOGETHER):
                numbers = range(first, first + SEEDED_TOGETHER)
                await asyncio.gather(*(system.execute(reservation(number, EVENTS_BEFORE)) for number in numbers))
        await postgres.keep(DATABASE, SEEDED)
    async with running(await postgres.make(DATABASE, SEEDED)) as system:
        spare_what_stays()  # as a host does
        await asyncio.sleep(ANSWER_SECONDS)  # from then on it knows that it is alone, and notifies nobody
        return await measured(postgres, lambda number: system.execute(reservation(number, events)), tasks)


def reservation(number: int, events: int) -> Reserve:
    return Reserve(stream_id(number), ORDER, events)


@asynccontextmanager
async def running(url: str, system: System = shop) -> AsyncIterator[RunningSystem]:
    """The service on the database at `url`, without what works in its background."""
    world = real_world()

    async def open_store(service: str) -> Store:
        return await open_postgres_store(url, world)

    with tempfile.TemporaryDirectory() as data:
        engines = replace(embedded_engines(DataDirectory(Path(data)), world), open_store=open_store)
        runtime = await build(system, engines, world, only={"shop"})
        try:
            yield RunningSystem(runtime)
        finally:
            await runtime.close()


if __name__ == "__main__":
    tell(uvloop.run(measure(int(sys.argv[1]), int(sys.argv[2]))))
