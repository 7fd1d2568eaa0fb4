"""What other services may ask of the shop."""

from uuid import UUID

from colonnade.messages import Command

__all__ = ["ClearShelf", "StockShelf"]


class StockShelf(Command):
    """Put a batch on the shelf."""

    batch_id: UUID
    loaves: int


class ClearShelf(Command):
    """Take a batch off the shelf."""

    batch_id: UUID
