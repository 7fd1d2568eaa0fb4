"""Taking the assortment of the shop into the catalog."""

from dataclasses import dataclass
from typing import Protocol

from colonnade.messages import Command, Value

from grocer.catalog.application.queries import Product
from grocer.kernel import Money

__all__ = [
    "Assortment",
    "ImportProducts",
    "ImportProductsHandler",
    "ImportShelfPrices",
    "ImportShelfPricesHandler",
    "ShelfPrice",
]


class ShelfPrice(Value):
    """What one piece of a product costs in its store."""

    product_id: int
    price: Money


class ImportProducts(Command):
    """Take products in, in place of what was known of them."""

    products: tuple[Product, ...]


class ImportShelfPrices(Command):
    """Take the prices of one store in; the store is known from then on."""

    store_id: int
    prices: tuple[ShelfPrice, ...]


class Assortment(Protocol):
    """Where products, stores and prices are kept."""

    def put_products(self, products: tuple[Product, ...]) -> None:
        """Keep `products` when the command at hand is done."""

    def put_prices(self, store_id: int, prices: tuple[ShelfPrice, ...]) -> None:
        """Keep the prices of a store when the command at hand is done."""


@dataclass(frozen=True)
class ImportProductsHandler:
    assortment: Assortment

    async def __call__(self, command: ImportProducts) -> None:
        self.assortment.put_products(command.products)


@dataclass(frozen=True)
class ImportShelfPricesHandler:
    assortment: Assortment

    async def __call__(self, command: ImportShelfPrices) -> None:
        self.assortment.put_prices(command.store_id, command.prices)
