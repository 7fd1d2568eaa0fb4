"""What may be asked of the hall."""

from colonnade.messages import Command

__all__ = ["Bill"]


class Bill(Command):
    """Put an item on the bill of an order."""

    order_id: int
    item: int
