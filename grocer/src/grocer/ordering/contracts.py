"""What other services may know of orders."""

from uuid import UUID

from colonnade.messages import Event, Positive, Value

from grocer.kernel import Money

__all__ = ["OrderCancelled", "OrderConfirmed", "OrderLine", "OrderPlaced", "OrderRejected"]


class OrderLine(Value):
    """So many pieces of a product at a price."""

    product_id: int
    quantity: Positive
    price: Money


class OrderPlaced(Event):
    """A customer ordered goods of a store."""

    order_id: UUID
    customer_id: UUID
    store_id: int
    lines: tuple[OrderLine, ...]
    total: Money


class OrderConfirmed(Event):
    """The goods are set aside, paid and on their way."""

    order_id: UUID
    customer_id: UUID
    store_id: int
    lines: tuple[OrderLine, ...]
    total: Money


class OrderRejected(Event):
    """The order could not be fulfilled; `code` names the refusal that was in the way."""

    order_id: UUID
    customer_id: UUID
    code: str
    reason: str


class OrderCancelled(Event):
    """The customer took the order back; it had been confirmed before, or not."""

    order_id: UUID
    customer_id: UUID
    store_id: int
    lines: tuple[OrderLine, ...]
    total: Money
    confirmed: bool
