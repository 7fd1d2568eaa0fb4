"""What other services may ask of the inventory."""

from uuid import UUID

from colonnade.messages import Command, Positive, Value

__all__ = ["Goods", "ReleaseGoods", "ReserveGoods", "ReturnGoods"]


class Goods(Value):
    """So many pieces of a product."""

    product_id: int
    quantity: Positive


class ReserveGoods(Command):
    """Put goods aside for an order: all of them, or none."""

    order_id: UUID
    store_id: int
    goods: tuple[Goods, ...]


class ReleaseGoods(Command):
    """Put back on the shelves what was set aside for an order."""

    order_id: UUID
    store_id: int
    goods: tuple[Goods, ...]


class ReturnGoods(Command):
    """Take back what an order bought, or was about to."""

    order_id: UUID
    store_id: int
    goods: tuple[Goods, ...]
