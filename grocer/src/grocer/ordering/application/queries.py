"""What customers can ask about their orders."""

from datetime import datetime
from uuid import UUID

from colonnade.application import Page, PageSize
from colonnade.domain import NotFound
from colonnade.messages import Query, Value

from grocer.kernel import Money
from grocer.ordering.contracts import OrderLine
from grocer.ordering.domain.order import OrderStatus

__all__ = ["Happening", "OrderById", "OrderSummary", "OrderView", "OrdersByCustomer", "UnknownOrder"]


class UnknownOrder(NotFound):
    """There is no order of that identity."""

    order_id: UUID


class Happening(Value):
    """Something that happened to an order, and when."""

    what: OrderStatus
    when: datetime


class OrderView(Value):
    """An order as its customer sees it; `reason` says why it was rejected."""

    id: UUID
    customer_id: UUID
    store_id: int
    status: OrderStatus
    lines: tuple[OrderLine, ...]
    total: Money
    happened: tuple[Happening, ...]
    reason: str | None = None


class OrderSummary(Value):
    """An order in a list."""

    id: UUID
    status: OrderStatus
    total: Money
    placed_at: datetime


class OrderById(Query[OrderView]):
    """One order."""

    order_id: UUID


class OrdersByCustomer(Query[Page[OrderSummary]]):
    """A customer's orders, newest first."""

    customer_id: UUID
    after: str | None = None
    limit: PageSize = 20
