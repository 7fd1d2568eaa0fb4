"""An order: what a customer wants of one store, and what became of it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self
from uuid import UUID

from colonnade.domain import Aggregate, Conflict, Invalid

from grocer.kernel import ZERO, Money
from grocer.ordering.contracts import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderRejected

__all__ = ["EmptyOrder", "Order", "OrderNotPending", "OrderOver", "OrderStatus", "total_of"]


class OrderStatus(StrEnum):
    """How far an order is."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class EmptyOrder(Invalid):
    """An order has at least one line."""


class ProductNamedTwice(Invalid):
    """An order has one line a product."""

    product_id: int


class OrderNotPending(Conflict):
    """Only a pending order can be confirmed or rejected."""

    order_id: UUID
    status: OrderStatus


class OrderOver(Conflict):
    """An order that was rejected or cancelled cannot be cancelled."""

    order_id: UUID
    status: OrderStatus


def total_of(lines: Sequence[OrderLine]) -> Money:
    """What the lines cost together, each in whole cents."""
    total = ZERO
    for line in lines:
        total += line.price * line.quantity
    return total


class Order(Aggregate[OrderPlaced | OrderConfirmed | OrderRejected | OrderCancelled]):
    """One order, from its placing to its end."""

    status: OrderStatus
    placed: OrderPlaced

    @classmethod
    def place(cls, order_id: UUID, customer_id: UUID, store_id: int, lines: Sequence[OrderLine]) -> Self:
        """A new order; raises `EmptyOrder` or `ProductNamedTwice`."""
        if not lines:
            raise EmptyOrder
        seen = set[int]()
        for line in lines:
            if line.product_id in seen:
                raise ProductNamedTwice(line.product_id)
            seen.add(line.product_id)
        order = cls(order_id)
        order.record(OrderPlaced(order_id, customer_id, store_id, tuple(lines), total_of(lines)))
        return order

    def confirm(self) -> None:
        """All went well; raises `OrderNotPending`."""
        if self.status is not OrderStatus.PENDING:
            raise OrderNotPending(self.id, self.status)
        placed = self.placed
        self.record(OrderConfirmed(self.id, placed.customer_id, placed.store_id, placed.lines, placed.total))

    def reject(self, code: str, reason: str) -> None:
        """It cannot be fulfilled; an order that was cancelled meanwhile stays cancelled."""
        if self.status is OrderStatus.CANCELLED:
            return
        if self.status is not OrderStatus.PENDING:
            raise OrderNotPending(self.id, self.status)
        self.record(OrderRejected(self.id, self.placed.customer_id, code, reason))

    def cancel(self) -> None:
        """The customer takes it back; raises `OrderOver`."""
        if self.status not in (OrderStatus.PENDING, OrderStatus.CONFIRMED):
            raise OrderOver(self.id, self.status)
        placed = self.placed
        confirmed = self.status is OrderStatus.CONFIRMED
        self.record(OrderCancelled(self.id, placed.customer_id, placed.store_id, placed.lines, placed.total, confirmed))

    def apply(self, event: OrderPlaced | OrderConfirmed | OrderRejected | OrderCancelled) -> None:
        """Follow what happened."""
        match event:
            case OrderPlaced():
                self.status, self.placed = OrderStatus.PENDING, event
            case OrderConfirmed():
                self.status = OrderStatus.CONFIRMED
            case OrderRejected():
                self.status = OrderStatus.REJECTED
            case OrderCancelled():
                self.status = OrderStatus.CANCELLED
