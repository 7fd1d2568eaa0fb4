"""The inventory: goods per store, set aside for orders."""

from collections.abc import Iterator

from colonnade.messages import Command
from colonnade.system import Service

from grocer.inventory import contracts
from grocer.inventory.application.goods import (
    ReleaseGoodsHandler,
    ReserveGoodsHandler,
    ReturnGoodsHandler,
    SellGoodsHandler,
)
from grocer.inventory.application.restocking import FillShelves, FillShelvesHandler
from grocer.inventory.application.selling import SellConfirmedGoods
from grocer.inventory.infrastructure.stock_levels import StockLevels, StockOfHandler
from grocer.inventory.presentation.api import api
from grocer.shop.opening import opening_levels

__all__ = ["inventory"]


def opening() -> Iterator[Command]:
    """The goods with which the stores open."""
    for store_id, levels in opening_levels():
        yield FillShelves(store_id, levels)


inventory = Service(
    "inventory",
    contracts=contracts,
    handlers=[
        ReserveGoodsHandler,
        ReleaseGoodsHandler,
        ReturnGoodsHandler,
        SellGoodsHandler,
        FillShelvesHandler,
        StockOfHandler,
    ],
    projections=[StockLevels],
    subscribers=[SellConfirmedGoods],
    api=api,
    opening=opening,
)
