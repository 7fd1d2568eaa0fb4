"""Filling the shelves of a store."""

from dataclasses import dataclass

from colonnade.application import Repository
from colonnade.domain import Invalid
from colonnade.messages import Command

from grocer.inventory.contracts import Goods
from grocer.inventory.domain.stock import Stock

__all__ = ["FillShelves", "FillShelvesHandler", "ShelfNamedTwice"]


class FillShelves(Command):
    """Bring shelves of a store up to a level, as suppliers do overnight; fuller shelves are left as they are."""

    store_id: int
    levels: tuple[Goods, ...]


class ShelfNamedTwice(Invalid):
    """Each product is named once."""

    product_id: int


@dataclass(frozen=True)
class FillShelvesHandler:
    stocks: Repository[Stock]

    async def __call__(self, command: FillShelves) -> None:
        named = set[int]()
        for level in command.levels:
            if level.product_id in named:
                raise ShelfNamedTwice(level.product_id)
            named.add(level.product_id)
        keys = [Stock.key(command.store_id, level.product_id) for level in command.levels]
        found = await self.stocks.find_all(keys)
        for key, stock, level in zip(keys, found, command.levels, strict=True):
            if stock is None:
                stock = Stock(key)
                self.stocks.add(stock)
            stock.fill_to(level.quantity)
