"""The hall: makes what was ordered, and bills it; its tools break when a test wants them to."""

from collections.abc import Callable
from dataclasses import dataclass, field

from colonnade.application import Delivery, Repository, Subscriber
from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Command, Event
from colonnade.system import Service
from tests.workers.factory.front.contracts import Ordered
from tests.workers.factory.hall import contracts
from tests.workers.factory.hall.contracts import Bill

__all__ = ["Tools", "hall"]


@dataclass
class Tools:
    """Break for the orders in `broken`, and remember who used them."""

    broken: set[int] = field(default_factory=set)
    used: list[Delivery] = field(default_factory=list)
    billed: Callable[[], None] = lambda: None

    def use(self, order_id: int) -> None:
        """Fail for a broken order."""
        if order_id in self.broken:
            raise RuntimeError(f"the tools for order {order_id} are broken")


class Made(Event):
    """An item is made."""

    item: int


class Billed(Event):
    """An item is on the bill."""

    item: int


class TooDear(Conflict):
    """No customer pays for more than a hundred."""

    item: int


class Job(Aggregate[Made, int]):
    """What was made for an order."""

    def apply(self, event: Made) -> None:
        """Nothing is remembered."""


class Invoice(Aggregate[Billed, int]):
    """The bill of an order."""

    def apply(self, event: Billed) -> None:
        """Nothing is remembered."""


class Note(Command):
    """Note down what was made."""

    order_id: int
    item: int


@dataclass(frozen=True)
class Make(Subscriber[Ordered]):
    """Makes every item, in the order in which they were ordered."""

    tools: Tools

    async def on(self, event: Ordered, delivery: Delivery) -> Note:
        """Make one."""
        self.tools.used.append(delivery)
        self.tools.use(event.order_id)
        return Note(event.order_id, event.item)


@dataclass(frozen=True)
class NoteHandler:
    """Notes."""

    jobs: Repository[Job]

    async def __call__(self, command: Note) -> None:
        """Note."""
        job = await self.jobs.find(command.order_id)
        if job is None:
            job = Job(command.order_id)
            self.jobs.add(job)
        job.record(Made(command.item))
        if command.item > 1_000:
            raise TooDear(command.item)


@dataclass(frozen=True)
class BillHandler:
    """Bills."""

    invoices: Repository[Invoice]
    tools: Tools

    async def __call__(self, command: Bill) -> None:
        """Bill."""
        self.tools.use(command.order_id)
        invoice = await self.invoices.find(command.order_id)
        if invoice is None:
            invoice = Invoice(command.order_id)
            self.invoices.add(invoice)
        invoice.record(Billed(command.item))
        self.tools.billed()
        if command.item > 100:
            raise TooDear(command.item)


def hall(tools: Tools) -> Service:
    """The hall with these tools."""

    def provide() -> Tools:
        return tools

    return Service(
        "hall", contracts=contracts, handlers=[NoteHandler, BillHandler], subscribers=[Make], providers=[provide]
    )
