"""Use cases on the goods of an order."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from colonnade.application import Repository
from colonnade.messages import Command

from grocer.inventory.contracts import Goods, ReleaseGoods, ReserveGoods, ReturnGoods
from grocer.inventory.domain.stock import OutOfStock, Stock

__all__ = ["ReleaseGoodsHandler", "ReserveGoodsHandler", "ReturnGoodsHandler", "SellGoods", "SellGoodsHandler"]


class SellGoods(Command):
    """Let the goods of a confirmed order leave the store."""

    order_id: UUID
    store_id: int
    goods: tuple[Goods, ...]


async def _stocks(stocks: Repository[Stock], store_id: int, goods: Sequence[Goods]) -> list[Stock | None]:
    return await stocks.find_all(Stock.key(store_id, item.product_id) for item in goods)


@dataclass(frozen=True)
class ReserveGoodsHandler:
    stocks: Repository[Stock]

    async def __call__(self, command: ReserveGoods) -> None:
        found = await _stocks(self.stocks, command.store_id, command.goods)
        for stock, item in zip(found, command.goods, strict=True):
            if stock is None:
                raise OutOfStock(command.store_id, item.product_id, item.quantity, 0)
            stock.reserve(command.order_id, item.quantity)


@dataclass(frozen=True)
class ReleaseGoodsHandler:
    stocks: Repository[Stock]

    async def __call__(self, command: ReleaseGoods) -> None:
        for stock in await _stocks(self.stocks, command.store_id, command.goods):
            if stock is not None:
                stock.release(command.order_id)


@dataclass(frozen=True)
class SellGoodsHandler:
    stocks: Repository[Stock]

    async def __call__(self, command: SellGoods) -> None:
        for stock in await _stocks(self.stocks, command.store_id, command.goods):
            if stock is not None:
                stock.sell(command.order_id)


@dataclass(frozen=True)
class ReturnGoodsHandler:
    stocks: Repository[Stock]

    async def __call__(self, command: ReturnGoods) -> None:
        found = await _stocks(self.stocks, command.store_id, command.goods)
        for stock, item in zip(found, command.goods, strict=True):
            if stock is not None:
                stock.take_back(command.order_id, item.quantity)
