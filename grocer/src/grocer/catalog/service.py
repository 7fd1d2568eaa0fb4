"""The catalog: stores, products and what they cost."""

from collections.abc import Iterator
from itertools import groupby

from colonnade.messages import Command
from colonnade.system import Service

from grocer.catalog import contracts
from grocer.catalog.application.assortment import (
    ImportProducts,
    ImportProductsHandler,
    ImportShelfPrices,
    ImportShelfPricesHandler,
    ShelfPrice,
)
from grocer.catalog.application.queries import Product
from grocer.catalog.infrastructure.reading import ProductByIdHandler, QuotePricesHandler, SearchProductsHandler
from grocer.catalog.infrastructure.tables import assortment, metadata
from grocer.catalog.presentation.api import api
from grocer.shop.day import load_day

__all__ = ["catalog"]

PRODUCTS_A_COMMAND = 500


def opening() -> Iterator[Command]:
    """The products and prices with which the shop opens."""
    day = load_day()
    products = [
        Product(
            product.product_id,
            product.department,
            product.product_category,
            product.product_type,
            product.brand,
            product.package_size,
        )
        for product in day.products
    ]
    for start in range(0, len(products), PRODUCTS_A_COMMAND):
        yield ImportProducts(tuple(products[start : start + PRODUCTS_A_COMMAND]))
    for store_id, shelves in groupby(sorted(day.prices), key=lambda shelf: shelf.store_id):
        prices = tuple(ShelfPrice(shelf.product_id, day.prices[shelf]) for shelf in shelves)
        yield ImportShelfPrices(store_id, prices)


catalog = Service(
    "catalog",
    contracts=contracts,
    handlers=[
        ImportProductsHandler,
        ImportShelfPricesHandler,
        ProductByIdHandler,
        SearchProductsHandler,
        QuotePricesHandler,
    ],
    providers=[assortment],
    tables=metadata,
    api=api,
    opening=opening,
)
