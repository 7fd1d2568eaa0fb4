"""Goods leave the store when their order is confirmed."""

from colonnade.application import Delivery, Subscriber

from grocer.inventory.application.goods import SellGoods
from grocer.inventory.contracts import Goods
from grocer.ordering.contracts import OrderConfirmed

__all__ = ["SellConfirmedGoods"]


class SellConfirmedGoods(Subscriber[OrderConfirmed]):
    """Sells what was set aside for a confirmed order."""

    async def on(self, event: OrderConfirmed, delivery: Delivery) -> SellGoods:
        return SellGoods(
            event.order_id, event.store_id, tuple(Goods(line.product_id, line.quantity) for line in event.lines)
        )
