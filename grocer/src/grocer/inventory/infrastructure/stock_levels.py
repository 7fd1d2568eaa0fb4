"""The stock of each product in each store, as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from colonnade.application import Projection, Write, increment, insert
from colonnade.messages import Metadata
from colonnade.persistence import Reads
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, select

from grocer.inventory.application.queries import NeverStocked, StockLevel, StockOf
from grocer.inventory.domain.stock import GoodsReceived, GoodsReleased, GoodsReserved, GoodsReturned, GoodsSold

__all__ = ["StockLevels", "StockOfHandler", "stock_levels"]

stock_levels = Table(
    "stock_levels",
    MetaData(),
    Column("store_id", Integer, primary_key=True),
    Column("product_id", Integer, primary_key=True),
    Column("on_hand", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("sold", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
)


class StockLevels(Projection[GoodsReceived | GoodsReserved | GoodsReleased | GoodsSold | GoodsReturned]):
    """One row a shelf: what was received is on hand, reserved or sold."""

    tables = (stock_levels,)

    def on(
        self, event: GoodsReceived | GoodsReserved | GoodsReleased | GoodsSold | GoodsReturned, meta: Metadata
    ) -> Write | Sequence[Write]:
        shelf, quantity = {"store_id": event.store_id, "product_id": event.product_id}, event.quantity
        match event:
            case GoodsReceived():
                if meta.version == 1:
                    return insert(stock_levels, **shelf, on_hand=quantity, reserved=0, sold=0, received=quantity)
                return increment(stock_levels, **shelf, on_hand=quantity, received=quantity)
            case GoodsReserved():
                return increment(stock_levels, **shelf, on_hand=-quantity, reserved=quantity)
            case GoodsReleased():
                return increment(stock_levels, **shelf, on_hand=quantity, reserved=-quantity)
            case GoodsSold():
                return increment(stock_levels, **shelf, reserved=-quantity, sold=quantity)
            case GoodsReturned():
                return increment(stock_levels, **shelf, on_hand=quantity, sold=-quantity)


@dataclass(frozen=True)
class StockOfHandler:
    reads: Reads

    async def __call__(self, query: StockOf) -> StockLevel:
        row = await self.reads.first(
            select(stock_levels).where(
                stock_levels.c.store_id == query.store_id, stock_levels.c.product_id == query.product_id
            )
        )
        if row is None:
            raise NeverStocked(query.store_id, query.product_id)
        return StockLevel(*row)
