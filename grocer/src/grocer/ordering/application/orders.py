"""Use cases of customers and of the fulfilment saga on one order."""

from dataclasses import dataclass
from uuid import UUID

from colonnade.application import Ids, Repository, Sagas
from colonnade.messages import Command

from grocer.ordering.application.fulfilment import FulfilOrder
from grocer.ordering.application.ports import PriceList, RequestedLine
from grocer.ordering.application.steps import ConfirmOrder, RejectOrder
from grocer.ordering.domain.order import Order

__all__ = [
    "CancelOrder",
    "CancelOrderHandler",
    "ConfirmOrderHandler",
    "PlaceOrder",
    "PlaceOrderHandler",
    "RejectOrderHandler",
]


class PlaceOrder(Command[UUID]):
    """Order goods of one store."""

    customer_id: UUID
    store_id: int
    lines: tuple[RequestedLine, ...]


class CancelOrder(Command):
    """Take an order back; what was done for it is undone."""

    order_id: UUID


@dataclass(frozen=True)
class PlaceOrderHandler:
    orders: Repository[Order]
    prices: PriceList
    ids: Ids

    async def __call__(self, command: PlaceOrder) -> UUID:
        lines = await self.prices.quote(command.store_id, command.lines)
        order = Order.place(self.ids.new(), command.customer_id, command.store_id, lines)
        self.orders.add(order)
        return order.id


@dataclass(frozen=True)
class ConfirmOrderHandler:
    orders: Repository[Order]

    async def __call__(self, command: ConfirmOrder) -> None:
        (await self.orders.get(command.order_id)).confirm()


@dataclass(frozen=True)
class RejectOrderHandler:
    orders: Repository[Order]

    async def __call__(self, command: RejectOrder) -> None:
        (await self.orders.get(command.order_id)).reject(command.code, command.reason)


@dataclass(frozen=True)
class CancelOrderHandler:
    orders: Repository[Order]
    sagas: Sagas

    async def __call__(self, command: CancelOrder) -> None:
        (await self.orders.get(command.order_id)).cancel()
        self.sagas.cancel(FulfilOrder, command.order_id, "the customer cancelled the order")
