"""The front office: takes orders, tells of them, and has the hall bill them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from colonnade.application import Outbox, Repository
from colonnade.domain import Aggregate
from colonnade.messages import Command
from colonnade.system import Service
from tests.workers.factory.front import contracts
from tests.workers.factory.front.contracts import Ordered
from tests.workers.factory.hall.contracts import Bill

__all__ = ["BillLater", "Order", "front"]


class Order(Command):
    """Order an item."""

    order_id: int
    item: int


class BillLater(Command):
    """Have an item billed after a while, or at a moment."""

    order_id: int
    item: int
    seconds: float | None = None
    moment: datetime | None = None


class Slip(Aggregate[Ordered, int]):
    """What was ordered together."""

    def apply(self, event: Ordered) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True)
class OrderHandler:
    """Takes an item down, and has it billed."""

    slips: Repository[Slip]
    outbox: Outbox

    async def __call__(self, command: Order) -> None:
        """Order."""
        slip = await self.slips.find(command.order_id)
        if slip is None:
            slip = Slip(command.order_id)
            self.slips.add(slip)
        slip.record(Ordered(command.order_id, command.item))
        self.outbox.send(Bill(command.order_id, command.item), key=f"{command.order_id}")


@dataclass(frozen=True)
class BillLaterHandler:
    """Sends the bill when the time has come."""

    outbox: Outbox

    async def __call__(self, command: BillLater) -> None:
        """Send."""
        after = timedelta(seconds=command.seconds) if command.seconds is not None else None
        bill = Bill(command.order_id, command.item)
        self.outbox.send(bill, key=f"{command.order_id}", after=after, at=command.moment)


front = Service("front", contracts=contracts, handlers=[OrderHandler, BillLaterHandler])
