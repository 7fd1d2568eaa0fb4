"""The goods with which the stores open on the day that Grocer ships."""

from collections.abc import Iterator
from itertools import groupby

from grocer.inventory.contracts import Goods
from grocer.shop.day import load_day

__all__ = ["opening_levels"]

SEED = 2017
"""What the goods that never arrive are drawn from."""


def opening_levels(seed: int = SEED) -> Iterator[tuple[int, tuple[Goods, ...]]]:
    """Each store with what is on its shelves in the morning; empty shelves are not named."""
    stock = load_day().opening_stock(seed)
    for store_id, shelves in groupby(sorted(stock), key=lambda shelf: shelf.store_id):
        goods = tuple(Goods(shelf.product_id, pieces) for shelf in shelves if (pieces := stock[shelf]))
        if goods:
            yield store_id, goods
