"""The catalog's tables."""

from dataclasses import dataclass

from colonnade.application import upsert
from colonnade.persistence import Tables
from sqlalchemy import Column, Index, Integer, MetaData, Numeric, String, Table

from grocer.catalog.application.assortment import Assortment, ShelfPrice
from grocer.catalog.application.queries import Product

__all__ = ["assortment", "metadata", "products", "shelf_prices", "stores"]

metadata = MetaData()

products = Table(
    "products",
    metadata,
    Column("product_id", Integer, primary_key=True),
    Column("department", String, nullable=False),
    Column("category", String, nullable=False),
    Column("type", String, nullable=False),
    Column("brand", String, nullable=False),
    Column("package_size", String, nullable=False),
    # All words in lower case, for searching
    Column("words", String, nullable=False),
    Index("products_by_department", "department", "product_id"),
)

stores = Table("stores", metadata, Column("store_id", Integer, primary_key=True))

shelf_prices = Table(
    "shelf_prices",
    metadata,
    Column("store_id", Integer, primary_key=True),
    Column("product_id", Integer, primary_key=True),
    Column("price", Numeric, nullable=False),
)


@dataclass(frozen=True)
class TableAssortment:
    tables: Tables

    def put_products(self, products_: tuple[Product, ...]) -> None:
        self.tables.write(
            *(
                upsert(
                    products,
                    product_id=product.product_id,
                    department=product.department,
                    category=product.category,
                    type=product.type,
                    brand=product.brand,
                    package_size=product.package_size,
                    words=" ".join((product.category, product.type, product.brand, product.package_size)).lower(),
                )
                for product in products_
            )
        )

    def put_prices(self, store_id: int, prices: tuple[ShelfPrice, ...]) -> None:
        self.tables.write(
            upsert(stores, store_id=store_id),
            *(
                upsert(shelf_prices, store_id=store_id, product_id=shelf.product_id, price=shelf.price.amount)
                for shelf in prices
            ),
        )


def assortment(tables: Tables) -> Assortment:
    """The assortment is kept in tables."""
    return TableAssortment(tables)
