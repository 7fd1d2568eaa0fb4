"""What other services may know of the bakery."""

from uuid import UUID

from colonnade.messages import Event

__all__ = ["BreadBaked"]


class BreadBaked(Event):
    """Loaves came out of the oven."""

    batch_id: UUID
    loaves: int
