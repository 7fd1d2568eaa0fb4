"""A day of real shopping: its baskets, and what the stores must have had for it to happen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import UUID

import msgspec

from grocer.chance import chance
from grocer.kernel import Money
from grocer.shop.rows import BadData, read_rows

__all__ = ["Basket", "BasketLine", "Day", "Product", "Shelf", "load_day"]

DATE = date(2017, 12, 24)
"""The day that Grocer ships."""

SHORTAGE = 0.02
"""The share of the day's lines whose goods never reach the stores, so that some orders cannot be fulfilled."""

_DATA = Path(__file__).parent / "data"

_Id = Annotated[int, msgspec.Meta(gt=0)]
_Dollars = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}\.[0-9]{1,2}\Z")]


class Shelf(NamedTuple):
    """Where a store keeps a product."""

    store_id: int
    product_id: int


class Product(msgspec.Struct, frozen=True, array_like=True):
    """A product as the shop describes it; category, type and size are empty where it does not say."""

    product_id: _Id
    manufacturer_id: _Id
    department: str
    brand: str
    product_category: str
    product_type: str
    package_size: str


class BasketLine(NamedTuple):
    """So many of a product; of petrol, thousandths of a gallon."""

    product_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Basket:
    """What one customer carried to one till.

    `lines` have a quantity above zero; the products of lines that the till recorded with quantity 0 are in `unbought`.
    A basket can have no lines but such: then it is an order of nothing, and refused like any other.
    """

    basket_id: int
    household_id: int
    store_id: int
    placed_at: datetime
    lines: tuple[BasketLine, ...]
    unbought: tuple[int, ...]

    @property
    def customer_id(self) -> UUID:
        """The household as a customer."""
        return UUID(int=self.household_id)


@dataclass(frozen=True, slots=True)
class Day:
    """A day's baskets in the order of their times, the products that they name, and the stores' shelf prices.

    A shelf price is what the day's first line of that product in that store paid for one piece, loyalty discount
    added back: a quotient, so it can have a fraction of a cent.
    """

    date: date
    baskets: Sequence[Basket]
    products: Sequence[Product]
    prices: Mapping[Shelf, Money]

    @property
    def stores(self) -> Sequence[int]:
        """The numbers of the stores, ascending."""
        return sorted({basket.store_id for basket in self.baskets})

    def opening_stock(self, seed: int, shortage: float = SHORTAGE) -> Mapping[Shelf, int]:
        """How many pieces lie on each shelf in the morning: the day's demand, less that of a `shortage` of its lines.

        Which lines go short is drawn from the seed, the basket and the product: each with the same chance, and the
        same ones for ever. A shelf may be empty.
        """
        pieces = dict.fromkeys(self.prices, 0)
        for basket in self.baskets:
            for product_id, quantity in basket.lines:
                if not shortage or chance(seed, "shortage", basket.basket_id, product_id) >= shortage:
                    pieces[Shelf(basket.store_id, product_id)] += quantity
        return pieces


def load_day(day: date = DATE, folder: Path = _DATA) -> Day:
    """Read a day from `baskets-DATE.csv` and `products-DATE.csv`; raises `BadData` or `OSError`."""
    baskets_file, products_file = (folder / f"{kind}-{day.isoformat()}.csv" for kind in ("baskets", "products"))
    products: dict[int, Product] = {}
    for line, product in read_rows(products_file, Product):
        if product.product_id in products:
            raise BadData(products_file, line, "product_id", f"product {product.product_id} is there twice")
        products[product.product_id] = product

    baskets: dict[int, Basket] = {}
    prices: dict[Shelf, Money] = {}
    previous = datetime.min
    for basket_id, numbered in groupby(read_rows(baskets_file, _BasketRow), key=lambda row: row[1].basket_id):
        rows = list(numbered)
        line, first = rows[0]
        if basket_id in baskets:
            raise BadData(baskets_file, line, "basket_id", f"basket {basket_id} began further above")
        if first.placed_at < previous:
            raise BadData(baskets_file, line, "placed_at", f"{first.placed_at} is earlier than the line before")
        if first.placed_at.date() != day:
            raise BadData(baskets_file, line, "placed_at", f"{first.placed_at} is not on {day}")
        previous = first.placed_at
        seen = set[int]()
        for line, row in rows:
            _check(baskets_file, line, row, first, seen, products)
            shelf = Shelf(row.store_id, row.product_id)
            if row.quantity and shelf not in prices:
                prices[shelf] = row.price
        baskets[basket_id] = Basket(
            basket_id,
            first.household_id,
            first.store_id,
            first.placed_at.replace(tzinfo=UTC),
            tuple(BasketLine(row.product_id, row.quantity) for _, row in rows if row.quantity),
            tuple(row.product_id for _, row in rows if not row.quantity),
        )
    return Day(day, tuple(baskets.values()), tuple(products.values()), prices)


class _BasketRow(msgspec.Struct, frozen=True, array_like=True):
    basket_id: _Id
    household_id: _Id
    store_id: _Id
    placed_at: Annotated[datetime, msgspec.Meta(tz=False)]
    product_id: _Id
    quantity: Annotated[int, msgspec.Meta(ge=0)]
    sales_value: _Dollars
    retail_disc: _Dollars
    coupon_disc: _Dollars
    coupon_match_disc: _Dollars

    @property
    def price(self) -> Money:
        return Money((Decimal(self.sales_value) + Decimal(self.retail_disc)) / self.quantity)


def _check(
    file: Path, line: int, row: _BasketRow, first: _BasketRow, seen: set[int], products: Mapping[int, Product]
) -> None:
    for column in ("household_id", "store_id", "placed_at"):
        if getattr(row, column) != getattr(first, column):
            raise BadData(file, line, column, f"basket {row.basket_id} began with {getattr(first, column)}")
    if row.product_id in seen:
        raise BadData(file, line, "product_id", f"product {row.product_id} is twice in basket {row.basket_id}")
    seen.add(row.product_id)
    if row.quantity and row.product_id not in products:
        raise BadData(file, line, "product_id", f"product {row.product_id} is bought, but not among the products")
    if row.quantity and row.price.amount <= 0:
        raise BadData(file, line, "sales_value", f"product {row.product_id} has no price")
