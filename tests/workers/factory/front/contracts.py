"""What the front office tells."""

from colonnade.messages import Event

__all__ = ["Ordered"]


class Ordered(Event):
    """A customer wants one more item on an order."""

    order_id: int
    item: int
