"""Answers from the catalog's tables."""

from dataclasses import dataclass
from typing import Any

from colonnade.application import Page, cursor_at, cursor_keys
from colonnade.persistence import Reads
from sqlalchemy import bindparam, select

from grocer.catalog.application.queries import Product, ProductById, SearchProducts
from grocer.catalog.contracts import Price, QuotePrices
from grocer.catalog.domain.assortment import UnknownProduct, UnknownStore
from grocer.catalog.infrastructure.tables import products, shelf_prices, stores
from grocer.kernel import Money

__all__ = ["ProductByIdHandler", "QuotePricesHandler", "SearchProductsHandler"]

_product = select(
    products.c.product_id,
    products.c.department,
    products.c.category,
    products.c.type,
    products.c.brand,
    products.c.package_size,
)

_prices = select(shelf_prices.c.product_id, shelf_prices.c.price).where(
    shelf_prices.c.store_id == bindparam("store_id"),
    shelf_prices.c.product_id.in_(bindparam("product_ids", expanding=True)),
)


@dataclass(frozen=True)
class ProductByIdHandler:
    reads: Reads

    async def __call__(self, query: ProductById) -> Product:
        row = await self.reads.first(_product.where(products.c.product_id == query.product_id))
        if row is None:
            raise UnknownProduct(query.product_id)
        return Product(*row)


@dataclass(frozen=True)
class SearchProductsHandler:
    reads: Reads

    async def __call__(self, query: SearchProducts) -> Page[Product]:
        found = _product.order_by(products.c.product_id).limit(query.limit + 1)
        for word in (query.search or "").lower().split():
            found = found.where(products.c.words.contains(word, autoescape=True))
        if query.department is not None:
            found = found.where(products.c.department == query.department.upper())
        if query.after is not None:
            (last,) = cursor_keys(query.after, int)
            found = found.where(products.c.product_id > last)
        rows = await self.reads.all(found)
        items = tuple(Product(*row) for row in rows[: query.limit])
        return Page(items, cursor_at(items[-1].product_id) if len(rows) > query.limit else None)


@dataclass(frozen=True)
class QuotePricesHandler:
    reads: Reads

    async def __call__(self, query: QuotePrices) -> tuple[Price, ...]:
        # One statement for all quotes: making it anew takes longer than reading the prices
        rows = await self.reads.all(_prices, {"store_id": query.store_id, "product_ids": query.product_ids})
        prices: dict[int, Any] = dict(rows)
        if missing := [product_id for product_id in query.product_ids if product_id not in prices]:
            store = await self.reads.first(select(stores).where(stores.c.store_id == query.store_id))
            if store is None:
                raise UnknownStore(query.store_id)
            raise UnknownProduct(missing[0])
        return tuple(Price(product_id, Money(prices[product_id])) for product_id in query.product_ids)
