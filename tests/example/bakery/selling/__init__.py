"""Selling: the shop in front of the bakery."""

from dataclasses import dataclass
from uuid import UUID

from colonnade.application import Repository
from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Event
from colonnade.system import Service
from tests.example.bakery.selling import contracts
from tests.example.bakery.selling.contracts import ClearShelf, StockShelf

__all__ = ["service"]


class NoRoom(Conflict):
    """The shelf takes fifty loaves at a time."""

    loaves: int


class ShelfStocked(Event):
    """Bread is on the shelf."""

    batch_id: UUID
    loaves: int


class Shelf(Aggregate[ShelfStocked]):
    """Where a batch lies."""

    loaves: int = 0

    def stock(self, loaves: int) -> None:
        """Put loaves there."""
        if loaves > 50:
            raise NoRoom(loaves)
        self.record(ShelfStocked(self.id, loaves))

    def apply(self, event: ShelfStocked) -> None:
        """Follow what happened."""
        self.loaves = event.loaves


@dataclass(frozen=True)
class StockShelfHandler:
    """Stocks."""

    shelves: Repository[Shelf]

    async def __call__(self, command: StockShelf) -> None:
        """Stock."""
        shelf = Shelf(command.batch_id)
        shelf.stock(command.loaves)
        self.shelves.add(shelf)


@dataclass(frozen=True)
class ClearShelfHandler:
    """Clears."""

    shelves: Repository[Shelf]

    async def __call__(self, command: ClearShelf) -> None:
        """Clear."""
        shelf = await self.shelves.get(command.batch_id)
        shelf.stock(0)


service = Service("selling", contracts=contracts, handlers=[StockShelfHandler, ClearShelfHandler])
