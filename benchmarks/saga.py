"""Bar (d), ours: a saga of three steps, each an event in the service that does it, 32 in flight, from the command that
begins it to the command that completes it; relay, broker, inbox and read access as in any system.

python -m benchmarks.saga
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from uuid import UUID

import uvloop

from benchmarks.measuring import Measured, Stopwatch, tell
from colonnade.application import Plan, Repository, Saga, Step
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event
from colonnade.persistence import DataDirectory
from colonnade.persistence.postgres.notices import ANSWER_SECONDS
from colonnade.system import Service, System
from colonnade.system.engines import Engines, embedded_engines
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.testing import running_system
from colonnade.world import World, real_world

SAGAS, IN_FLIGHT = 600, 32

ended: dict[UUID, "asyncio.Future[None]"] = {}


class TakeStep(Command):
    order_id: UUID
    name: str


class UndoStep(Command):
    order_id: UUID
    name: str


class OrderPlaced(Event):
    order_id: UUID


class PlaceOrder(Command):
    order_id: UUID


class FinishOrder(Command):
    order_id: UUID


class Order(Aggregate[OrderPlaced]):
    def apply(self, event: OrderPlaced) -> None:
        self.placed = event


class StepTaken(Event):
    name: str


class Effect(Aggregate[StepTaken, str]):
    def apply(self, event: StepTaken) -> None:
        self.name = event.name


@dataclass(frozen=True)
class TakeStepHandler:
    effects: Repository[Effect]

    async def __call__(self, command: TakeStep) -> None:
        effect = Effect(f"{command.order_id}/{command.name}")
        effect.record(StepTaken(command.name))
        self.effects.add(effect)


class UndoStepHandler:
    async def __call__(self, command: UndoStep) -> None:
        raise AssertionError("nothing is refused here")


@dataclass(frozen=True)
class PlaceOrderHandler:
    orders: Repository[Order]

    async def __call__(self, command: PlaceOrder) -> None:
        order = Order(command.order_id)
        order.record(OrderPlaced(command.order_id))
        self.orders.add(order)


class FinishOrderHandler:
    async def __call__(self, command: FinishOrder) -> None:
        ended.pop(command.order_id).set_result(None)


class Fulfil(Saga[OrderPlaced]):
    def key(self, event: OrderPlaced) -> UUID:
        return event.order_id

    def plan(self, event: OrderPlaced) -> Plan:
        of = event.order_id
        steps = [Step(name, TakeStep(of, name), undo=UndoStep(of, name)) for name in ("reserve", "charge", "deliver")]
        return Plan(*steps, completed=FinishOrder(of))


def _contracts(*messages: type) -> ModuleType:
    module = ModuleType("contracts")
    for message in messages:
        message.__module__ = module.__name__
        setattr(module, message.__name__, message)
    return module


system = System(
    "bench",
    [
        Service("orders", handlers=[PlaceOrderHandler, FinishOrderHandler], sagas=[Fulfil]),
        Service("steps", contracts=_contracts(TakeStep, UndoStep), handlers=[TakeStepHandler, UndoStepHandler]),
    ],
)


async def measure(
    engines_on: Callable[[DataDirectory, World], Engines] = embedded_engines,
    server_seconds: Callable[[], float] | None = None,
) -> Measured:
    """Sagas on engines of one's own; `server_seconds` tells the CPU that their server has used."""
    world = real_world()
    ids = world.ids
    with tempfile.TemporaryDirectory() as data:
        engines = engines_on(DataDirectory(Path(data)), world)
        async with running_system(system, Path(data), world, engines=engines) as running:
            places = asyncio.Semaphore(IN_FLIGHT)

            async def one() -> None:
                async with places:
                    order_id = ids.new()
                    done = ended[order_id] = asyncio.get_running_loop().create_future()
                    await running.execute(PlaceOrder(order_id))
                    await done

            await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
            if server_seconds:
                await asyncio.sleep(ANSWER_SECONDS)  # from then on it knows that it is alone, and notifies nobody
            spare_what_stays()  # as a host does
            watch, before = Stopwatch(), server_seconds() if server_seconds else 0.0
            with watch.running():
                await asyncio.gather(*(one() for _ in range(SAGAS)))
            if server_seconds:
                watch.children_cpu_seconds = server_seconds() - before
            await running.settled()
            return watch.of(SAGAS)


if __name__ == "__main__":
    sys.modules.setdefault("benchmarks.saga", sys.modules["__main__"])
    tell(uvloop.run(measure()))
