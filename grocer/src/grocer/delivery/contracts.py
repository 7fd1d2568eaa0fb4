"""What other services may ask of delivery."""

from uuid import UUID

from colonnade.messages import Command

__all__ = ["BookDelivery", "CancelDelivery"]


class BookDelivery(Command):
    """Bring the goods of an order from a store to its customer."""

    order_id: UUID
    customer_id: UUID
    store_id: int


class CancelDelivery(Command):
    """Do not deliver an order, or fetch it back."""

    order_id: UUID
